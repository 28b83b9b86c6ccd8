//! One payment is one trace, from the HTTP request to the websocket push, at a real OTLP receiver.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use domain::{AccountId, Shard};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use serde_json::json;
use tests::{Client, Dev, eventually};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// A collector: takes OTLP over HTTP, and keeps the spans.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Listens until the test ends; says where.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (collector, url)
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some((path, body)) = read_request(&mut stream).await {
            assert_eq!(path, "POST /v1/traces HTTP/1.1");
            let export = ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP in protobuf");
            let scopes = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            self.0.lock().expect("whole").extend(scopes.flat_map(|scope| scope.spans));
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            stream.get_mut().write_all(answer.as_bytes()).await.expect("sent");
        }
    }

    /// The spans of a trace, once all between the request and the push have arrived.
    async fn trace(&self, id: &str) -> Vec<Span> {
        eventually("the trace has arrived", || async {
            let all = self.0.lock().expect("whole").clone();
            let spans: Vec<_> = all.into_iter().filter(|span| hex(&span.trace_id) == id).collect();
            Ok(way_to(&spans, PUSH).first().is_some_and(|first| first == "POST /graphql").then_some(spans))
        })
        .await
        .expect("a trace")
    }
}

/// The first line and the body of a request; none at the end.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await.ok().filter(|bytes| *bytes > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim().to_lowercase().split_once(": ") {
            Some(("content-length", bytes)) => length = bytes.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first.trim().to_owned(), body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of the spans from one up to the first of its trace, the caller's own not included.
fn way_to(spans: &[Span], name: &str) -> Vec<String> {
    let mut way = Vec::new();
    let mut next = spans.iter().find(|span| span.name == name);
    while let Some(span) = next {
        way.push(span.name.clone());
        next = spans.iter().find(|before| before.span_id == span.parent_span_id);
    }
    way.reverse();
    way
}

struct Bank {
    dev: Dev,
    folder: PathBuf,
    lisa: Client,
    account: String,
    david: Client,
    david_account: String,
    iban: String,
    _data: tempfile::TempDir,
}

/// A bank of one or more shards in which Lisa has 100 euro.
async fn bank(shards: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Bank {
    let data = tempfile::tempdir().expect("a folder");
    let declared = include_str!("../../../streams.yaml").replace("shards: 2", &format!("shards: {shards}"));
    let streams = data.path().join("streams.yaml");
    std::fs::write(&streams, declared).expect("written");
    let folder = data.path().join("data");
    let mut all = vec!["--no-demo", "--streams", streams.to_str().expect("text")];
    all.extend(arguments);
    let dev = Dev::start_with(&folder, &all, environment).await.expect("dev is up");
    let token = Dev::output(&["token", "--role", "operator", "--data", &folder.display().to_string()]).await.expect("a token");
    let operator = Client::new(&dev.address, Some(String::from_utf8_lossy(&token.stdout).trim()));
    let lisa = Client::new(&dev.address, None).register("Lisa").await.expect("registered");
    let (account, _) = lisa.open_account("EUR").await.expect("opened");
    // On another shard than Lisa, where there are several.
    let shard_of = |account: &str| Shard::of(account.parse::<AccountId>().expect("an id"), shards);
    let mut number = 0;
    let (david, david_account, iban) = loop {
        number += 1;
        let david = Client::new(&dev.address, None).register(&format!("David{number}")).await.expect("registered");
        let (david_account, iban) = david.open_account("EUR").await.expect("opened");
        if shards == 1 || shard_of(&david_account) != shard_of(&account) {
            break (david, david_account, iban);
        }
    };
    operator.deposit(&account, "100.00", "EUR").await.expect("deposited");
    Bank { dev, folder, lisa, account, david, david_account, iban, _data: data }
}

impl Bank {
    /// Pays David while he watches his balance, under a caller's trace; says the payment's id.
    async fn pay(&self, traceparent: &str) -> String {
        let mut socket = self.david.socket().await.expect("a socket");
        let balance = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", self.david_account);
        socket.subscribe("1", &balance).await.expect("subscribed");
        let before = socket.next("balanceChanged").await.expect("the balance now");
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"1.00\", currency: \"EUR\"}}}}",
            self.account, self.iban
        );
        let pay = format!("mutation Pay {{ initiatePayment(input: {input}) {{ payment {{ id }} }} }}");
        let request = self.lisa.post().header("traceparent", traceparent).json(&json!({ "query": pay }));
        let answer: serde_json::Value = request.send().await.expect("an answer").json().await.expect("json");
        let after = socket.next("balanceChanged").await.expect("the balance then");
        assert_eq!(after["version"].as_i64(), before["version"].as_i64().map(|version| version + 1));
        answer["data"]["initiatePayment"]["payment"]["id"].as_str().expect("an id").to_owned()
    }

    /// All records of a log, as `cat` prints them.
    async fn cat(&self, log: &str) -> String {
        let output = Dev::output(&["cat", log, "--nats", &self.dev.nats]).await.expect("it ends");
        String::from_utf8(output.stdout).expect("text")
    }
}

const PUSH: &str = "push balanceChanged";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_one_trace_from_the_request_to_the_push() {
    let (collector, url) = Collector::start().await;
    let bank = bank(1, &["--otlp", &url], &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    let id = bank.pay(&format!("00-{TRACE}-00f067aa0ba902b7-01")).await;
    let spans = collector.trace(TRACE).await;
    let expected = ["POST /graphql", "graphql Pay", "payments step", "fraud step", "ledger step", "overview fold", "push balanceChanged"];
    assert_eq!(way_to(&spans, PUSH), expected);
    let request = spans.iter().find(|span| span.name == "POST /graphql").expect("the request");
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind()), ("00f067aa0ba902b7", SpanKind::Server));
    let ledger = spans.iter().find(|span| span.name == "ledger step").expect("the booking");
    let said = format!("{:?}", ledger.attributes);
    assert!(said.contains(&id) && said.contains("ledger-0"), "{said}");
    assert!(spans.iter().all(|span| span.end_time_unix_nano >= span.start_time_unix_nano));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_between_shards_stays_one_trace() {
    let (collector, url) = Collector::start().await;
    let bank = bank(16, &["--otlp", &url], &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    bank.pay(&format!("00-{TRACE}-00f067aa0ba902b7-01")).await;
    let spans = collector.trace(TRACE).await;
    let way = way_to(&spans, PUSH);
    assert_eq!(way[2..5], ["payments step", "fraud step", "ledger step"]);
    assert_eq!(way[5..], ["ledger step", "overview fold", "push balanceChanged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_leaves_no_trace_in_a_record() {
    let (collector, url) = Collector::start().await;
    let bank = bank(1, &["--otlp", &url], &[("OTEL_BSP_SCHEDULE_DELAY", "50"), ("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    let untraced = bank.pay(&format!("00-{TRACE}-00f067aa0ba902b7-00")).await;
    let sampled = "11111111111111111111111111111111";
    let traced = bank.pay(&format!("00-{sampled}-00f067aa0ba902b7-01")).await;
    collector.trace(sampled).await;
    assert!(collector.0.lock().expect("whole").iter().all(|span| hex(&span.trace_id) == sampled));
    for log in ["payment-commands-0", "payments-0", "fraud-0", "ledger-0"] {
        let records = bank.cat(log).await;
        let traces_of = |id: &str| {
            let number = id.trim_start_matches("pay_");
            let line = records.lines().find(|line| line.replace('-', "").contains(number)).expect("a record");
            serde_json::from_str::<serde_json::Value>(line).expect("json")["traces"].as_str().expect("text").to_owned()
        };
        assert!(traces_of(&traced).starts_with(&format!("{traced}=00-{sampled}-")), "{records}");
        assert_eq!(traces_of(&untraced), "");
    }
    let audit = Dev::output(&["audit", "--nats", &bank.dev.nats]).await.expect("it ends");
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_built_again_traces_nothing_again() {
    let (collector, url) = Collector::start().await;
    let environment = [("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let bank = bank(2, &["--otlp", &url], &environment).await;
    bank.pay(&format!("00-{TRACE}-00f067aa0ba902b7-01")).await;
    collector.trace(TRACE).await;
    // What is under way at a stop is sent before its end.
    assert!(bank.dev.interrupt().await.expect("it ends").1);
    let folds = || {
        let spans = collector.0.lock().expect("whole");
        spans.iter().filter(|span| hex(&span.trace_id) == TRACE && span.name.ends_with(" fold")).count()
    };
    let before = folds();
    std::fs::remove_dir_all(bank.folder.join("models")).expect("deleted");
    let streams = bank.folder.with_file_name("streams.yaml");
    let arguments = ["--no-demo", "--otlp", &url, "--streams", streams.to_str().expect("text")];
    let dev = Dev::start_with(&bank.folder, &arguments, &environment).await.expect("dev is up again");
    let bank = Bank { lisa: bank.lisa.at(&dev.address), david: bank.david.at(&dev.address), dev, ..bank };
    let next = "22222222222222222222222222222222";
    bank.pay(&format!("00-{next}-00f067aa0ba902b7-01")).await;
    collector.trace(next).await;
    assert_eq!(folds(), before);
}
