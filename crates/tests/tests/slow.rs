//! Who is slow does not hold up others, nor a gateway's memory: clients that read nothing or never finish
//! asking, and a log that does not answer.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Client, Dev, Nats, PATIENCE, eventually, freeze, load::Holder, load::holders, load::operator, memory_mib, tokens};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// Payments of the account that is watched; as many entries are pushed to who watches from its beginning.
const PAYMENTS: usize = 250;
/// How often each push says the reference of 140 characters, so that all are many times what the kernel keeps.
const REPEATS: usize = 300;
const ALL_BYTES: u64 = (PAYMENTS * REPEATS * 140) as u64;
/// What a client has of the kernel's memory for what it has not read.
const RECEIVE_BYTES: u32 = 16 * 1024;
/// Waits for a position that no log reaches (`ledger-0=999999999`), for five seconds if it may.
const TOO_NEW: &str = "{ payment(id: \"pay_0\", atLeast: \"bGVkZ2VyLTA9OTk5OTk5OTk5\") { id } }";

struct Scene {
    nats: Nats,
    _data: tempfile::TempDir,
    serve: Dev,
}

impl Scene {
    async fn new(arguments: &[&str]) -> Self {
        let nats = Nats::start().expect("a nats-server");
        let data = tempfile::tempdir().expect("a folder");
        let serve = Dev::serve(&nats, data.path(), arguments).await.expect("up");
        Self { nats, _data: data, serve }
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BYTES).expect("set");
        socket.connect(self.serve.address.parse().expect("an address")).await.expect("connected")
    }

    /// How many subscriptions to transactions are open.
    async fn subscriptions(&self) -> anyhow::Result<u32> {
        let text = reqwest::get(format!("http://{}/metrics", self.serve.address)).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix("millrace_subscriptions{subscription=\"transactionBooked\"} "));
        Ok(line.map(str::parse).transpose()?.unwrap_or(0))
    }
}

/// The newest hundred entries of an account, of which each says its reference so often.
fn entries(account: &str, times: usize) -> Value {
    let fields: String = (0..times).map(|n| format!("r{n}: reference ")).collect();
    json!({ "query": format!("{{ account(id: \"{account}\") {{ transactions(first: 100) {{ nodes {{ {fields} }} }} }} }}") })
}

fn payments(holder: &Holder, iban: &str) -> Value {
    let input = |number: usize| {
        json!({ "debtorAccountId": holder.account.to_string(), "creditorIban": iban, "amount": { "amount": "0.01", "currency": "EUR" },
                "reference": "x".repeat(140), "idempotencyKey": number.to_string() })
    };
    let query = "mutation($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { payment { id } errors { code } } }";
    json!({ "query": query, "variables": { "inputs": (0..PAYMENTS).map(input).collect::<Vec<_>>() } })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_left_and_takes_no_memory_while_others_hear_everything() {
    let scene = Scene::new(&["--max-slow-seconds", "1", "--max-aliases", "300"]).await;
    let holders = holders(&scene.serve.address, 2).await.expect("accounts");
    let holder = &holders[0];
    holder.client.send(payments(holder, &holders[1].iban)).await.expect("an answer");
    let version = format!("{{ account(id: \"{}\") {{ balance {{ version }} }} }}", holder.account);
    let all = json!(PAYMENTS + 1);
    let is_booked = || async { Ok((holder.client.execute(&version).await?["account"]["balance"]["version"] == all).then_some(())) };
    eventually("all payments are booked", is_booked).await.expect("booked");
    // Two answers of 3 MB are as much as an array may come to.
    let array = json!(vec![entries(&holder.account.to_string(), 190); 3]);
    let answers: Value = holder.client.post().json(&array).send().await.expect("an answer").json().await.expect("JSON");
    let codes = [0, 1, 2].map(|place| &answers[place]["errors"][0]["extensions"]["code"]);
    assert_eq!(codes, [&Value::Null, &Value::Null, &json!("LIMIT_EXCEEDED")]);
    let before = memory_mib(scene.serve.pid().expect("running")).expect("its memory");

    let fields: String = (0..REPEATS).map(|n| format!("r{n}: reference ")).collect();
    let watch = format!("subscription {{ transactionBooked(accountId: \"{}\", afterVersion: 1) {{ {fields} }} }}", holder.account);
    let token = tokens::of_customer(&holder.customer.to_string()).expect("a token");
    let mut request = format!("ws://{}/graphql", scene.serve.address).into_client_request().expect("an address");
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a header"));
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    let (mut websocket, _) = client_async(request, scene.connect().await).await.expect("a websocket");
    let subscribe = json!({ "type": "subscribe", "id": "1", "payload": { "query": watch } });
    for said in [json!({ "type": "connection_init" }), subscribe] {
        futures_util::SinkExt::send(&mut websocket, Message::text(said.to_string())).await.expect("sent");
    }
    let mut events = scene.connect().await;
    let body = json!({ "query": watch }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    events.write_all((head + &body).as_bytes()).await.expect("sent");
    eventually("both are subscribed", || async { Ok((scene.subscriptions().await? == 2).then_some(())) }).await.expect("subscribed");

    // Meanwhile who reads hears everything at once, the slow ones' account included.
    let mut reader = holder.client.socket().await.expect("a socket");
    let balance = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", holder.account);
    reader.subscribe("1", &balance).await.expect("sent");
    assert_eq!(reader.next("balanceChanged").await.expect("now")["version"], json!(PAYMENTS + 1));
    let bank = operator(&scene.serve.address).expect("a token");
    let asked = Instant::now();
    bank.deposit(&holder.account.to_string(), "1.00", "EUR").await.expect("booked");
    assert_eq!(reader.next("balanceChanged").await.expect("then")["version"], json!(PAYMENTS + 2));
    assert!(asked.elapsed() < Duration::from_secs(5), "others are held up");

    eventually("both are left", || async { Ok((scene.subscriptions().await? == 0).then_some(())) }).await.expect("left");
    let after = memory_mib(scene.serve.pid().expect("running")).expect("its memory");
    assert!(after < before + 32, "what was not read is kept: {before} MiB, then {after} MiB");
    for mut connection in [websocket.into_inner(), events] {
        let mut read = Vec::new();
        // A connection that the kernel gave up ends with an error or without one; what counts is that it ends.
        let _ended = timeout(PATIENCE, connection.read_to_end(&mut read)).await.expect("an end");
        assert!((read.len() as u64) < ALL_BYTES / 2, "{} bytes were sent to somebody who read nothing", read.len());
    }
}

fn deposit(account: &str) -> Value {
    let input = format!("{{accountId: \"{account}\", amount: {{amount: \"1.00\", currency: \"EUR\"}}, idempotencyKey: \"once\"}}");
    json!({ "query": format!("mutation {{ deposit(input: {input}) {{ payment {{ id }} errors {{ code }} }} }}") })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_takes_too_long_is_answered_and_may_be_repeated() {
    let scene = Scene::new(&["--max-request-seconds", "1"]).await;
    let holder = holders(&scene.serve.address, 1).await.expect("an account").remove(0);
    let bank = operator(&scene.serve.address).expect("a token");
    let mut socket = bank.socket().await.expect("a socket");
    let account = holder.account.to_string();
    freeze(scene.nats.pid()).expect("stopped");

    let asked = Instant::now();
    let answer = bank.post().json(&deposit(&account)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["errors"][0]["extensions"], json!({ "code": "TIMED_OUT", "retryAfterMs": 1_000 }), "{answer}");
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}, where the log has five seconds");
    socket.subscribe("1", TOO_NEW).await.expect("sent");
    let answer = socket.hear().await.expect("an answer");
    assert_eq!((&answer["type"], &answer["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("TIMED_OUT")), "{answer}");
    let post = bank.post().header("accept", "text/event-stream").json(&json!({ "query": TOO_NEW }));
    let events = post.send().await.expect("an answer").text().await.expect("text");
    assert!(events.contains("\"TIMED_OUT\"") && events.ends_with("event: complete\ndata: \n\n"), "{events}");
    let read = holder.client.execute("{ viewer { accounts { nodes { balance { version } } } } }").await.expect("in time");
    assert_eq!(read["viewer"]["accounts"]["nodes"][0]["balance"]["version"], 1, "what waits for no log is answered");

    // All of them were stored, or none; with the key it is one deposit.
    scene.nats.signal(Signal::CONT).expect("goes on");
    let is_taken = || async {
        let answer = bank.send(deposit(&account)).await?;
        Ok(answer["data"]["deposit"]["payment"]["id"].as_str().map(str::to_owned))
    };
    let payment = eventually("the deposit is taken", is_taken).await.expect("taken");
    assert_eq!(bank.final_status(&payment).await.expect("final"), "BOOKED");
    bank.deposit(&account, "1.00", "EUR").await.expect("booked");
    let read = holder.client.execute("{ viewer { accounts { nodes { balance { version } } } } }").await.expect("an answer");
    assert_eq!(read["viewer"]["accounts"]["nodes"][0]["balance"]["version"], 3, "one by key, and one more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_finishes_asking_keeps_nobody_out() {
    let scene = Scene::new(&["--max-request-seconds", "1"]).await;
    // Together they have all that bodies under way may have.
    let mut unfinished = Vec::new();
    for kib in [2_048, 2_046] {
        let mut connection = TcpStream::connect(&scene.serve.address).await.expect("connected");
        let head = format!(
            "POST /graphql HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{{",
            kib * 1_024
        );
        connection.write_all(head.as_bytes()).await.expect("sent");
        unfinished.push(connection);
    }
    let client = Client::new(&scene.serve.address, None);
    eventually("who asks properly is answered", || async { Ok(client.execute("{ __typename }").await.ok()) }).await.expect("answered");
    for mut connection in unfinished {
        let mut answer = String::new();
        timeout(PATIENCE, connection.read_to_string(&mut answer)).await.expect("an end").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"TIMED_OUT\""), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_much_and_sends_little_stands_in_nobodys_way() {
    let scene = Scene::new(&[]).await;
    let mut slow = Vec::new();
    for bytes in [2_097_151, 1_044_480, 1_050_624, 2_097_151, 2_097_151] {
        let mut connection = scene.connect().await;
        let head = format!("POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n{{");
        connection.write_all(head.as_bytes()).await.expect("sent");
        slow.push(connection);
    }
    let client = Client::new(&scene.serve.address, None);
    let padded = json!({ "query": "{ __typename }", "extensions": { "x": "x".repeat(1_000_000) } });
    for body in [json!({ "query": "{ __typename }" }), padded] {
        let answer = client.post().json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
