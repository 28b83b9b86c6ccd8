//! What is refused before anything runs, and what is not, on a schema that has no bank behind it. An anonymous caller is told null.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::{Expected, schema::tests::without_bank};

/// What an anonymous caller is told, which is the same however often it is asked for.
async fn told(request: Value) -> Value {
    let expected = Expected { issuer: "tests".to_owned(), audience: "tests".to_owned() };
    let keys = Keys::from_secret(&[7; 32], expected);
    let gateway = Arc::new(Gateway::new(without_bank(), keys, Limits::default(), Documents::default()));
    let answer = async || {
        let answers: Vec<_> = match gateway.prepare(serde_json::from_value(request.clone()).expect("parameters"), Caller::Anonymous) {
            Ok(operation) => gateway.stream(operation).collect().await,
            Err(refused) => vec![*refused],
        };
        serde_json::to_value(&answers[0]).expect("JSON")
    };
    let (first, second) = (answer().await, answer().await);
    assert_eq!(first, second, "{request}");
    first
}

fn code(answer: &Value) -> Option<&str> {
    answer["errors"][0]["extensions"]["code"].as_str()
}

#[test]
fn nothing_was_stored_is_said_of_the_first_change_only() {
    let told = |key: &str| {
        let error = ServerError { path: vec![PathSegment::Field(key.to_owned())], ..Failure::Overloaded.into() };
        after_others(Response::from_errors(vec![error]), Some(Name::new("a"))).errors.remove(0)
    };
    assert!(told("a").message.starts_with("Nothing was stored"));
    let behind = told("b");
    assert!(behind.message.starts_with("A part of this was stored"), "{}", behind.message);
    assert_eq!((crate::errors::code_of(&behind), &behind.path), (Some("UNAVAILABLE"), &vec![PathSegment::Field("b".to_owned())]));
    let first = |text: &str| {
        let document = parsing::parse(text).expect("a document");
        first_key(&select(&document, None).expect("an operation").selection_set.node)
    };
    assert_eq!(first("mutation { ... on Mutation { x: a b } c }").as_deref(), Some("x"));
}

#[tokio::test]
async fn a_page_has_as_many_rows_in_a_named_fragment_as_elsewhere() {
    let pages = |levels: usize| {
        (0..levels).fold("id".to_owned(), |inner, _| format!("accounts(first: 100) {{ nodes {{ id holder {{ {inner} }} }} }}"))
    };
    for (levels, expected) in [(1, None), (4, Some("LIMIT_EXCEEDED"))] {
        let pages = pages(levels);
        for query in [
            format!("{{ node(id: \"cus_0\") {{ ... on Customer {{ {pages} }} }} }}"),
            format!("{{ node(id: \"cus_0\") {{ ...F }} }} fragment F on Customer {{ {pages} }}"),
            format!("{{ viewer {{ ...F }} }} fragment F on Customer {{ {pages} }}"),
            format!("{{ viewer {{ ... on Node {{ ...F }} }} }} fragment F on Customer {{ ...G }} fragment G on Customer {{ {pages} }}"),
        ] {
            let answer = told(json!({ "query": query })).await;
            assert_eq!(code(&answer), expected, "{query}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_operation_that_is_not_run_asks_for_nothing() {
    let page = "viewer { accounts(first: 100) { nodes { transactions(first: 100) { nodes { id } } } } }";
    for other in [
        "query B($f: Int) { viewer { accounts(first: $f) { nodes { id } } } }".to_owned(),
        "mutation B($i: [InitiatePaymentInput!]!) { initiatePayments(inputs: $i) { position } }".to_owned(),
        "query B($f: Int!) { viewer { ...F } } fragment F on Customer { accounts(first: $f) { nodes { id } } }".to_owned(),
        format!("query B {{ {page} }} query C {{ {page} }}"),
    ] {
        let query = format!("query A {{ {page} }} {other}");
        let answer = told(json!({ "query": query, "operationName": "A" })).await;
        assert_eq!(answer, json!({ "data": { "viewer": null } }), "{query}");
    }
    let both = "query A($a: Boolean!) { viewer @skip(if: $a) { id } } query B($b: Boolean!) { viewer @skip(if: $b) { id } }";
    let answer = told(json!({ "query": both, "operationName": "B", "variables": { "b": false } })).await;
    assert_eq!(answer, json!({ "data": { "viewer": null } }));
    let answer = told(json!({ "query": both, "operationName": "B", "variables": { "a": false } })).await;
    assert_eq!(code(&answer), Some("BAD_REQUEST"), "{answer}");
}

#[tokio::test]
async fn a_variable_is_of_a_type_that_is_there() {
    for ty in ["Nope", "[Nope]", "[[Nope!]!]"] {
        for default in ["", " = 1", " = [1]", " = null"] {
            let query = format!("query($a: {ty}{default}) {{ viewer {{ id }} }}");
            let answer = told(json!({ "query": query })).await;
            assert_eq!(code(&answer), Some("BAD_REQUEST"), "{query}: {answer}");
            assert!(answer["errors"][0]["message"].as_str().is_some_and(|message| message.contains("Nope")), "{answer}");
        }
    }
}

#[tokio::test]
async fn the_type_of_an_object_is_a_field_like_any_other() {
    let conditional = "query($x: Boolean!) { a: __typename __typename @include(if: $x) viewer { id __typename @skip(if: $x) } }";
    let answer = told(json!({ "query": conditional, "variables": { "x": true } })).await;
    assert_eq!(answer, json!({ "data": { "a": "Query", "__typename": "Query", "viewer": null } }));
    let answer = told(json!({ "query": conditional, "variables": { "x": false } })).await;
    assert_eq!(answer, json!({ "data": { "a": "Query", "viewer": null } }));
    for bad in [
        "{ __typename @nope }",
        "{ __typename(a: 1) }",
        "{ viewer { __typename(a: 1) } }",
        "{ viewer { __typename { x } } }",
        "{ ...F } fragment F on Query { viewer { __typename(a: 1) } }",
    ] {
        let answer = told(json!({ "query": bad })).await;
        assert_eq!(code(&answer), Some("BAD_REQUEST"), "{bad}: {answer}");
    }
}
