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
    let hopeful = http.get(format!("{}?query=%7B__typename%7D", scene.url)).header("connection", "upgrade").header("upgrade", "h2c");
    assert_eq!(hopeful.send().await.expect("an answer").status(), StatusCode::OK, "who would rather speak HTTP/2 is answered all the same");
    assert_eq!(scene.ask(mutation).await, (StatusCode::OK, json!({ "data": { "__typename": "Mutation" } })));
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = http.request(method, &scene.url).send().await.expect("an answer");
        assert_eq!((answer.status(), answer.headers()["allow"].to_str().expect("text")), (StatusCode::METHOD_NOT_ALLOWED, "GET, POST"));
        assert_eq!(answer.json::<Value>().await.expect("JSON")["errors"][0]["extensions"]["code"], "BAD_REQUEST");
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
async fn what_is_refused_before_it_is_understood_has_the_type_that_is_taken_too() {
    let scene = Scene::new(&[]).await;
    let http = reqwest::Client::new();
    for accept in ["application/graphql-response+json", "application/json"] {
        let post =
            |body: &'static str| http.post(&scene.url).header("accept", accept).header("content-type", "application/json").body(body);
        let token = post(r#"{"query": "{ __typename }"}"#).header("authorization", "Bearer nonsense");
        let text = http.post(&scene.url).header("accept", accept).header("content-type", "text/plain").body("{");
        for (request, status) in [
            (post("{"), StatusCode::BAD_REQUEST),
            (token, StatusCode::UNAUTHORIZED),
            (text, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (http.put(&scene.url).header("accept", accept), StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["content-type"].to_str().expect("text"), format!("{accept}; charset=utf-8"), "{status}");
        }
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

    let watch = |after: &str| format!("subscription {{ balanceChanged(accountId: \"{}\"{after}) {{ version }} }}", holder.account);
    let refused = stream(watch(", afterVersion: -1")).await.expect("an answer").text().await.expect("a text");
    assert!(refused.contains("\"BAD_USER_INPUT\"") && refused.ends_with("event: complete\ndata: \n\n"), "{refused}");
    // There is no other answer to a subscription, whatever is liked better, and wherever its root field stands.
    let spread = watch("").replacen("subscription", "subscription { ...W } fragment W on Subscription", 1);
    let post = holder.client.post().header("accept", "application/json, text/event-stream;q=0.5").json(&json!({ "query": spread }));
    let mut changes = post.send().await.expect("an answer");
    let operator = tests::load::operator(&scene.serve.address).expect("a token");
    for version in 1..=2 {
        let change = tokio::time::timeout(PATIENCE, changes.chunk()).await.expect("in time").expect("open").expect("bytes");
        let expected = format!("event: next\ndata: {{\"data\":{{\"balanceChanged\":{{\"version\":{version}}}}}}}\n\n");
        assert_eq!(String::from_utf8_lossy(&change), expected);
        operator.deposit(&holder.account.to_string(), "1.00", "EUR").await.expect("booked");
    }
    // Who is cut off is not told that this is all.
    let rest = async {
        while let Some(chunk) = changes.chunk().await.expect("no error") {
            assert!(!chunk.starts_with(b"event: complete"))
        }
    };
    let (ended, ()) = tokio::join!(scene.serve.interrupt(), rest);
    assert!(ended.expect("it ends").1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_no_object_or_of_another_version_is_refused_with_a_code() {
    let scene = Scene::new(&[]).await;
    let nowhere = reqwest::get(format!("{}/nowhere", scene.url)).await.expect("an answer");
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    assert_eq!(nowhere.json::<Value>().await.expect("JSON")["errors"][0]["extensions"]["code"], "BAD_REQUEST");
    let bad = Some("BAD_REQUEST".to_owned());
    assert_eq!(scene.refusal(json!([["{ __typename }"]])).await, bad);
    let persisted = |version: u8| {
        let extensions = json!({ "persistedQuery": { "version": version, "sha256Hash": "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38" } });
        json!({ "query": "{__typename}", "extensions": extensions })
    };
    assert_eq!(scene.refusal(persisted(1)).await, None);
    assert_eq!(scene.refusal(persisted(2)).await, bad);
    // In a URL what is empty is not there.
    let empty = reqwest::get(format!("{}?query=%7B__typename%7D&operationName=&variables=&extensions=&documentId=", scene.url));
    let answer: Value = empty.await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer, json!({ "data": { "__typename": "Query" } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_is_made_where_a_later_one_of_the_same_operation_is_bad() {
    let scene = Scene::new(&[]).await;
    let holders = tests::load::holders(&scene.serve.address, 2).await.expect("accounts");
    let (payer, account) = (&holders[0].client, holders[0].account.to_string());
    let money = json!({ "amount": "1.00", "currency": "EUR" });
    let input = |iban: &str| json!({ "debtorAccountId": account, "creditorIban": iban, "amount": money });
    let query = "mutation($a: InitiatePaymentInput!, $b: InitiatePaymentInput!) { \
                 a: initiatePayment(input: $a) { payment { id } } b: initiatePayment(input: $b, waitFor: FINAL) { payment { id } } }";
    for b in [input("DE99"), json!(5)] {
        let answer = payer.send(json!({ "query": query, "variables": { "a": input(&holders[1].iban), "b": b } })).await.expect("an answer");
        assert_eq!((answer.get("data"), &answer["errors"][0]["extensions"]["code"]), (None, &json!("BAD_REQUEST")), "{answer}");
    }
    let variables = json!({ "a": input(&holders[1].iban), "b": input(&holders[1].iban) });
    payer.send(json!({ "query": query, "variables": variables })).await.expect("an answer");
    // Each payment is behind the one before in its log, so what was made earlier would be here as well.
    let made = "query($f: Int) { viewer { accounts(first: $f) { nodes { payments(first: $f) { nodes { id } } } } } }";
    let made = payer.send(json!({ "query": made })).await.expect("an answer");
    let payments = made["data"]["viewer"]["accounts"]["nodes"][0]["payments"]["nodes"].as_array().map(Vec::len);
    assert_eq!(payments, Some(2), "and the pages are as long as they are by themselves: {made}");
}
