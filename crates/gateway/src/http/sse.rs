//! Answers as server-sent events, in the distinct connections mode of the GraphQL over SSE protocol: a
//! request for each operation, a `next` event for each answer, `complete` at its end. This module must
//! never know a field.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use async_graphql::Response as Answer;
use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::{Either, pending},
    stream::{once, unfold},
};
use tokio::time::timeout;

use super::{Door, answer};
use crate::{SignedIn, errors::Failure, operation::Operation};

/// How often something is sent while there is nothing to say, so that nobody on the way takes the
/// connection for dead: proxies give half a minute and more.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// The end of an answer, with an empty field, without which a browser's EventSource would not tell of the event.
const COMPLETE: &[u8] = b"event: complete\ndata: \n\n";

/// The answers to a subscription, as they come, as long as the token holds and the process runs.
pub(super) fn open(door: &Door, signed_in: SignedIn, operation: Operation) -> Response {
    let Some(seat) = door.gateway.callers.sit(Some(signed_in.caller)) else {
        let message = "As many connections are open as this gateway, or one caller of it, may have.";
        return answer::with_status(StatusCode::SERVICE_UNAVAILABLE, Failure::TooManyConnections(message));
    };
    let over = futures_util::future::select(Box::pin(expiry(signed_in.until)), Box::pin(door.stop.clone().cancelled_owned()));
    let answers = door.gateway.stream(operation).map(move |answer| {
        let _kept = &seat;
        next(&answer)
    });
    // What is cut off has no end that says that it is complete: clients connect again then.
    events(Body::from_stream(alive(answers.chain(once(async { COMPLETE.to_vec() })).take_until(over))))
}

/// The one answer to an operation that was run, or refused: clients of event streams cannot read any other. It is whole, so it
/// takes room as any other does.
pub(super) fn one(answer: &Answer) -> Response {
    let mut body = next(answer);
    body.extend_from_slice(COMPLETE);
    events(Body::from(body))
}

/// The same events, and something in between where there are none for long.
fn alive(events: impl Stream<Item = Vec<u8>> + Send + 'static) -> impl Stream<Item = Result<Vec<u8>, Infallible>> + Send + 'static {
    let alive = unfold(Box::pin(events), |mut events| async {
        match timeout(KEEP_ALIVE, events.next()).await {
            Ok(event) => event.map(|event| (event, events)),
            Err(_) => Some((b":\n\n".to_vec(), events)),
        }
    });
    alive.map(Ok)
}

fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn next(answer: &Answer) -> Vec<u8> {
    let mut event = b"event: next\ndata: ".to_vec();
    // JSON has no line breaks.
    answer::write(answer, &mut event);
    event.extend_from_slice(b"\n\n");
    event
}

/// Ends when the token does.
pub(super) fn expiry(until: Option<SystemTime>) -> impl Future<Output = ()> + Send {
    match until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default()) {
        Some(left) => Either::Left(tokio::time::sleep(left)),
        None => Either::Right(pending().map(|()| ())),
    }
}
