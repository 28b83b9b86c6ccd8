//! Every limit of a gateway, set to a small value by its option: what is below and at it is taken, what is
//! above is refused with the documented code, whatever brings it.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use futures_util::future::join_all;
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use tests::{Client, Dev, Nats, Socket, load::holders, tokens};

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

    fn client(&self, token: Option<&str>) -> Client {
        Client::new(&self.serve.address, token)
    }
}

/// A limit of what a request may be.
struct Limit {
    option: &'static str,
    most: usize,
    /// A request of this size.
    request: fn(usize) -> Value,
}

const LIMITS: [Limit; 7] = [
    Limit { option: "--max-body", most: 3_000, request: padded },
    Limit { option: "--max-depth", most: 6, request: |size| query(&nested(size)) },
    Limit { option: "--max-complexity", most: 50, request: |size| query(&pages(size)) },
    Limit { option: "--max-aliases", most: 3, request: |size| query(&repeated(size, |n| format!("a{n}: __typename"))) },
    Limit { option: "--max-root-fields", most: 5, request: |size| query(&repeated(size, |_| "__typename".to_owned())) },
    Limit { option: "--max-directives", most: 2, request: |size| query(&format!("{{ __typename {} }}", DIRECTIVES[..size].join(" "))) },
    Limit { option: "--max-batch", most: 3, request: |size| Value::Array(vec![query("{ __typename }"); size]) },
];

const DIRECTIVES: [&str; 3] = ["@skip(if: false)", "@include(if: true)", "@include(if: true)"];

fn query(text: &str) -> Value {
    json!({ "query": text })
}

fn repeated(count: usize, field: fn(usize) -> String) -> String {
    format!("{{ {} }}", (0..count).map(field).collect::<Vec<_>>().join(" "))
}

fn padded(bytes: usize) -> Value {
    let of = |padding: usize| json!({ "query": "{ __typename }", "extensions": { "x": "x".repeat(padding) } });
    of(bytes - of(0).to_string().len())
}

fn nested(levels: usize) -> String {
    let between = levels - 2;
    format!("{{ __type(name: \"ID\") {{ {} name {} }} }}", "ofType { ".repeat(between), "}".repeat(between))
}

/// One for the viewer, one for the page, three for each of its 15 rows, and then one for each field.
fn pages(fields: usize) -> String {
    let rest = ["id", "name", "email", "since"][..fields - 47].join(" ");
    format!("{{ viewer {{ {rest} accounts(first: 15) {{ nodes {{ id iban }} }} }} }}")
}

/// The code of the first error in what was answered.
fn code(answer: &Value) -> Option<&str> {
    let errors = answer.get("errors").or_else(|| answer["payload"].get("errors")).unwrap_or(&answer["payload"]);
    errors[0]["extensions"]["code"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_taken_up_to_each_limit_and_refused_above() {
    let arguments: Vec<String> = LIMITS.iter().flat_map(|limit| [limit.option.to_owned(), limit.most.to_string()]).collect();
    let scene = Scene::new(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let client = scene.client(None);
    let mut socket = client.socket().await.expect("a socket");
    for Limit { option, most, request } in LIMITS {
        for size in [most - 1, most] {
            let answer = client.send(request(size)).await.expect("an answer");
            assert_eq!(code(&answer), None, "{option} {most}, asked for {size}: {answer}");
        }
        let above = client.post().json(&request(most + 1)).send().await.expect("an answer");
        assert_eq!(above.status() == StatusCode::PAYLOAD_TOO_LARGE, option == "--max-body");
        let answer = above.json::<Value>().await.expect("JSON");
        assert_eq!(code(&answer), Some("LIMIT_EXCEEDED"), "{option} {most}: {answer}");
        assert!(answer.get("data").is_none(), "nothing was run: {answer}");
        if ["--max-body", "--max-batch"].contains(&option) {
            continue;
        }
        socket.subscribe_with("1", request(most + 1)).await.expect("sent");
        let answer = socket.hear().await.expect("an answer");
        assert_eq!((&answer["type"], code(&answer)), (&json!("error"), Some("LIMIT_EXCEEDED")), "{option}: {answer}");
        let events = client.post().header("accept", "text/event-stream").json(&request(most + 1)).send().await.expect("an answer");
        let events = events.text().await.expect("text");
        assert!(events.contains("LIMIT_EXCEEDED") && !events.contains("\"data\""), "{option}: {events}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_count_as_long_as_they_may_be_and_no_shorter_than_nothing() {
    let scene = Scene::new(&["--max-complexity", "302"]).await;
    let page = |first: &str| query(&format!("{{ viewer {{ accounts(first: {first}) {{ nodes {{ id iban }} }} }} }}"));
    let client = scene.client(None);
    // A page has a hundred rows at most, whatever is asked for.
    for first in ["100", "2147483647", "0", "-1", "-2147483648"] {
        assert_eq!(code(&client.send(page(first)).await.expect("an answer")), None, "{first}");
    }
    let longer = query("{ viewer { id accounts(first: 2147483647) { nodes { id iban } } } }");
    assert_eq!(code(&client.send(longer).await.expect("an answer")), Some("LIMIT_EXCEEDED"));
    let inner = query("{ viewer { accounts(first: 10) { nodes { transactions(first: 10) { nodes { id version } } } } } }");
    assert_eq!(code(&client.send(inner).await.expect("an answer")), Some("LIMIT_EXCEEDED"), "pages in pages multiply");
}

/// What would overflow the stack of whoever follows it, and with that end the process; the parser itself gives up
/// only where it is deeper by far.
#[tokio::test(flavor = "multi_thread")]
async fn no_document_ends_the_process_however_deep_or_long_it_is() {
    let scene = Scene::new(&[]).await;
    let lists = format!("{{ account(id: {}{}) {{ id }} }}", "[".repeat(3_000), "]".repeat(3_000));
    let objects = format!("{{ account(id: {}1{}) {{ id }} }}", "{a:".repeat(3_000), "}".repeat(3_000));
    let types = format!("query($a: {}Int{}) {{ __typename }}", "[".repeat(3_000), "]".repeat(3_000));
    let fields = format!("{}a{}", "{a".repeat(3_000), "}".repeat(3_000));
    let inline = format!("{}{{ __typename }}{}", "{...".repeat(3_000), "}".repeat(3_000));
    let chain = |count: usize| {
        let links = (0..count).map(|n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1)).collect::<String>();
        format!("{links} fragment F{count} on Query {{ __typename }}")
    };
    let doubled = (0..30).map(|n| format!("fragment F{n} on Query {{ ...F{} ...F{} }} ", n + 1, n + 1)).collect::<String>();
    let doubled = format!("query A {{ __typename }} query B {{ ...F0 }} {doubled} fragment F30 on Query {{ __typename }}");
    let circle = "fragment F0 on Query { ...F1 } fragment F1 on Query { ...F0 }";
    let client = scene.client(None);
    let mut socket = client.socket().await.expect("a socket");
    for (expected, document) in [
        ("LIMIT_EXCEEDED", lists),
        ("LIMIT_EXCEEDED", objects),
        ("LIMIT_EXCEEDED", types),
        ("LIMIT_EXCEEDED", fields),
        ("LIMIT_EXCEEDED", inline),
        ("LIMIT_EXCEEDED", format!("{{ ...F0 }} {}", chain(250))),
        ("LIMIT_EXCEEDED", format!("{{ ...F0 }} {}", chain(20_000))),
        ("LIMIT_EXCEEDED", format!("{{ __typename }} {}", chain(20_000))),
        ("BAD_REQUEST", format!("{{ __typename }} {}", chain(250))),
        ("LIMIT_EXCEEDED", format!("{{ ...F0 }} {circle}")),
        ("BAD_REQUEST", format!("{{ __typename }} {circle}")),
        ("LIMIT_EXCEEDED", format!("query A {{ __typename }} query B {{ ...F0 }} {}", chain(200))),
        // Minutes of a core, if it were followed.
        ("LIMIT_EXCEEDED", doubled),
    ] {
        let start = &document[..document.len().min(80)];
        let name = document.starts_with("query A").then_some("A");
        let answer = client.send(json!({ "query": document, "operationName": name })).await.expect("an answer");
        assert_eq!(code(&answer), Some(expected), "{start}: {}", answer["errors"][0]);
    }
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = format!("{{\"query\": \"{{ __typename }}\", \"variables\": {{\"a\": {deep}}}}}");
    let answer = client.post().header("content-type", "application/json").body(body).send().await.expect("an answer");
    assert_eq!(code(&answer.json().await.expect("JSON")), Some("BAD_REQUEST"));
    let deep = "query($a: Position) { viewer(atLeast: $a) { id } }";
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let answer = client.send(json!({ "query": deep, "variables": { "a": nested } })).await.expect("an answer");
    assert_eq!(code(&answer), Some("BAD_REQUEST"));
    socket.subscribe("1", "{ __typename }").await.expect("the same process");
    assert_eq!(socket.hear().await.expect("an answer")["type"], "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_to_wait_and_others_are_not() {
    let scene = Scene::new(&["--max-rate", "5", "--max-anonymous-rate", "10"]).await;
    let operator = scene.client(Some(&tokens::of_operator().expect("a token")));
    let (nobody, question) = (scene.client(None), query("{ __typename }"));
    // Whoever waited for the gateway to come up asked as an anonymous caller.
    for (caller, burst, others) in [(&operator, 5, &nobody), (&nobody, 5, &operator)] {
        let mut socket = caller.socket().await.expect("a socket");
        for _ in 0..burst {
            assert_eq!(code(&caller.send(question.clone()).await.expect("an answer")), None, "no more than is allowed");
        }
        let answers = join_all((0..40).map(|_| caller.post().json(&question).send())).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
        let refused = answers.into_iter().find(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).expect("more than is allowed");
        assert_eq!(refused.headers()[RETRY_AFTER], "1");
        let refused = refused.json::<Value>().await.expect("JSON");
        assert_eq!(refused["errors"][0]["extensions"], json!({ "code": "RATE_LIMITED", "retryAfterMs": 1_000 }));
        assert_eq!(rate_on(&mut socket).await.as_deref(), Some("RATE_LIMITED"), "a websocket is no way around it");
        let is_heard = || async { Ok(code(&others.send(question.clone()).await?).is_none().then_some(())) };
        tests::eventually("the others are answered", is_heard).await.expect("answered");
        let is_heard = || async { Ok(code(&caller.send(question.clone()).await?).is_none().then_some(())) };
        tests::eventually("a moment later", is_heard).await.expect("answered");
    }
}

/// The code that one of many operations on a websocket is refused with.
async fn rate_on(socket: &mut Socket) -> Option<String> {
    for id in 0..40 {
        socket.subscribe(&id.to_string(), "{ __typename }").await.expect("sent");
    }
    loop {
        let message = socket.hear().await.expect("an answer");
        if message["type"] == "error" {
            return code(&message).map(str::to_owned);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_by_caller_and_in_all_whatever_their_kind() {
    let scene = Scene::new(&["--max-sockets", "3", "--max-caller-sockets", "2"]).await;
    let holder = holders(&scene.serve.address, 1).await.expect("an account").remove(0);
    let watch = query(&format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", holder.account));
    let stream = || holder.client.post().header("accept", "text/event-stream").json(&watch).send();
    let first = holder.client.socket().await.expect("below");
    let second = stream().await.expect("at");
    assert_eq!(second.status(), StatusCode::OK);
    let refused = holder.client.socket().await.expect_err("a third of one caller");
    assert!(refused.to_string().contains("Again"), "{refused}");
    let refused = stream().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code(&refused.json().await.expect("JSON")), Some("LIMIT_EXCEEDED"));

    let operator = scene.client(Some(&tokens::of_operator().expect("a token")));
    let freed = tests::eventually("the refused one has left", || async { Ok(operator.socket().await.ok()) });
    let third = freed.await.expect("at, in all");
    let refused = operator.socket().await.expect_err("a fourth");
    assert!(refused.to_string().contains("503"), "{refused}");
    drop((first, second));
    tests::eventually("there is room again", || async { Ok(holder.client.socket().await.ok()) }).await.expect("room");
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_no_log_has_come_to_is_not_waited_for() {
    // What may come is waited for for five seconds, which is longer than a request may take here.
    let scene = Scene::new(&["--max-request-seconds", "4"]).await;
    let operator = scene.client(Some(&tokens::of_operator().expect("a token")));
    // ledger-0=999999999, nothing=1 and ledger-99=1
    for position in ["bGVkZ2VyLTA9OTk5OTk5OTk5", "bm90aGluZz0x", "bGVkZ2VyLTk5PTE"] {
        let query = query(&format!("{{ payment(id: \"pay_0\", atLeast: \"{position}\") {{ id }} }}"));
        for answer in join_all((0..100).map(|_| operator.send(query.clone()))).await {
            let answer = answer.expect("an answer");
            assert_eq!(code(&answer), Some("STALE_READ"), "{answer}");
        }
    }
    let beside = query("{ __typename payment(id: \"pay_0\", atLeast: \"bm90aGluZz0x\") { id } }");
    let answer = operator.send(beside).await.expect("an answer");
    assert_eq!(answer["data"], json!({ "__typename": "Query", "payment": null }), "what may be null is, and the rest is told");
    assert_eq!(answer["errors"][0]["path"], json!(["payment"]), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_token_keeps_customers_out() {
    let scene = Scene::new(&["--max-sockets", "4", "--max-caller-sockets", "2"]).await;
    let holder = holders(&scene.serve.address, 1).await.expect("an account").remove(0);
    let nobody = scene.client(None);
    let _taken = [nobody.socket().await.expect("one"), nobody.socket().await.expect("two")];
    assert!(nobody.socket().await.is_err(), "a third");
    let customer = tests::eventually("the refused one has left", || async { Ok(holder.client.socket().await.ok()) });
    customer.await.expect("a customer finds a seat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_taken_up_to_the_limit_and_closes_the_websocket_above() {
    let scene = Scene::new(&["--max-message", "1000"]).await;
    let mut socket = scene.client(None).socket().await.expect("a socket");
    let empty = json!({ "id": "1", "type": "subscribe", "payload": { "query": "{ __typename }", "extensions": { "x": "" } } });
    for (size, is_taken) in [(999, true), (1_000, true), (1_001, false)] {
        let mut request = empty["payload"].clone();
        request["extensions"]["x"] = json!("x".repeat(size - empty.to_string().len()));
        socket.subscribe_with("1", request).await.expect("sent");
        match socket.hear().await {
            Ok(answer) => {
                assert!(is_taken && answer["type"] == "next", "{size}: {answer}");
                assert_eq!(socket.hear().await.expect("an end")["type"], "complete");
            }
            Err(closed) => assert!(!is_taken && closed.to_string().contains("Size"), "{size}: {closed}"),
        }
    }
}
