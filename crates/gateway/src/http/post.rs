//! GraphQL over HTTP: operations by POST, queries also by GET. This module must never know a field.

use async_graphql::{Response as Answer, parser::types::OperationType};
use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts as _, Query, Request, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, header::UPGRADE},
    response::Response,
};
use serde::{Deserialize, de::DeserializeSeed as _};

use super::{
    Door,
    answer::{self, Media},
    sse, websocket,
};
use crate::{
    SignedIn,
    errors::Failure,
    object::{First, FirstOf, Object},
    operation::Params,
};

/// What the answers to an array of operations may come to before the rest is refused: each may have megabytes, and all are sent
/// as one.
const MOST_ARRAY_BYTES: usize = 4 * 1024 * 1024;

/// The parameters in a URL, those that are maps as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UrlParams {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
    document_id: Option<String>,
}

impl UrlParams {
    fn read(self) -> serde_json::Result<Params> {
        // What is empty is not there (GraphQL over HTTP, 6.2).
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (variables, extensions) = (given(self.variables), given(self.extensions));
        Ok(Params {
            query: self.query,
            operation_name: given(self.operation_name),
            variables: variables.map_or(Ok(async_graphql::Variables::default()), |text| serde_json::from_str(&text))?,
            extensions: extensions.map(|text| serde_json::from_str(&text)).transpose()?,
            document_id: given(self.document_id),
        })
    }
}

/// A query by GET, or the opening of a websocket.
pub(super) async fn get(State(door): State<Door>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    // Any other protocol that a client would rather speak may be passed over (RFC 9110 §7.8).
    if parts.headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return match WebSocketUpgrade::from_request_parts(&mut parts, &door).await {
            Ok(upgrade) => websocket::open(door, &parts.headers, upgrade).await,
            Err(_) => bad("This is no opening of a websocket (RFC 6455)."),
        };
    }
    let Ok(Query(params)) = Query::<UrlParams>::try_from_uri(&parts.uri) else {
        return bad("The URL's parameters cannot be read: query is needed, operationName, variables and extensions may be given.");
    };
    let params = match params.read() {
        Ok(params) => params,
        Err(_) => return bad("variables and extensions are JSON objects."),
    };
    if !params.names_document() {
        return bad(
            "Send operations as POST with JSON, queries also in the URL's parameter query, or open a websocket with the subprotocol graphql-transport-ws.",
        );
    }
    answer_one(&door, &parts.headers, params, true).await
}

/// What is neither.
pub(super) async fn neither() -> Response {
    answer::not_allowed("GET, POST", "Send operations by POST, or queries by GET.")
}

/// Operations in JSON, one or an array.
pub(super) async fn post(State(door): State<Door>, headers: HeaderMap, body: Body) -> Response {
    if !is_json(&headers) {
        // No page's script can send this type to another origin without being asked for its own.
        let message = "Send a GraphQL request in JSON, with the content type application/json.";
        return answer::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, Failure::BadRequest(message.to_owned()));
    }
    // It is in memory already.
    let Ok(body) = to_bytes(body, door.gateway.limits.body_bytes).await else { return bad("The body did not arrive whole.") };
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return answer_many(&door, &headers, &body).await;
    }
    match serde_json::from_slice::<Object<Params>>(&body) {
        Ok(Object(params)) if params.names_document() => answer_one(&door, &headers, params, false).await,
        Ok(_) => bad("The request has no query."),
        Err(_) => bad("The body is not one GraphQL request in JSON, like {\"query\": \"{ viewer { name } }\"}."),
    }
}

async fn answer_one(door: &Door, headers: &HeaderMap, params: Params, is_get: bool) -> Response {
    let Some(media) = Media::accepted(headers) else {
        let message = "This answers with application/graphql-response+json, application/json, or text/event-stream.";
        return answer::with_status(StatusCode::NOT_ACCEPTABLE, Failure::BadRequest(message.to_owned()));
    };
    let signed_in = match door.sign_in(headers).await {
        Ok(signed_in) => signed_in,
        Err(response) => return *response,
    };
    let operation = match door.gateway.prepare(params, signed_in.caller) {
        Ok(operation) => operation,
        Err(refused) if media == Media::EventStream => return sse::one(&refused),
        Err(refused) => return answer::one(&refused, media),
    };
    if is_get && operation.kind == OperationType::Mutation {
        return answer::not_allowed("POST", "Mutations are sent by POST.");
    }
    let is_subscription = operation.kind == OperationType::Subscription;
    if is_subscription && Media::takes_events(headers) {
        return sse::open(door, signed_in, operation);
    }
    if is_subscription {
        let message = "Subscriptions need a websocket (graphql-transport-ws), or an answer of the type text/event-stream.";
        return answer::with_status(StatusCode::NOT_ACCEPTABLE, Failure::BadRequest(message.to_owned()));
    }
    let answer = door.gateway.execute(operation).await;
    if media == Media::EventStream { sse::one(&answer) } else { answer::one(&answer, media) }
}

async fn answer_many(door: &Door, headers: &HeaderMap, body: &[u8]) -> Response {
    let most = door.gateway.limits.batch;
    let mut json = serde_json::Deserializer::from_slice(body);
    let batch = FirstOf::<Object<Params>>::new(most).deserialize(&mut json);
    let Ok(First { items: batch, is_cut }) = batch.and_then(|batch| json.end().map(|()| batch)) else {
        return bad("The body is not an array of GraphQL requests in JSON.");
    };
    if batch.is_empty() {
        return bad("The array has no request.");
    }
    if is_cut {
        return answer::failure(Failure::LimitExceeded(format!("An array has at most {most} requests; this one has more.")));
    }
    let media = match Media::accepted(headers) {
        Some(Media::GraphqlResponse) => Media::GraphqlResponse,
        Some(Media::Json | Media::EventStream) | None => Media::Json,
    };
    let SignedIn { caller, .. } = match door.sign_in(headers).await {
        Ok(signed_in) => signed_in,
        Err(response) => return *response,
    };
    let mut answers = answer::Many::default();
    // One after the other, so that mutations happen in their order.
    for Object(params) in batch {
        answers.push(&if answers.bytes() > MOST_ARRAY_BYTES {
            Answer::from_errors(vec![too_many_bytes().into()])
        } else {
            match door.gateway.prepare(params, caller) {
                Ok(operation) => door.gateway.execute(operation).await,
                Err(refused) => *refused,
            }
        });
    }
    answers.response(media)
}

fn too_many_bytes() -> Failure {
    Failure::LimitExceeded(format!(
        "This was not run: the answers before it have more than {MOST_ARRAY_BYTES} bytes. Ask for it in a request of its own."
    ))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn bad(message: &str) -> Response {
    answer::failure(Failure::BadRequest(message.to_owned()))
}
