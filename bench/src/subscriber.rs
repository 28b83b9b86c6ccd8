//! A websocket on which one account's balance is watched, by `graphql-transport-ws`. Its buffers are small, since
//! there are ten thousand of it. This module must never know when payments are made.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use crate::party::Party;

/// A message is a few hundred bytes; the library's own 128 KiB would be 1.3 GB for ten thousand.
const READ_BUFFER_BYTES: usize = 4 * 1_024;
/// How long opening may take, while thousands of others are opened too.
const OPEN_WAIT: Duration = Duration::from_secs(30);
const WATCH: &str = "subscription Watch($id: ID!) { balanceChanged(accountId: $id) { booked { amount currency } version } }";

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    payload: Option<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "balanceChanged")]
    balance: Balance,
}

#[derive(Deserialize)]
struct Balance {
    version: u64,
}

pub(crate) struct Subscriber {
    socket: WebSocketStream<TcpStream>,
    version: u64,
}

impl Subscriber {
    /// Opens a websocket, signs in, subscribes, and hears the balance as it is.
    pub(crate) async fn open(address: &str, party: &Party) -> anyhow::Result<Self> {
        let open = async {
            let mut request = format!("ws://{address}/graphql").into_client_request()?;
            request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
            let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
            let mut subscriber = Self { socket, version: 0 };
            let authorization = format!("Bearer {}", party.token);
            subscriber.say(&json!({ "type": "connection_init", "payload": { "authorization": authorization } })).await?;
            let answer = subscriber.hear().await?;
            ensure!(serde_json::from_str::<Said<'_>>(&answer)?.kind == "connection_ack", "{answer}");
            let payload = json!({ "query": WATCH, "variables": { "id": party.account } });
            subscriber.say(&json!({ "type": "subscribe", "id": "1", "payload": payload })).await?;
            subscriber.version = subscriber.balance().await?;
            Ok(subscriber)
        };
        timeout(OPEN_WAIT, open).await.unwrap_or_else(|_| bail!("no first balance within {OPEN_WAIT:?}")).context("a subscriber")
    }

    /// Waits for the message of the next version, and of no other.
    pub(crate) async fn next_version(&mut self) -> anyhow::Result<()> {
        let (before, now) = (self.version, self.balance().await?);
        ensure!(now == before + 1, "version {now} came after {before}");
        self.version = now;
        Ok(())
    }

    async fn balance(&mut self) -> anyhow::Result<u64> {
        let text = self.hear().await?;
        let said: Said<'_> = serde_json::from_str(&text).with_context(|| text.to_string())?;
        let data = said.payload.filter(|_| said.kind == "next").and_then(|payload| payload.data);
        Ok(data.with_context(|| text.to_string())?.balance.version)
    }

    async fn hear(&mut self) -> anyhow::Result<Utf8Bytes> {
        loop {
            match self.socket.next().await.context("it ended")?? {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                // The library answers pings.
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn say(&mut self, message: &serde_json::Value) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }
}
