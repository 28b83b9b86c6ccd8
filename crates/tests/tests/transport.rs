//! GraphQL over HTTP against a real gateway: methods, media types, statuses, documents by name and
//! event streams.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Dev, Nats, PATIENCE, load::holders};

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
