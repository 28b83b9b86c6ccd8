//! What is pushed to a subscriber: a stream that is counted while it is open. This module must never
//! know what is subscribed to.

use async_graphql::Result;
use futures_util::{Stream, stream::unfold};
use metrics::{Gauge, gauge};

use crate::{errors::Failure, metrics::SUBSCRIPTIONS};

/// A stream of what `next` gives, until it gives nothing, or an error, with which it ends: the client
/// subscribes again with the last version that it has.
pub(crate) fn pushes<S: Send, T: Send>(
    field: &'static str,
    state: S,
    next: impl AsyncFn(&mut S) -> Result<Option<T>, Failure> + Send,
) -> impl Stream<Item = Result<T>> {
    unfold(Some((Open::new(field), state, next)), |open| async move {
        let (open, mut state, next) = open?;
        match next(&mut state).await {
            Ok(item) => item.map(|item| (Ok(item), Some((open, state, next)))),
            Err(failure) => Some((Err(failure.into()), None)),
        }
    })
}

/// A subscription that is open.
struct Open(Gauge);

impl Open {
    fn new(field: &'static str) -> Self {
        let gauge = gauge!(SUBSCRIPTIONS, "subscription" => field);
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
