//! A client of the gateway, over HTTP and websocket.

use anyhow::{Context as _, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::{PATIENCE, tokens};

/// Someone who sends requests.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    token: Option<String>,
}

impl Client {
    /// A caller with a token, or an anonymous one.
    #[must_use]
    pub fn new(address: &str, token: Option<&str>) -> Self {
        Self { http: reqwest::Client::new(), address: address.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same caller at another gateway.
    #[must_use]
    pub fn at(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.clone() }
    }

    /// Registers a customer and signs in as them: with the gateway's token, or, where it issues none, with
    /// one of [`tokens`].
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn register(&self, name: &str) -> anyhow::Result<Self> {
        let email = format!("{}@example.org", name.to_lowercase());
        let input = format!("{{name: \"{name}\", email: \"{email}\"}}");
        let data = self.execute(&format!("mutation {{ registerCustomer(input: {input}) {{ customer {{ id }} token }} }}")).await?;
        let registered = &data["registerCustomer"];
        let token = match registered["token"].as_str() {
            Some(token) => token.to_owned(),
            None => tokens::of_customer(registered["customer"]["id"].as_str().with_context(|| format!("a customer: {data}"))?)?,
        };
        Ok(Self { token: Some(token), ..self.clone() })
    }

    /// Opens an account; answers with its id and IBAN.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn open_account(&self, currency: &str) -> anyhow::Result<(String, String)> {
        let data =
            self.execute(&format!("mutation {{ openAccount(input: {{currency: \"{currency}\"}}) {{ account {{ id iban }} }} }}")).await?;
        let text =
            |field: &str| data["openAccount"]["account"][field].as_str().map(str::to_owned).with_context(|| format!("{field}: {data}"));
        Ok((text("id")?, text("iban")?))
    }

    /// Deposits, as an operator, and waits until it is booked.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn deposit(&self, account: &str, amount: &str, currency: &str) -> anyhow::Result<()> {
        let input = format!("{{accountId: \"{account}\", amount: {{amount: \"{amount}\", currency: \"{currency}\"}}}}");
        let data = self.execute(&format!("mutation {{ deposit(input: {input}) {{ payment {{ id }} errors {{ code }} }} }}")).await?;
        let id = data["deposit"]["payment"]["id"].as_str().with_context(|| format!("a payment: {data}"))?.to_owned();
        let status = self.final_status(&id).await?;
        anyhow::ensure!(status == "BOOKED", "a deposit is {status}");
        Ok(())
    }

    /// Waits until a payment is final; answers with its status.
    ///
    /// # Errors
    /// Where it never is.
    pub async fn final_status(&self, payment: &str) -> anyhow::Result<String> {
        crate::eventually("a payment is final", || async {
            let Ok(data) = self.execute(&format!("{{ payment(id: \"{payment}\") {{ status }} }}")).await else { return Ok(None) };
            let status = data["payment"]["status"].as_str().map(str::to_owned);
            Ok(status.filter(|status| matches!(status.as_str(), "BOOKED" | "REJECTED" | "RETURNED")))
        })
        .await
    }

    /// Sends an operation; answers with `data`.
    ///
    /// # Errors
    /// Where there are errors, or no answer.
    pub async fn execute(&self, query: &str) -> anyhow::Result<Value> {
        let mut body = self.send(json!({ "query": query })).await?;
        match body.get("errors") {
            Some(errors) => bail!("{errors}"),
            None => Ok(body["data"].take()),
        }
    }

    /// The same, of an operation that is handed over.
    ///
    /// # Errors
    /// Where there are errors, or no answer.
    pub async fn execute_owned(&self, query: String) -> anyhow::Result<Value> {
        self.execute(&query).await
    }

    /// Sends a request; answers with all of the response.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn send(&self, request: Value) -> anyhow::Result<Value> {
        Ok(tokio::time::timeout(PATIENCE, self.post().json(&request).send()).await??.json().await?)
    }

    /// A request without a body yet.
    pub fn post(&self) -> reqwest::RequestBuilder {
        self.signed(self.http.post(format!("http://{}/graphql", self.address)))
    }

    /// A request by GET, which has all that is asked in its address.
    pub fn get(&self, url: reqwest::Url) -> reqwest::RequestBuilder {
        self.signed(self.http.get(url))
    }

    fn signed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Opens a websocket and signs in.
    ///
    /// # Errors
    /// Where the gateway refuses.
    pub async fn socket(&self) -> anyhow::Result<Socket> {
        let mut request = format!("ws://{}/graphql", self.address).into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        let (stream, _) = tokio_tungstenite::connect_async(request).await?;
        let mut socket = Socket { stream };
        let payload = self.token.as_ref().map_or_else(|| json!({}), |token| json!({ "authorization": format!("Bearer {token}") }));
        socket.say(&json!({ "type": "connection_init", "payload": payload })).await?;
        let answer = socket.hear().await?;
        if answer["type"] == "connection_ack" { Ok(socket) } else { Err(anyhow!("{answer}")) }
    }
}

/// A websocket that speaks `graphql-transport-ws`.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Starts a subscription under an id.
    ///
    /// # Errors
    /// Where the socket is closed.
    pub async fn subscribe(&mut self, id: &str, query: &str) -> anyhow::Result<()> {
        self.subscribe_with(id, json!({ "query": query })).await
    }

    /// Starts one with variables, or whatever else a request holds.
    ///
    /// # Errors
    /// Where the socket is closed.
    pub async fn subscribe_with(&mut self, id: &str, request: Value) -> anyhow::Result<()> {
        self.say(&json!({ "id": id, "type": "subscribe", "payload": request })).await
    }

    /// The next message.
    ///
    /// # Errors
    /// Where the socket is closed, or silent for too long.
    pub async fn hear(&mut self) -> anyhow::Result<Value> {
        // Pings are no sound.
        tokio::time::timeout(PATIENCE, self.next_text()).await.context("silence")?
    }

    async fn next_text(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.stream.next().await.context("closed")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("closed: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// The field of the next `next` message.
    ///
    /// # Errors
    /// Where another message comes.
    pub async fn next(&mut self, field: &str) -> anyhow::Result<Value> {
        let mut message = self.hear().await?;
        let value = message["payload"]["data"][field].take();
        if value.is_null() { bail!("{message}") } else { Ok(value) }
    }

    /// Ends a subscription; what was on its way may still come.
    ///
    /// # Errors
    /// Where the socket is closed.
    pub async fn complete(&mut self, id: &str) -> anyhow::Result<()> {
        self.say(&json!({ "id": id, "type": "complete" })).await
    }

    /// Closes it as the protocol wants; dropping it just ends the connection.
    ///
    /// # Errors
    /// Where it is closed already.
    pub async fn close(mut self) -> anyhow::Result<()> {
        Ok(self.stream.close(None).await?)
    }

    async fn say(&mut self, message: &Value) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::text(message.to_string())).await?)
    }
}

/// The code of a payload's first user error.
#[must_use]
pub fn code(payload: &Value) -> Option<&str> {
    payload["errors"][0]["code"].as_str()
}

/// An amount in minor units of a two-decimal currency.
///
/// # Errors
/// Where it is none.
pub fn money(amount: &Value) -> anyhow::Result<i64> {
    Ok(amount["amount"].as_str().context("an amount")?.replace('.', "").parse()?)
}
