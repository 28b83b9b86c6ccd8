//! How much may be under way at once. This module must never know what a request asks.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{self, CONTENT_LENGTH},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{errors::RETRY_AFTER, http::MAX_BODY_BYTES};

/// What requests under way take of the memory, in KiB: 256 MiB in all.
const BUDGET_KIB: u32 = 256 * 1024;
/// What one takes besides its body: its parse tree, its answer, its connection.
const REQUEST_KIB: u64 = 64;

/// The memory that requests under way may take together.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB as usize)))
    }
}

/// Lets a request in, or refuses it at once where too many are under way: what is let in is answered
/// in time, and the memory stays bounded whatever is asked.
pub(crate) async fn admit(State(Budget(budget)): State<Budget>, request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let kib = REQUEST_KIB + length.unwrap_or(MAX_BODY_BYTES as u64).min(MAX_BODY_BYTES as u64) / 1024;
    match budget.try_acquire_many(u32::try_from(kib).unwrap_or(BUDGET_KIB)) {
        Ok(_under_way) => next.run(request).await,
        Err(_) => overloaded(),
    }
}

fn overloaded() -> Response {
    let retry_after = RETRY_AFTER.as_secs();
    let body = json!({ "errors": [{
        "message": "Nothing was done: too much is asked at once. Try again in a second.",
        "extensions": { "code": "OVERLOADED", "retryAfterMs": retry_after * 1_000 },
    }] });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, retry_after.to_string())], Json(body)).into_response()
}
