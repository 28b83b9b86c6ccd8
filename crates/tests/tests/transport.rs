//! GraphQL over HTTP against a real gateway: methods, media types, statuses, documents by name, event
//! streams, and every limit at, below and above.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Dev, Nats, PATIENCE, load::holders, tokens};

struct Scene {
    _nats: Nats,
    _data: tempfile::TempDir,
    serve: Dev,
    url: String,
}

impl Scene {
    async fn new(arguments: &[&str]) -> Self {
        let nats = Nats::start().expect("a nats-server");
        let data = tempfile::tempdir().expect("a folder");
        let serve = Dev::serve(&nats, data.path(), arguments).await.expect("up");
        let url = format!("http://{}/graphql", serve.address);
        Self { _nats: nats, _data: data, serve, url }
    }

    async fn ask(&self, body: Value) -> (StatusCode, Value) {
        let post = reqwest::Client::new().post(&self.url).header("accept", "application/graphql-response+json").json(&body);
        let answer = post.send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    /// The code that a query is refused with; none where it is answered.
    async fn refusal(&self, body: Value) -> Option<String> {
        let (_, answer) = self.ask(body).await;
        answer["errors"][0]["extensions"]["code"].as_str().map(str::to_owned)
    }

    async fn query_refusal(&self, query: &str) -> Option<String> {
        self.refusal(json!({ "query": query })).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_needs_post_and_json() {
    let scene = Scene::new(&[]).await;
    let http = reqwest::Client::new();
    let mutation = json!({ "query": "mutation { __typename }" });
    let get = http.get(format!("{}?query=mutation%20%7B__typename%7D", scene.url)).send().await.expect("an answer");
    assert_eq!((get.status(), get.headers()["allow"].to_str().expect("text")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let post = http.post(&scene.url).header("content-type", content_type).body(mutation.to_string());
        let answer = post.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    assert_eq!(scene.ask(mutation).await, (StatusCode::OK, json!({ "data": { "__typename": "Mutation" } })));
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = http.request(method, &scene.url).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    let html = http.post(&scene.url).header("accept", "text/html").json(&json!({ "query": "{ __typename }" }));
    assert_eq!(html.send().await.expect("an answer").status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_without_how_it_is_made() {
    let scene = Scene::new(&[]).await;
    for (body, says) in [
        (json!({ "query": "{" }), "not a GraphQL document"),
        (json!({ "query": "{ nope }" }), "nope"),
        (json!({ "query": "query A { __typename } query B { __typename }" }), "operationName"),
        (json!({ "query": "query A { __typename }", "operationName": "C" }), "operationName"),
        (json!({ "query": "query($a: ID!) { __typename }" }), "$a"),
        (json!({ "query": "fragment F on Query { __typename }" }), "operation"),
    ] {
        let (status, answer) = scene.ask(body).await;
        let message = answer["errors"][0]["message"].as_str().expect("a message");
        assert_eq!((status, &answer["errors"][0]["extensions"]["code"]), (StatusCode::BAD_REQUEST, &json!("BAD_REQUEST")), "{answer}");
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
        assert!(answer.get("data").is_none(), "nothing was run: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_holds_at_and_refuses_above() {
    let scene = Scene::new(&[
        "--max-body",
        "3000",
        "--max-depth",
        "4",
        "--max-complexity",
        "50",
        "--max-aliases",
        "3",
        "--max-root-fields",
        "4",
        "--max-directives",
        "2",
        "--max-batch",
        "3",
    ])
    .await;
    let limit = Some("LIMIT_EXCEEDED".to_owned());
    let aliases = |count: usize| format!("{{ {} }}", (0..count).map(|n| format!("a{n}: __typename ")).collect::<String>());
    let padded = |bytes: usize| {
        let empty = json!({ "query": "{ __typename }", "extensions": { "x": "" } }).to_string().len();
        json!({ "query": "{ __typename }", "extensions": { "x": "x".repeat(bytes - empty) } })
    };
    let page = |first: &str| format!("{{ viewer {{ accounts(first: {first}) {{ nodes {{ id iban }} }} }} }}");
    for (is_within, query) in [
        (true, aliases(3)),
        (false, aliases(4)),
        (true, "{ __typename ...F } fragment F on Query { x: __typename y: __typename z: __typename }".to_owned()),
        (false, "{ __typename w: __typename ...F } fragment F on Query { x: __typename y: __typename z: __typename }".to_owned()),
        (true, "{ __typename @skip(if: false) @include(if: true) }".to_owned()),
        (false, "{ __typename @skip(if: false) @include(if: true) @include(if: true) }".to_owned()),
        (true, "{ viewer { accounts(first: 1) { nodes { id } } } }".to_owned()),
        (false, "{ viewer { accounts(first: 1) { nodes { balance { version } } } } }".to_owned()),
        // One for the viewer, one for the page, and three for each of its rows.
        (true, page("16")),
        (false, page("17")),
        (false, page("100000")),
    ] {
        let expected = if is_within { None } else { limit.clone() };
        assert_eq!(scene.query_refusal(&query).await, expected, "{query}");
    }
    let five = (0..5).map(|_| "__typename ").collect::<String>();
    assert_eq!(scene.query_refusal(&format!("{{ {five} }}")).await, limit, "root fields");
    assert_eq!(scene.query_refusal(&page("-1")).await, None, "what a page has no rows of costs nothing, and overflows nothing");
    assert_eq!(scene.refusal(padded(3000)).await, None);
    let too_large = reqwest::Client::new().post(&scene.url).json(&padded(3001)).send().await.expect("an answer");
    assert_eq!(too_large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let batch = |count: usize| Value::Array(vec![json!({ "query": "{ __typename }" }); count]);
    assert_eq!(scene.ask(batch(3)).await.1.as_array().map(Vec::len), Some(3));
    assert_eq!(scene.refusal(batch(4)).await, limit);
    assert_eq!(scene.refusal(batch(0)).await.as_deref(), Some("BAD_REQUEST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_to_wait_and_others_are_not() {
    let scene = Scene::new(&["--max-rate", "5", "--max-anonymous-rate", "50"]).await;
    let operator = Client::new(&scene.serve.address, Some(&tokens::of_operator().expect("a token")));
    let all = futures_util::future::join_all((0..40).map(|_| operator.post().json(&json!({ "query": "{ __typename }" })).send())).await;
    let statuses: Vec<StatusCode> = all.into_iter().map(|answer| answer.expect("an answer").status()).collect();
    assert!(statuses.iter().filter(|status| **status == StatusCode::OK).count() >= 5, "{statuses:?}");
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    assert_eq!(scene.query_refusal("{ __typename }").await, None, "an anonymous caller");
    let again = tests::eventually("a second later", || async { Ok(operator.execute("{ __typename }").await.ok()) }).await;
    assert!(again.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_known_by_their_hash_or_only_those_of_a_list() {
    const HASH: &str = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";
    let scene = Scene::new(&[]).await;
    let by_hash = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": HASH } } });
    assert_eq!(scene.refusal(by_hash.clone()).await.as_deref(), Some("PERSISTED_QUERY_NOT_FOUND"));
    let mut with_text = by_hash.clone();
    with_text["query"] = json!("{__typename}");
    assert_eq!(scene.refusal(with_text).await, None);
    assert_eq!(scene.ask(by_hash).await.1, json!({ "data": { "__typename": "Query" } }));

    let list = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(list.path(), json!({ "name": "{ __typename }" }).to_string()).expect("written");
    let closed = Scene::new(&["--trusted-documents", &list.path().display().to_string()]).await;
    assert_eq!(closed.ask(json!({ "documentId": "name" })).await.1, json!({ "data": { "__typename": "Query" } }));
    assert_eq!(closed.query_refusal("{ viewer { id } }").await.as_deref(), Some("UNTRUSTED_DOCUMENT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_says_each_change_and_its_end() {
    let scene = Scene::new(&[]).await;
    let holder = holders(&scene.serve.address, 1).await.expect("an account").remove(0);
    let stream = |query: String| holder.client.post().header("accept", "text/event-stream").json(&json!({ "query": query })).send();
    let whole = stream("{ viewer { name } }".to_owned()).await.expect("an answer");
    assert_eq!(whole.headers()["content-type"].to_str().expect("text"), "text/event-stream; charset=utf-8");
    let text = whole.text().await.expect("a text");
    assert_eq!(text, "event: next\ndata: {\"data\":{\"viewer\":{\"name\":\"Holder0\"}}}\n\nevent: complete\ndata: \n\n");
    let refused = stream("{".to_owned()).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::OK);
    assert!(refused.text().await.expect("a text").starts_with("event: next\ndata: {\"errors\":"));

    let watch = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", holder.account);
    let mut changes = stream(watch).await.expect("an answer");
    let operator = tests::load::operator(&scene.serve.address).expect("a token");
    for version in 1..=2 {
        let change = tokio::time::timeout(PATIENCE, changes.chunk()).await.expect("in time").expect("open").expect("bytes");
        let expected = format!("event: next\ndata: {{\"data\":{{\"balanceChanged\":{{\"version\":{version}}}}}}}\n\n");
        assert_eq!(String::from_utf8_lossy(&change), expected);
        operator.deposit(&holder.account.to_string(), "1.00", "EUR").await.expect("booked");
    }
}
