//! HTTP around the gateway: GraphQL over HTTP, websockets and event streams on one path. This module
//! must never know a field.

mod answer;
mod origin;
mod post;
mod protocol;
mod sse;
mod websocket;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use streams::Host;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;

pub use origin::{OriginError, Origins};

use crate::{
    Gateway, Playground, SignedIn,
    budget::{self, Budget},
    errors::Failure,
    health, playground, traces,
};

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
    let budget = Budget::new(gateway.limits.body_bytes);
    let cors = origins.cors();
    let body_limit = RequestBodyLimitLayer::new(gateway.limits.body_bytes);
    let door = Door { gateway: Arc::new(gateway), origins: Arc::new(origins), stop: stop.clone() };
    let graphql = get(post::get).post(post::post).layer(from_fn_with_state(budget, budget::admit));
    let routes = Router::new()
        .route("/graphql", graphql)
        .merge(health::routes(host))
        .layer(body_limit)
        .layer(cors)
        // Behind that layer: a page from elsewhere may use the API, but not read whom the playground is signed in as.
        .merge(playground::routes(playground))
        .layer(from_fn(traces::follow))
        .with_state(door);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Serves nothing but how the process stands.
///
/// # Errors
/// Where the listener fails.
pub async fn serve_health(listener: TcpListener, host: Host) -> std::io::Result<()> {
    let stop = host.stop.clone().cancelled_owned();
    axum::serve(listener, health::routes::<()>(host).with_state(())).with_graceful_shutdown(stop).await
}
