//! Everything that is wrong with a request, over every transport: each error has a code of the documented list,
//! and says nothing of how the gateway is made.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::{Value, json};
use tests::{Client, Dev, Nats, load::Holder, load::holders, load::operator};

/// How Rust shows values and errors to those who made it, and names of what this is made of. None is part of a
/// message for people.
const OURS: [&str; 22] = [
    "Some(",
    "None",
    "Ok(",
    "Err(",
    "Error",
    "::",
    "ParseError",
    "panicked",
    "unwrap",
    "RUST",
    "Rule",
    "Positioned",
    "Io(",
    "Os {",
    "0x",
    "\n",
    "src/",
    ".rs",
    "async",
    "serde",
    "redb",
    "NATS",
];

/// What is wrong in a GraphQL document, or in the variables of one that takes them all.
const DOCUMENTS: [&str; 42] = [
    "",
    "   ",
    "{",
    "}",
    "query",
    "{ viewer { id }",
    "{ a: }",
    "{ payee(iban: \"\\ud800\") { name } }",
    "{ payee(iban: \"unfinished) { name } }",
    "{ payee(iban: \"\"\"unfinished) { name } }",
    "{ nope }",
    "{ viewer }",
    "{ viewer { id { deeper } } }",
    "{ viewer { ...Nope } }",
    "{ viewer { ... on Account { id } } }",
    "{ viewer { id } } fragment Unused on Customer { id }",
    "fragment F on Nope { id } { viewer { ...F } }",
    "{ viewer @nope { id } }",
    "{ viewer @skip { id } }",
    "{ viewer @skip(if: \"x\") { id } }",
    "{ viewer @skip(if: $x) { id } }",
    "query A { viewer { id } } query A { viewer { id } }",
    "query A { viewer { id } } query B { viewer { id } }",
    "query($a: Nope!) { viewer { id } }",
    "query($a: Customer) { viewer { id } }",
    "query($a: Int, $a: Int) { viewer { id } }",
    "query($missing: ID!) { account(id: $missing) { id } }",
    "query($a: Int = \"x\") { viewer { accounts(first: $a) { nodes { id } } } }",
    "{ account { id } }",
    "{ account(id: 1.5) { id } }",
    "{ account(id: \"a\", nope: 1) { id } }",
    "{ viewer { id: name id } }",
    "{ payee(iban: 3) { name } }",
    "{ payee(iban: {a: [null]}) { name } }",
    "{ viewer { accounts(first: \"x\") { nodes { id } } } }",
    "{ viewer { accounts(first: 99999999999999999999) { nodes { id } } } }",
    "mutation { openAccount(input: {}) { account { id } } }",
    "mutation { openAccount(input: {currency: EUR}) { account { id } } }",
    "mutation { setAccountStatus(input: {accountId: \"x\", status: NOPE}) { account { id } } }",
    "subscription { nope }",
    "subscription { balanceChanged { version } }",
    "subscription { balanceChanged(accountId: \"x\") { nope } }",
];

/// Values that are none of their type, or nothing there is: the type, where it is asked for, and values.
fn values() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let of_everything =
        || vec![json!(1), json!(-1.5), json!(1e300), json!(true), json!([[]]), json!({ "a": null }), json!("\u{0}"), json!("x")];
    let with = |more: &[Value]| of_everything().into_iter().chain(more.iter().cloned()).collect();
    let long = json!("9".repeat(10_000));
    let payment = "mutation($v: InitiatePaymentInput!) { initiatePayment(input: $v) { payment { id } errors { code } } }";
    let input = |field: &str, value: Value| {
        let money = json!({ "amount": "1.00", "currency": "EUR" });
        let mut input = json!({ "debtorAccountId": "acc_0", "creditorIban": "DE75999999991000000000", "amount": money });
        input[field] = value;
        input
    };
    let money = |amount: Value, currency: Value| input("amount", json!({ "amount": amount, "currency": currency }));
    let inputs = vec![
        json!({}),
        json!([]),
        input("nope", json!(1)),
        input("creditorIban", json!("DE00999999991000000000")),
        input("debtorAccountId", json!({})),
        input("reference", json!(7)),
        input("idempotencyKey", json!([])),
        money(json!(1.0), json!("EUR")),
        money(json!("1.00"), json!("XXX")),
        money(long.clone(), json!("EUR")),
        money(json!("NaN"), json!("€")),
    ];
    vec![
        ("a position", "query($v: Position) { payment(id: \"pay_0\", atLeast: $v) { id } }", with(&[long.clone(), json!("bGVkZ2VyLTA9")])),
        ("an IBAN", "query($v: Iban!) { payee(iban: $v) { name } }", with(&[Value::Null, json!("DE00"), long.clone()])),
        (
            "a page",
            "query($v: Int) { viewer { accounts(first: $v) { nodes { id } } } }",
            vec![json!(1.5), json!("1"), json!(3_000_000_000_u64), json!(-1)],
        ),
        ("a cursor", "query($v: String) { viewer { accounts(after: $v) { nodes { id } } } }", with(&[long.clone(), json!("LTE")])),
        ("a held page", "query($v: String) { heldPayments(after: $v) { nodes { id } } }", vec![json!("x"), json!("AAAA"), long.clone()]),
        (
            "a currency",
            "mutation($v: Currency!) { openAccount(input: {currency: $v}) { account { id } } }",
            with(&[json!("ZZZ"), long.clone()]),
        ),
        (
            "an overdraft",
            "mutation($v: Decimal) { openAccount(input: {currency: \"EUR\", overdraftLimit: $v}) { account { id } } }",
            with(std::slice::from_ref(&long)),
        ),
        ("a payment", payment, inputs),
        (
            "a deposit",
            "mutation($v: ID!) { deposit(input: {accountId: $v, amount: {amount: \"1\", currency: \"EUR\"}}) { payment { id } } }",
            of_everything(),
        ),
        (
            "a version",
            "subscription($v: Int) { balanceChanged(accountId: \"acc_0\", afterVersion: $v) { version } }",
            with(std::slice::from_ref(&long)),
        ),
        ("a watched account", "subscription($v: ID!) { transactionBooked(accountId: $v) { id } }", with(&[json!("acc_"), long])),
        ("a watched payment", "subscription($v: ID!) { paymentChanged(id: $v) { id } }", vec![json!("x"), json!([]), json!("pay_zz")]),
    ]
}

/// Collects what is wrong with answers.
struct Judge {
    codes: BTreeSet<String>,
    seen: BTreeSet<String>,
    wrong: String,
    errors: usize,
}

impl Judge {
    /// Judges every error in an answer, whatever it is wrapped in; says whether there was one.
    fn judge(&mut self, asked: &str, answer: &Value) -> bool {
        let mut found = false;
        let wrapped = answer.get("payload").unwrap_or(answer);
        let answers = if wrapped.is_array() && wrapped[0].get("message").is_none() { wrapped.as_array() } else { None };
        for one in answers.map_or(std::slice::from_ref(wrapped), Vec::as_slice) {
            let errors = one.get("errors").unwrap_or(one);
            for error in errors.as_array().into_iter().flatten() {
                found = true;
                self.error(asked, error);
            }
        }
        found
    }

    fn error(&mut self, asked: &str, error: &Value) {
        self.errors += 1;
        let code = error["extensions"]["code"].as_str().unwrap_or_default();
        self.seen.insert(code.to_owned());
        let message = error["message"].as_str().unwrap_or_default();
        let ours: Vec<_> = OURS.iter().filter(|word| message.contains(**word)).collect();
        if !self.codes.contains(code) || code == "INTERNAL" || message.is_empty() || !ours.is_empty() {
            writeln!(self.wrong, "{asked}: {error} {ours:?}").expect("written");
        }
    }
}

/// The codes of `errors.rs`, which must be those that are documented.
fn documented_codes() -> BTreeSet<String> {
    let source = include_str!("../../gateway/src/errors.rs");
    let code = |line: &str| line.split_once("=> \"").and_then(|(_, rest)| rest.strip_suffix("\",")).map(str::to_owned);
    let codes: BTreeSet<String> = source.lines().filter_map(code).filter(|code| !code.contains(' ')).collect();
    let document = include_str!("../../../ARCHITECTURE.md");
    let table = document.split_once("| code | meaning | try again |").expect("a table").1.split_once("\n\n").expect("its end").0;
    let names: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(codes, names, "ARCHITECTURE.md lists what errors.rs has");
    codes
}

/// Asks over POST, GET, an event stream and a websocket.
async fn ask_everywhere(client: &Client, address: &str, request: &Value, judge: &mut Judge) {
    let short: String = request.to_string().chars().take(200).collect();
    let posted = client.send(request.clone()).await.expect("JSON");
    assert!(judge.judge(&format!("POST {short}"), &posted), "nothing wrong with {short}: {posted}");
    let mut url = reqwest::Url::parse(&format!("http://{address}/graphql")).expect("an address");
    url.query_pairs_mut()
        .append_pair("query", request["query"].as_str().unwrap_or_default())
        .append_pair("variables", &request["variables"].to_string());
    let got = client.get(url).send().await.expect("an answer").json().await.expect("JSON");
    assert!(judge.judge(&format!("GET {short}"), &got), "nothing wrong with {short}: {got}");
    let events =
        client.post().header("accept", "text/event-stream").json(request).send().await.expect("an answer").text().await.expect("text");
    let data = events.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.is_empty());
    let mut is_wrong = false;
    for event in data {
        is_wrong |= judge.judge(&format!("SSE {short}"), &serde_json::from_str(event).expect("JSON"));
    }
    assert!(is_wrong, "nothing wrong with {short}: {events}");
    let mut socket = client.socket().await.expect("a socket");
    socket.subscribe_with("1", request.clone()).await.expect("sent");
    let answer = socket.hear().await.expect("an answer");
    assert!(judge.judge(&format!("websocket {short}"), &answer), "nothing wrong with {short}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_has_a_code_of_the_list_and_says_nothing_of_how_it_is_made() {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &["--max-message", "200000"]).await.expect("up");
    let Holder { client: lisa, .. } = holders(&serve.address, 1).await.expect("an account").remove(0);
    let bank = operator(&serve.address).expect("a token");
    let mut judge = Judge { codes: documented_codes(), seen: BTreeSet::new(), wrong: String::new(), errors: 0 };
    for document in DOCUMENTS {
        ask_everywhere(&lisa, &serve.address, &json!({ "query": document, "variables": {} }), &mut judge).await;
    }
    for (what, document, values) in values() {
        let client = if document.contains("heldPayments") || document.contains("deposit") { &bank } else { &lisa };
        for value in values {
            let request = json!({ "query": document, "variables": { "v": value }, "operationName": null });
            // User errors are data, and some values are good.
            let answer = client.send(request.clone()).await.expect("JSON");
            if judge.judge(what, &answer) {
                ask_everywhere(client, &serve.address, &request, &mut judge).await;
            }
        }
    }
    for (asked, answer) in odd_requests(&serve.address).await {
        assert!(judge.judge(&asked, &answer), "nothing wrong with {asked}: {answer}");
    }
    assert!(judge.wrong.is_empty(), "{}", judge.wrong);
    assert!(judge.errors > 400, "{} errors were looked at", judge.errors);
    for code in [
        "BAD_REQUEST",
        "BAD_USER_INPUT",
        "FORBIDDEN",
        "UNAUTHENTICATED",
        "UNKNOWN_ACCOUNT",
        "UNKNOWN_PAYMENT",
        "PERSISTED_QUERY_NOT_FOUND",
        "LIMIT_EXCEEDED",
    ] {
        assert!(judge.seen.contains(code), "{code} never came: {:?}", judge.seen);
    }
}

/// What is wrong with a request besides its document.
async fn odd_requests(address: &str) -> Vec<(String, Value)> {
    let (http, url) = (reqwest::Client::new(), format!("http://{address}/graphql"));
    let post = |body: Vec<u8>| http.post(&url).header("content-type", "application/json").body(body);
    let good = || br#"{"query":"{ __typename }"}"#.to_vec();
    let bodies: [&[u8]; 20] = [
        b"",
        b"{",
        b"[",
        b"[]",
        b"[1]",
        b"3",
        b"null",
        b"\"{ viewer { id } }\"",
        b"{}",
        br#"{"query":3}"#,
        br#"{"query":null}"#,
        b"\xff\xfe",
        br#"{"query":"{ __typename }","variables":3}"#,
        br#"{"query":"{ __typename }","variables":[1]}"#,
        br#"{"query":"\ud800"}"#,
        br#"{"query":"{ __typename }","operationName":3}"#,
        br#"{"query":"{ __typename }","extensions":[]}"#,
        br#"[{"query":"{"},{"query":"{ nope }"}]"#,
        br#"{"query":"{ __typename }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}"#,
        br#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}"#,
    ];
    let mut requests: Vec<_> = bodies.iter().map(|body| post(body.to_vec())).collect();
    requests.push(post(vec![b'['; 100_000]));
    requests.push(post(vec![b' '; 3_000_000]));
    for token in ["Bearer x", "Bearer a.b.c", "Bearer ", "Basic eDp5", "Bearer eyJhbGciOiJub25lIn0.e30.", "é"] {
        requests.push(post(good()).header("authorization", token));
    }
    requests.push(post(good()).header("accept", "image/png"));
    requests.push(http.post(&url).header("content-type", "text/plain").body(good()));
    for query in [
        "",
        "?",
        "?query=%ff",
        "?query=%7B",
        "?query=mutation%7B__typename%7D",
        "?variables=3",
        "?query=%7Ba%7D&variables=%7B",
        "?query=a&query=b",
    ] {
        requests.push(http.get(format!("{url}{query}")));
    }
    requests.push(http.get(&url).header("upgrade", "websocket").header("connection", "upgrade"));
    let mut answers = Vec::new();
    for request in requests {
        let request = request.build().expect("a request");
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let asked = format!("{} {:?} {}", request.url(), request.headers(), String::from_utf8_lossy(&body[..body.len().min(80)]));
        let text = http.execute(request).await.expect("an answer").text().await.expect("text");
        answers.push((asked, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))));
    }
    answers
}
