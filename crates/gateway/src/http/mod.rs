//! HTTP around the gateway: GraphQL over HTTP, websockets and event streams on one path. This module
//! must never know a field.

mod answer;
mod budget;
mod connections;
mod origin;
mod post;
mod protocol;
mod sse;
#[cfg(test)]
mod tests;
mod websocket;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use streams::Host;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use origin::is_this_machine;
pub use origin::{OriginError, Origins};

use self::budget::Budget;
use crate::{Gateway, Limits, Playground, SignedIn, errors::Failure, health, playground, traces};

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
pub async fn serve(listener: TcpListener, gateway: Gateway, origins: Origins, playground: Playground, host: Host) {
    let stop = host.stop.clone();
    let cors = origins.cors();
    let limits = gateway.limits.clone();
    let door = Door { gateway: Arc::new(gateway), origins: Arc::new(origins), stop: stop.clone() };
    let routes = graphql(door)
        .merge(health::routes(host))
        .layer(cors)
        // Behind that layer: a page from elsewhere may use the API, but not read whom the playground is signed in as.
        .merge(playground::routes(playground))
        .fallback(nothing)
        .layer(from_fn(traces::follow));
    connections::serve(listener, routes, &limits, stop).await;
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

/// Serves nothing but how the process stands.
pub async fn serve_health(listener: TcpListener, host: Host) {
    let stop = host.stop.clone();
    connections::serve(listener, health::routes(host), &Limits::default(), stop).await;
}
