//! Follows requests: a `POST /graphql` begins a trace, or goes on with its caller's. This module must
//! never know what is asked.

use axum::{extract::Request, http::Method, middleware::Next, response::Response};
use streams::TraceSpan;

/// The header by which callers name their trace, see W3C Trace Context.
pub(crate) const TRACEPARENT: &str = "traceparent";
const GRAPHQL: &str = "/graphql";

/// Answers a request within a span, where it is one to follow.
pub(crate) async fn follow(request: Request, next: Next) -> Response {
    if request.method() != Method::POST || request.uri().path() != GRAPHQL {
        return next.run(request).await;
    }
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let Some(span) = TraceSpan::request("POST /graphql", traceparent) else { return next.run(request).await };
    let response = span.during(next.run(request)).await;
    span.note("http.response.status_code", i64::from(response.status().as_u16()));
    response
}
