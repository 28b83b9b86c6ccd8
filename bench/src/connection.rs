//! One HTTP/1.1 connection that is kept alive, with one request at a time. This module must never know what
//! is asked.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::{
    StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::spawn_local, time::timeout};

use crate::requests::Prepared;

/// A request that takes longer counts as failed: far longer than a server that works takes, and no run hangs.
const MOST_WAIT: Duration = Duration::from_secs(30);
/// Before a connection is tried again that was refused or broke, so that a dead server costs no processor.
const AGAIN: Duration = Duration::from_millis(20);

pub(crate) struct Connection {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        Ok(Self { address: address.to_owned(), sender: connect(address).await? })
    }

    /// Sends a request, and looks whether the answer is good.
    pub(crate) async fn exchange(&mut self, prepared: Prepared) -> Result<(), String> {
        if self.sender.is_closed() {
            self.sender = connect(&self.address).await.map_err(|error| error.to_string())?;
        }
        let answered = timeout(MOST_WAIT, self.answer(prepared)).await;
        let outcome = answered.unwrap_or_else(|_| Err(format!("no answer within {MOST_WAIT:?}")));
        if outcome.is_err() && self.sender.ready().await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        outcome
    }

    async fn answer(&mut self, prepared: Prepared) -> Result<(), String> {
        let shown = |error: hyper::Error| error.to_string();
        let response = self.sender.send_request(prepared.request).await.map_err(shown)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(shown)?.to_bytes();
        let checked = prepared.expected.check(&body);
        if status == StatusCode::OK { checked } else { Err(format!("{status}: {}", checked.err().unwrap_or_default())) }
    }
}

async fn connect(address: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the sender, who hears what went wrong.
    spawn_local(connection);
    Ok(sender)
}
