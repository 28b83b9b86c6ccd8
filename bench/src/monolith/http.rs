//! GraphQL over HTTP and websocket, by the library's own handlers. This module must never know a field.

use std::sync::Arc;

use anyhow::Context as _;
use async_graphql::{Data, http::ALL_WEBSOCKET_PROTOCOLS};
use async_graphql_axum::{GraphQLProtocol, GraphQLRequest, GraphQLResponse, GraphQLWebSocket};
use axum::{
    Router,
    extract::{State, WebSocketUpgrade},
    http::{HeaderMap, header::AUTHORIZATION},
    response::Response,
    routing::get,
    serve::ListenerExt as _,
};
use tokio::net::TcpListener;

use super::{
    BankSchema,
    auth::{Keys, SECRET, refused},
};

/// Read buffer of a websocket: the library's own 128 KiB each would fill the memory with idle ones. It is as large as Millrace's.
const READ_BUFFER_BYTES: usize = 1_024;

#[derive(Clone)]
struct Door {
    schema: BankSchema,
    keys: Arc<Keys>,
}

pub(super) async fn serve(listener: TcpListener, schema: BankSchema) -> anyhow::Result<()> {
    let secret = std::env::var(SECRET).with_context(|| format!("{SECRET} is needed"))?;
    let door = Door { schema, keys: Arc::new(Keys::from_secret(secret.as_bytes())) };
    let app = Router::new().route("/graphql", get(watch).post(answer)).with_state(door);
    let listener = listener.tap_io(|stream| {
        // Without it answers are only slower.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}

async fn answer(State(door): State<Door>, headers: HeaderMap, request: GraphQLRequest) -> GraphQLResponse {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let mut request = request.into_inner();
    match authorization.map(|value| door.keys.caller(value)) {
        Some(Some(caller)) => request = request.data(caller),
        Some(None) => {
            return async_graphql::Response::from_errors(vec![not_taken().into_server_error(async_graphql::Pos::default())]).into();
        }
        None => {}
    }
    door.schema.execute(request).await.into()
}

async fn watch(State(door): State<Door>, protocol: GraphQLProtocol, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(ALL_WEBSOCKET_PROTOCOLS).read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
    upgrade.on_upgrade(move |socket| {
        let keys = Arc::clone(&door.keys);
        let init = move |payload: serde_json::Value| async move {
            let mut data = Data::default();
            let authorization = payload.get("authorization").and_then(serde_json::Value::as_str);
            data.insert(authorization.and_then(|value| keys.caller(value)).ok_or_else(not_taken)?);
            Ok(data)
        };
        GraphQLWebSocket::new(socket, door.schema, protocol).on_connection_init(init).serve()
    })
}

fn not_taken() -> async_graphql::Error {
    refused("UNAUTHENTICATED", "The bearer token is not valid.")
}
