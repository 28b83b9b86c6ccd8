//! HTTP and websocket around the schema. This module must never know a field.

use std::{sync::Arc, time::Duration};

use async_graphql::{Data, http::ALL_WEBSOCKET_PROTOCOLS};
use async_graphql_axum::{GraphQLProtocol, GraphQLResponse, GraphQLWebSocket};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{State, WebSocketUpgrade, rejection::BytesRejection, ws::rejection::WebSocketUpgradeRejection},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use streams::Host;
use tokio::net::TcpListener;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, limit::RequestBodyLimitLayer};

use crate::{
    AuthError, BankSchema, Caller, Keys, Playground,
    budget::{self, Budget},
    health, playground,
};

/// Largest request body: a bulk of 1,000 payments with the longest texts.
pub(crate) const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// Largest websocket message; subscriptions are short.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Read buffer of a websocket: the library's 128 KiB each would fill the memory with idle ones.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// A websocket that says nothing for this long, pings included, is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Gateway {
    schema: BankSchema,
    keys: Arc<Keys>,
}

/// Serves the schema on `listener` until the host stops and the requests under way are answered.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(listener: TcpListener, schema: BankSchema, keys: Keys, playground: Playground, host: Host) -> std::io::Result<()> {
    let stop = host.stop.clone().cancelled_owned();
    let gateway = Gateway { schema, keys: Arc::new(keys) };
    let routes = Router::new()
        .route("/graphql", get(websocket).post(graphql).layer(from_fn_with_state(Budget::default(), budget::admit)))
        .merge(health::routes(host))
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(CorsLayer::permissive())
        // Behind that layer: a page from elsewhere may use the API, but not read whom the playground is signed in as.
        .merge(playground::routes(playground))
        .layer(CatchPanicLayer::new())
        .with_state(gateway);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

/// Serves nothing but how the process stands.
///
/// # Errors
/// Where the listener fails.
pub async fn serve_health(listener: TcpListener, host: Host) -> std::io::Result<()> {
    let stop = host.stop.clone().cancelled_owned();
    axum::serve(listener, health::routes::<()>(host).with_state(())).with_graceful_shutdown(stop).await
}

async fn graphql(State(gateway): State<Gateway>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let is_json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if !is_json {
        let message = "Send a GraphQL request in JSON, with the content type application/json.";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal(message, "BAD_REQUEST")).into_response();
    }
    let Ok(body) = body else {
        let message = format!("The request has more than {MAX_BODY_BYTES} bytes, or did not arrive whole.");
        return (StatusCode::PAYLOAD_TOO_LARGE, refusal(&message, "BAD_REQUEST")).into_response();
    };
    let Ok(request) = serde_json::from_slice::<async_graphql::Request>(&body) else {
        let message = "The body is not one GraphQL request in JSON, like {\"query\": \"{ viewer { name } }\"}.";
        return (StatusCode::BAD_REQUEST, refusal(message, "BAD_REQUEST")).into_response();
    };
    match caller(&gateway.keys, &headers).await {
        Ok(caller) => GraphQLResponse::from(gateway.schema.execute(request.data(caller)).await).into_response(),
        Err(error) => unauthenticated(error),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn websocket(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    protocol: Result<GraphQLProtocol, StatusCode>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let (Ok(upgrade), Ok(protocol)) = (upgrade, protocol) else {
        let message = "Send queries as POST with JSON, or open a websocket with the subprotocol graphql-transport-ws.";
        return (StatusCode::METHOD_NOT_ALLOWED, [("allow", "POST")], refusal(message, "BAD_REQUEST")).into_response();
    };
    let from_headers = match caller(&gateway.keys, &headers).await {
        Ok(caller) => caller,
        Err(error) => return unauthenticated(error),
    };
    let keys = Arc::clone(&gateway.keys);
    upgrade
        .protocols(ALL_WEBSOCKET_PROTOCOLS)
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| {
            GraphQLWebSocket::new(socket, gateway.schema, protocol)
                .keepalive_timeout(KEEP_ALIVE)
                .on_connection_init(move |payload| async move { sign_in(&keys, from_headers, &payload).await })
                .serve()
        })
}

/// The token of a websocket comes in `connection_init`, under the name of the header or as `token`.
async fn sign_in(keys: &Keys, from_headers: Caller, payload: &serde_json::Value) -> async_graphql::Result<Data> {
    let given = |name: &str| payload.get(name).and_then(serde_json::Value::as_str);
    let authorization = given("authorization").or_else(|| given("Authorization")).map(str::to_owned);
    let authorization = authorization.or_else(|| given("token").map(|token| format!("Bearer {token}")));
    let caller = match authorization {
        Some(value) => keys.sign_in(Some(&value)).await.map_err(|error| async_graphql::Error::new(error.to_string()))?.caller,
        None => from_headers,
    };
    let mut data = Data::default();
    data.insert(caller);
    Ok(data)
}

async fn caller(keys: &Keys, headers: &HeaderMap) -> Result<Caller, AuthError> {
    let value = headers.get(AUTHORIZATION).map(|value| value.to_str().map_err(|_| AuthError)).transpose()?;
    Ok(keys.sign_in(value).await?.caller)
}

fn unauthenticated(error: AuthError) -> Response {
    let message = format!("{error}: get a new one, or send none.");
    (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")], refusal(&message, "UNAUTHENTICATED")).into_response()
}

fn refusal(message: &str, code: &str) -> Json<serde_json::Value> {
    Json(json!({ "errors": [{ "message": message, "extensions": { "code": code } }] }))
}
