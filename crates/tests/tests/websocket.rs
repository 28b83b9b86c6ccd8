//! `graphql-transport-ws` as its PROTOCOL document says, close codes included, against a real gateway.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tests::{Dev, Nats, PATIENCE, load::holders, tokens};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

type Raw = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Scene {
    _nats: Nats,
    _data: tempfile::TempDir,
    serve: Dev,
}

impl Scene {
    async fn new(arguments: &[&str]) -> Self {
        let nats = Nats::start().expect("a nats-server");
        let data = tempfile::tempdir().expect("a folder");
        let serve = Dev::serve(&nats, data.path(), arguments).await.expect("up");
        Self { _nats: nats, _data: data, serve }
    }

    /// Opens a websocket that offers `protocol`, from a page of `origin`.
    async fn open(&self, protocol: Option<&str>, origin: Option<&str>) -> Result<Raw, Error> {
        let mut request = format!("ws://{}/graphql", self.serve.address).into_client_request()?;
        for (name, value) in [("sec-websocket-protocol", protocol), ("origin", origin)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().expect("a header"));
            }
        }
        Ok(connect_async(request).await?.0)
    }

    async fn socket(&self) -> Raw {
        self.open(Some("graphql-transport-ws"), None).await.expect("a websocket")
    }

    /// Says these messages on a new websocket; the code and reason that it is closed with.
    async fn closed_with(&self, messages: &[Message]) -> (u16, String) {
        let mut socket = self.socket().await;
        for message in messages {
            socket.send(message.clone()).await.expect("sent");
        }
        close_of(&mut socket).await
    }
}

async fn close_of(socket: &mut Raw) -> (u16, String) {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        if let Message::Close(frame) = message.expect("no end before a close").expect("no error before a close") {
            let frame = frame.expect("a reason");
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

async fn hear(socket: &mut Raw) -> Value {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("a message");
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

fn said(message: &Value) -> Message {
    Message::text(message.to_string())
}

fn init(token: Option<&str>) -> Message {
    let payload = token.map_or_else(|| json!({}), |token| json!({ "authorization": format!("Bearer {token}") }));
    said(&json!({ "type": "connection_init", "payload": payload }))
}

fn subscribe(id: &str, query: &str) -> Message {
    said(&json!({ "type": "subscribe", "id": id, "payload": { "query": query } }))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_protocol_forbids_closes_with_its_code() {
    let scene = Scene::new(&[]).await;
    let account = holders(&scene.serve.address, 1).await.expect("an account")[0].account;
    let operator = tokens::of_operator().expect("a token");
    let watch = format!("subscription {{ balanceChanged(accountId: \"{account}\") {{ version }} }}");
    for (code, messages) in [
        (4400, vec![Message::text("hello")]),
        (4400, vec![Message::text("{}")]),
        (4400, vec![said(&json!({ "type": "start", "id": "1" }))]),
        (4400, vec![Message::binary("{}")]),
        (4400, vec![init(None), said(&json!({ "type": "subscribe", "payload": { "query": "{ __typename }" } }))]),
        (4400, vec![init(None), said(&json!({ "type": "subscribe", "id": "", "payload": { "query": "{ __typename }" } }))]),
        (4400, vec![init(None), said(&json!({ "type": "subscribe", "id": "1", "payload": {} }))]),
        (4400, vec![said(&json!(["connection_init", null]))]),
        (4400, vec![init(None), said(&json!(["subscribe", "1", { "query": "{ __typename }" }]))]),
        (4400, vec![init(None), said(&json!({ "type": "subscribe", "id": "1", "payload": ["{ __typename }"] }))]),
        (4401, vec![subscribe("1", "{ __typename }")]),
        (4403, vec![init(Some("no.good.token"))]),
        (4403, vec![said(&json!({ "type": "connection_init", "payload": { "authorization": 5 } }))]),
        (4408, vec![]),
        (4409, vec![init(Some(&operator)), subscribe("1", &watch), subscribe("1", &watch)]),
        (4429, vec![init(None), init(None)]),
        (1007, vec![Message::Frame(Frame::message(vec![0xff], OpCode::Data(Data::Text), true))]),
        (1009, vec![init(None), subscribe("1", &"x".repeat(70_000))]),
    ] {
        let (closed, reason) = scene.closed_with(&messages).await;
        assert_eq!(closed, code, "{reason} after {messages:?}");
    }
    let mut other = scene.open(None, None).await.expect("a websocket");
    assert_eq!(close_of(&mut other).await.0, 4406);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_with_its_token() {
    let scene = Scene::new(&[]).await;
    let mut claims = tokens::claims("operator", "operator");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    claims["exp"] = json!(now + 2);
    let token = tokens::signed(&claims).expect("signed");
    let mut socket = scene.socket().await;
    socket.send(init(Some(&token))).await.expect("sent");
    assert_eq!(hear(&mut socket).await["type"], "connection_ack");
    assert_eq!(close_of(&mut socket).await, (4403, "The token has expired".to_owned()));
    let over = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    assert!(over >= Duration::from_secs(now + 2), "not before");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_answer_beside_each_other_and_errors_end_their_own() {
    let scene = Scene::new(&["--max-socket-operations", "2"]).await;
    let holders = holders(&scene.serve.address, 1).await.expect("an account");
    let mut socket = scene.socket().await;
    socket.send(init(Some(&tokens::of_customer(&holders[0].customer.to_string()).expect("a token")))).await.expect("sent");
    assert_eq!(hear(&mut socket).await, json!({ "type": "connection_ack" }));

    socket.send(said(&json!({ "type": "ping", "payload": { "a": 1 } }))).await.expect("sent");
    assert_eq!(hear(&mut socket).await, json!({ "type": "pong", "payload": { "a": 1 } }));

    socket.send(subscribe("q", "{ viewer { name } }")).await.expect("sent");
    let answer = hear(&mut socket).await;
    assert_eq!(answer, json!({ "type": "next", "id": "q", "payload": { "data": { "viewer": { "name": "Holder0" } } } }));
    assert_eq!(hear(&mut socket).await, json!({ "type": "complete", "id": "q" }));

    // Refused before it runs: `error`, and nothing more under this id.
    for query in ["{", "{ nope }", "subscription { a: __typename b: __typename }", "query($a: ID!) { __typename }"] {
        socket.send(subscribe("e", query)).await.expect("sent");
        let answer = hear(&mut socket).await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!("e")), "{answer}");
        assert_eq!(answer["payload"][0]["extensions"]["code"], "BAD_REQUEST", "{answer}");
    }

    let watch = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", holders[0].account);
    for id in ["1", "2"] {
        socket.send(subscribe(id, &watch)).await.expect("sent");
        assert_eq!(hear(&mut socket).await["type"], "next");
    }
    socket.send(subscribe("3", &watch)).await.expect("sent");
    let answer = hear(&mut socket).await;
    assert_eq!(answer["payload"][0]["extensions"]["code"], "LIMIT_EXCEEDED", "{answer}");
    // A completed id makes room, and may be used again.
    socket.send(said(&json!({ "type": "complete", "id": "1" }))).await.expect("sent");
    socket.send(subscribe("1", &watch)).await.expect("sent");
    assert_eq!(hear(&mut socket).await["type"], "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_open_nothing_unless_they_are_listed() {
    let scene = Scene::new(&["--allow-origin", "https://app.example"]).await;
    let protocol = Some("graphql-transport-ws");
    let own = format!("http://{}", scene.serve.address);
    for origin in [None, Some("https://app.example"), Some(own.as_str())] {
        scene.open(protocol, origin).await.expect("may open");
    }
    let refused = scene.open(protocol, Some("https://evil.example")).await.expect_err("may not");
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 403), "{refused}");
    let http = reqwest::Client::new();
    for (origin, allowed) in [("https://app.example", Some("https://app.example")), ("https://evil.example", None)] {
        let asked = http.request(reqwest::Method::OPTIONS, format!("http://{}/graphql", scene.serve.address));
        let asked = asked.header("origin", origin).header("access-control-request-method", "POST");
        let answer = asked.header("access-control-request-headers", "content-type").send().await.expect("an answer");
        let header = answer.headers().get("access-control-allow-origin").and_then(|value| value.to_str().ok());
        assert_eq!(header, allowed, "{origin}");
    }
    let asked = http.request(reqwest::Method::OPTIONS, format!("{own}/graphql")).header("origin", "https://app.example");
    let asked = asked.header("access-control-request-method", "POST").header("access-control-request-headers", "traceparent");
    let may = asked.send().await.expect("an answer").headers()["access-control-allow-headers"].clone();
    assert!(may.to_str().expect("text").contains("traceparent"), "{may:?}");
    let asked = http.post(format!("{own}/graphql")).header("origin", "https://app.example").header("content-type", "application/json");
    let shown =
        asked.body(r#"{"query": "{ __typename }"}"#).send().await.expect("an answer").headers()["access-control-expose-headers"].clone();
    assert_eq!(shown, "retry-after", "when to come again");
}
