//! Whether this process lives, and whether it is ready, for whoever sends traffic to it or restarts
//! it. This module must never know GraphQL.

use std::collections::BTreeMap;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde::Serialize;
use serde_json::{Map, Value, json};
use streams::{Condition, Host, LogName, Surveyor};

use crate::metrics;

/// The routes, to be served with others or alone: how the process stands, and what it measures.
pub fn routes<S: Clone + Send + Sync + 'static>(host: Host) -> Router<S> {
    let surveyor = Surveyor::new(host);
    let measured = metrics::routes(surveyor.clone());
    Router::new().route("/health/live", get(|| async { "ok" })).route("/health/ready", get(ready)).with_state(surveyor).merge(measured)
}

/// 200 where everything that runs here is as it should be, each log answers and no read model is far
/// behind, else 503; how each stands either way.
async fn ready(State(surveyor): State<Surveyor>) -> impl IntoResponse {
    let connected = surveyor.host.broker.link().borrow().connected;
    let conditions = surveyor.host.health.conditions();
    let survey = surveyor.look().await;
    let is_ready = connected && conditions.values().all(Condition::is_ready) && survey.is_ready();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let part = |(name, condition): (&LogName, &Condition)| {
        let stands_still = survey.standing.contains(name) && condition.is_ready();
        let says = if stands_still { "stands still although there is more to fold".to_owned() } else { condition.to_string() };
        (name.to_string(), Value::from(says))
    };
    let body = json!({
        "ready": is_ready,
        "natsServer": if connected { "connected" } else { "away" },
        "parts": conditions.iter().map(part).collect::<Map<_, _>>(),
        "logs": each(&survey.logs, |log| log.as_ref().map_or_else(|why| format!("out of reach: {why}"), |_| "reachable".to_owned())),
        "lagRecords": each(&survey.lags, |lag| *lag),
    });
    (status, Json(body))
}

fn each<T, V: Serialize>(parts: &BTreeMap<LogName, T>, say: impl Fn(&T) -> V) -> Map<String, Value> {
    parts.iter().map(|(name, part)| (name.to_string(), json!(say(part)))).collect()
}
