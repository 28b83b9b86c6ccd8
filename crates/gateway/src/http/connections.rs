//! Connections over HTTP/1.1, as they are taken in, and let go where nobody uses them. This module must never know a route.

use std::{pin::pin, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::limits::Limits;

/// How long a client may take for the head of a request, and keep a connection without any. Clients keep what they do
/// not use for a minute and a half at most, so none has its connection closed just as it asks.
const HEAD_WAIT: Duration = Duration::from_secs(120);
/// The largest head of a request, and what is read ahead of a connection: a token has some hundred bytes, cookies of other
/// services on the host some thousand.
const HEAD_BYTES: usize = 64 * 1024;
/// Connections at once besides as many as there may be event streams; websockets are not among them. Where each has as long a
/// head as it may, all take 2 to 4 GiB.
const PLAIN_CONNECTIONS: usize = 10_000;

/// Serves `routes` until it is told to stop, and then until the requests under way are answered.
pub(super) async fn serve(mut listener: TcpListener, routes: Router, limits: &Limits, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES);
    let most = limits.sockets.saturating_add(PLAIN_CONNECTIONS);
    let open = TaskTracker::new();
    loop {
        let (connection, _) = tokio::select! {
            // It goes on by itself where none can be taken.
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        if open.len() >= most {
            tracing::debug!(most, "A connection was refused: as many are open as may be");
            continue;
        }
        at_once(&connection);
        give_up_after(&connection, limits.slow_reader);
        let serving = http.serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes.clone())).with_upgrades();
        let stop = stop.clone();
        open.spawn(async move {
            let mut serving = pin!(serving);
            let ended = tokio::select! {
                ended = serving.as_mut() => ended,
                () = stop.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = ended {
                tracing::trace!(%error, "A connection ended");
            }
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// Has the kernel send what is written as it is written: it would keep a second small push until the first is acknowledged, which
/// takes a client up to 40 ms (RFC 9293 §3.7.4).
fn at_once(connection: &TcpStream) {
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "What is pushed to a client may come later");
    }
}

/// Has the kernel end a connection whose client takes nothing of what is sent for so long, whatever is sent:
/// what it keeps for the client is bounded, and without an end so would be nothing that waits to send more.
fn give_up_after(connection: &TcpStream, slow_reader: Duration) {
    let milliseconds = u32::try_from(slow_reader.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(connection, milliseconds) {
        tracing::debug!(%error, "A client that reads nothing will keep its connection");
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_never_finishes_to_ask_is_let_go() {
        for sent in ["", "POST /gra", "GET / HTTP/1.1\r\nhost: x\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(async move { serve(listener, Router::new(), &Limits::default(), CancellationToken::new()).await });
            let since = Instant::now();
            let mut connection = TcpStream::connect(address).await.expect("connected");
            connection.write_all(sent.as_bytes()).await.expect("sent");
            // It ends with an answer or without one.
            let _ended = connection.read_to_end(&mut Vec::new()).await;
            assert!(since.elapsed() >= HEAD_WAIT && since.elapsed() < 2 * HEAD_WAIT, "{sent:?}: {:?}", since.elapsed());
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused_and_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { serve(listener, Router::new(), &Limits::default(), CancellationToken::new()).await });
        let mut connection = TcpStream::connect(address).await.expect("connected");
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\ncookie: {}", "x".repeat(HEAD_BYTES));
        connection.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = [0; 12];
        let read = tokio::time::timeout(HEAD_WAIT / 4, connection.read_exact(&mut answer));
        read.await.expect("at once").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
}
