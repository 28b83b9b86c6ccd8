//! HTTP around the gateway: GraphQL over HTTP, websockets and event streams on one path. This module
//! must never know a field.

mod answer;
mod budget;
mod origin;
mod post;
mod protocol;
mod sse;
#[cfg(test)]
mod tests;
mod websocket;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::get,
    serve::ListenerExt as _,
};
use streams::Host;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) use origin::is_this_machine;
pub use origin::{OriginError, Origins};

use self::budget::Budget;
use crate::{Gateway, Playground, SignedIn, errors::Failure, health, playground, traces};

/// What each handler has.
#[derive(Clone)]
struct Door {
    gateway: Arc<Gateway>,
    origins: Arc<Origins>,
    stop: CancellationToken,
}

impl Door {
    /// Who sends these headers.
    async fn sign_in(&self, headers: &HeaderMap) -> Result<SignedIn, Box<Response>> {
        let value = headers.get(AUTHORIZATION).map(|value| value.to_str().map_err(|_| Failure::BadToken)).transpose();
        let signed_in = match value {
            Ok(value) => self.gateway.sign_in(value).await,
            Err(failure) => Err(failure),
        };
        signed_in.map_err(|failure| Box::new(answer::failure(failure)))
    }
}

/// Serves the gateway on `listener` until the host stops and the requests under way are answered.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(listener: TcpListener, gateway: Gateway, origins: Origins, playground: Playground, host: Host) -> std::io::Result<()> {
    let stop = host.stop.clone();
    let cors = origins.cors();
    let slow_reader = gateway.limits.slow_reader;
    let door = Door { gateway: Arc::new(gateway), origins: Arc::new(origins), stop: stop.clone() };
    let routes = graphql(door)
        .merge(health::routes(host))
        .layer(cors)
        // Behind that layer: a page from elsewhere may use the API, but not read whom the playground is signed in as.
        .merge(playground::routes(playground))
        .fallback(nothing)
        .layer(from_fn(traces::follow));
    let listener = listener.tap_io(move |connection| give_up_after(connection, slow_reader));
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn nothing() -> Response {
    let message = "There is nothing at this path; GraphQL is at /graphql.";
    answer::with_status(StatusCode::NOT_FOUND, Failure::BadRequest(message.to_owned()))
}

/// GraphQL, on one path.
fn graphql(door: Door) -> Router {
    let budget = Budget::new(&door.gateway.limits);
    let methods = get(post::get).post(post::post).fallback(post::neither).layer(from_fn_with_state(budget, budget::admit));
    Router::new().route("/graphql", methods).with_state(door)
}

/// Has the kernel end a connection whose client takes nothing of what is sent for so long, whatever is sent:
/// what it keeps for the client is bounded, and without an end so would be nothing that waits to send more.
fn give_up_after(connection: &TcpStream, slow_reader: Duration) {
    let milliseconds = u32::try_from(slow_reader.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(connection, milliseconds) {
        tracing::debug!(%error, "A client that reads nothing will keep its connection");
    }
}

/// Serves nothing but how the process stands.
///
/// # Errors
/// Where the listener fails.
pub async fn serve_health(listener: TcpListener, host: Host) -> std::io::Result<()> {
    let stop = host.stop.clone().cancelled_owned();
    axum::serve(listener, health::routes::<()>(host).with_state(())).with_graceful_shutdown(stop).await
}
