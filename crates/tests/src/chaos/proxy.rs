//! The network between a `serve` and nats-server: a TCP proxy that can fail. This module must never
//! know what travels through it.

use std::time::Duration;

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// What one read takes at most.
const CHUNK_BYTES: usize = 64 * 1024;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// As it should be.
    Good,
    /// Connections end, and none is made.
    Cut,
    /// What the server says comes this much later.
    Slow(Duration),
    /// What the server says is lost.
    Deaf,
}

/// A proxy to one port on loopback.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    network: watch::Sender<Network>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start(to: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (network, is) = watch::channel(Network::Good);
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, to, is)));
        Ok(Self { port, network, _task: task })
    }

    /// Makes the network so.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn accept(listener: TcpListener, to: u16, network: watch::Receiver<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        if *network.borrow() != Network::Cut {
            // It ends with either side, which see it.
            tokio::spawn(connection(client, to, network.clone()));
        }
    }
}

async fn connection(client: TcpStream, to: u16, mut network: watch::Receiver<Network>) -> anyhow::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", to)).await.context("the server is away")?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is = network.clone();
    tokio::select! {
        ended = carry(from_client, to_server, || Network::Good) => ended,
        ended = carry(from_server, to_client, || *is.borrow()) => ended,
        _ = network.wait_for(|network| *network == Network::Cut) => Ok(()),
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, network: impl Fn() -> Network) -> anyhow::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk).await?;
        if bytes == 0 {
            return Ok(());
        }
        match network() {
            Network::Good => to.write_all(&chunk[..bytes]).await?,
            Network::Slow(by) => {
                tokio::time::sleep(by).await;
                to.write_all(&chunk[..bytes]).await?;
            }
            Network::Deaf => {}
            Network::Cut => return Ok(()),
        }
    }
}
