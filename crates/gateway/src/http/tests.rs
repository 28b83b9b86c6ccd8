//! What a panic in a resolver comes to, whatever brought the operation. The schema is the served one without
//! the bank that its resolvers expect, so that they panic by themselves.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;

use super::{Door, Origins, graphql, protocol::SUBPROTOCOL};
use crate::{Caller, Documents, Expected, Gateway, Issuer, Keys, Limits, schema};

const SECRET: &[u8] = b"the secret of these tests, of 32 bytes or more";
const PATIENCE: Duration = Duration::from_secs(30);
const QUERY: &str = "{ account(id: \"acc_0\") { id } }";
const SUBSCRIPTION: &str = "subscription { balanceChanged(accountId: \"acc_0\") { version } }";

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().expect("whole")).contains(text)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn expected() -> Expected {
    Expected { issuer: "tests".to_owned(), audience: "tests".to_owned() }
}

/// Serves the schema without a bank; says where, and an operator's token.
async fn serve() -> (String, String) {
    let limits = Limits::default();
    let schema = schema::tests::without_bank();
    let gateway = Gateway::new(schema, Keys::from_secret(SECRET, expected()), limits, Documents::default());
    let origins = Origins::new(&[]).expect("none");
    let door = Door { gateway: Arc::new(gateway), origins: Arc::new(origins), stop: CancellationToken::new() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move { axum::serve(listener, graphql(door)).await });
    let token = Issuer::from_secret(SECRET, expected()).issue(Caller::Operator, PATIENCE * 10);
    (address, token.expect("a token"))
}

/// The id in the only error, which must say nothing else.
fn id_in(errors: &Value) -> String {
    assert_eq!(errors[0]["extensions"], json!({ "code": "INTERNAL" }), "{errors}");
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
    let message = errors[0]["message"].as_str().expect("a message");
    let id = message.strip_prefix("Something went wrong here. It was logged as ").and_then(|rest| rest.strip_suffix('.'));
    id.unwrap_or_else(|| panic!("{message}")).to_owned()
}

#[tokio::test]
async fn a_panic_answers_with_the_id_under_which_it_is_logged_and_everything_goes_on() {
    let log = Log::default();
    let writer = log.clone();
    let _logging = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(move || writer.clone()).finish());
    let (address, token) = serve().await;
    let http = reqwest::Client::new();
    let post = |query: &str, accept: &str| {
        let body = json!({ "query": query }).to_string();
        let post = http.post(format!("http://{address}/graphql")).bearer_auth(&token).header("accept", accept).timeout(PATIENCE);
        post.header("content-type", "application/json").body(body).send()
    };
    let mut ids = Vec::new();

    let answer = post(QUERY, "application/json").await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let answer: Value = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
    assert!(answer.get("data").is_none(), "{answer}");
    ids.push(id_in(&answer["errors"]));

    for query in [QUERY, SUBSCRIPTION] {
        let events = post(query, "text/event-stream").await.expect("an answer").text().await.expect("an end");
        let answer = events.strip_prefix("event: next\ndata: ").and_then(|rest| rest.strip_suffix("\n\nevent: complete\ndata: \n\n"));
        let answer: Value = serde_json::from_str(answer.unwrap_or_else(|| panic!("{events}"))).expect("JSON");
        ids.push(id_in(&answer["errors"]));
    }

    let mut request = format!("ws://{address}/graphql").into_client_request().expect("an address");
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().expect("a header"));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    let (mut socket, _) = connect_async(request).await.expect("a websocket");
    socket.send(Message::text(json!({ "type": "connection_init" }).to_string())).await.expect("sent");
    let mut hear = async |said: Value| {
        socket.send(Message::text(said.to_string())).await.expect("sent");
        let message = timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("a message");
        serde_json::from_str::<Value>(message.to_text().expect("text")).expect("JSON")
    };
    assert_eq!(hear(json!({ "type": "ping" })).await["type"], "connection_ack");
    assert_eq!(hear(json!({ "type": "pong" })).await["type"], "pong", "what the ping was answered with");
    for query in [QUERY, SUBSCRIPTION] {
        let answer = hear(json!({ "type": "subscribe", "id": "1", "payload": { "query": query } })).await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!("1")), "the id is free again: {answer}");
        ids.push(id_in(&answer["payload"]));
    }
    assert_eq!(hear(json!({ "type": "ping" })).await["type"], "pong", "the socket goes on");

    for id in &ids {
        assert!(log.has(id), "{id} is not in the log");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each has an id of its own");
    let answer = post("{ __typename }", "application/json").await.expect("an answer");
    assert_eq!(answer.text().await.expect("text"), "{\"data\":{\"__typename\":\"Query\"}}", "the process goes on");
}
