//! Whether this process lives, and whether it is ready, for whoever sends traffic to it or restarts
//! it. This module must never know GraphQL.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Map, Value, json};
use streams::{Condition, Host};

/// The routes, to be served with others or alone.
pub fn routes<S: Clone + Send + Sync + 'static>(host: Host) -> Router<S> {
    Router::new().route("/health/live", get(|| async { "ok" })).route("/health/ready", get(ready)).with_state(host)
}

/// 200 where everything that runs here is as it should be, else 503; how each stands either way.
async fn ready(State(host): State<Host>) -> impl IntoResponse {
    let connected = host.broker.link().borrow().connected;
    let conditions = host.health.conditions();
    let is_ready = connected && conditions.values().all(Condition::is_ready);
    let each: Map<String, Value> = conditions.iter().map(|(name, condition)| (name.to_string(), condition.to_string().into())).collect();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": is_ready, "natsServer": if connected { "connected" } else { "away" }, "parts": each })))
}
