//! How much may be under way at once. This module must never know what a request asks.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{
        Method, StatusCode,
        header::{self, CONTENT_LENGTH},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use projections::{RejectedBy, count_rejects};
use serde_json::json;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{errors::RETRY_AFTER, limits::Limits};

/// What requests under way take of the memory, in KiB: 256 MiB in all.
const MEMORY_KIB: u32 = 256 * 1024;
/// What one takes besides its body: its parse tree, its answer, its connection.
const REQUEST_KIB: u32 = 64;
/// The bodies of requests under way, in KiB: in bulks 4 MiB are some 20,000 payments, about a second's
/// work of two cores. What more would be let in would only wait, and take the time to parse it from
/// what was let in before.
const BODIES_KIB: u32 = 4 * 1024;
/// A quarter of that is kept for requests of at most this size, so that a customer's single payment
/// finds its way past bulks.
const SMALL_KIB: u32 = 16;

/// What requests under way may take together.
#[derive(Clone)]
pub(crate) struct Budget {
    memory: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    most_bytes: usize,
    drain: Duration,
}

impl Budget {
    /// A budget for bodies within these limits.
    pub(crate) fn new(limits: &Limits) -> Self {
        let semaphore = |kib: u32| Arc::new(Semaphore::new(kib as usize));
        let (most_bytes, drain) = (limits.body_bytes, limits.request_time);
        // The longest that is taken finds its place, if alone.
        Self { memory: semaphore(MEMORY_KIB), bodies: semaphore(kib(most_bytes).max(BODIES_KIB)), most_bytes, drain }
    }

    /// What a request with a body of `kib` takes, until it is dropped; none where it is too much now.
    fn take(&self, kib: u32) -> Option<[SemaphorePermit<'_>; 2]> {
        let is_crowded = self.bodies.available_permits() < (BODIES_KIB / 4) as usize;
        if kib > SMALL_KIB && is_crowded {
            return None;
        }
        Some([self.memory.try_acquire_many(REQUEST_KIB + kib).ok()?, self.bodies.try_acquire_many(kib).ok()?])
    }
}

/// Lets a request in, or refuses it at once where too much is under way: what is let in is answered
/// in time, and the memory stays bounded whatever is asked.
pub(crate) async fn admit(State(budget): State<Budget>, request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let has_body = request.method() != Method::GET;
    let bytes = if has_body { length.unwrap_or(budget.most_bytes).min(budget.most_bytes) } else { 0 };
    match budget.take(kib(bytes)) {
        Some(_under_way) => next.run(request).await,
        None => {
            // Read to its end, unparsed: a client that is still sending would not see an answer.
            let mut body = request.into_body().into_data_stream();
            let drained = async { while let Some(Ok(_)) = body.next().await {} };
            // One that sends for ever is not waited for.
            let _ = timeout(budget.drain, drained).await;
            overloaded()
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(MEMORY_KIB)
}

fn overloaded() -> Response {
    count_rejects(RejectedBy::Transport, "OVERLOADED", 1);
    let retry_after = RETRY_AFTER.as_secs();
    let body = json!({ "errors": [{
        "message": "Nothing was done: too much is asked at once. Try again in a second.",
        "extensions": { "code": "OVERLOADED", "retryAfterMs": retry_after * 1_000 },
    }] });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, retry_after.to_string())], Json(body)).into_response()
}
