//! What is pushed to a subscriber: a stream that is counted while it is open, and whose pushes are the
//! last spans of their traces. This module must never know what is subscribed to.

use async_graphql::Result;
use futures_util::{Stream, stream::unfold};
use metrics::{Gauge, gauge};
use streams::{Trace, TraceSpan};

use crate::{errors::Failure, metrics::SUBSCRIPTIONS};

/// Something for a subscriber, and the trace of what it tells of, where that is followed.
pub(crate) struct Push<T> {
    pub item: T,
    pub trace: Option<Trace>,
}

/// A stream of what `next` gives, until it gives nothing, or an error, with which it ends: the client
/// subscribes again with the last version that it has.
pub(crate) fn pushes<S: Send, T: Send>(
    field: &'static str,
    state: S,
    next: impl AsyncFn(&mut S) -> Result<Option<Push<T>>, Failure> + Send,
) -> impl Stream<Item = Result<T>> {
    // In a box, since this has room for it twice.
    unfold(Some(Box::new((Open::new(field), state, next))), move |open| async move {
        let mut open = open?;
        let (Open { pushing, .. }, state, next) = &mut *open;
        // Whoever asks for the next has sent the one before.
        *pushing = None;
        match next(state).await {
            Ok(Some(Push { item, trace })) => {
                *pushing = trace.map(|trace| trace.span(format!("push {field}")));
                Some((Ok(item), Some(open)))
            }
            Ok(None) => None,
            Err(failure) => Some((Err(failure.into()), None)),
        }
    })
}

/// A subscription that is open.
struct Open {
    gauge: Gauge,
    /// The push that is on its way.
    pushing: Option<TraceSpan>,
}

impl Open {
    fn new(field: &'static str) -> Self {
        let gauge = gauge!(SUBSCRIPTIONS, "subscription" => field);
        gauge.increment(1);
        Self { gauge, pushing: None }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.decrement(1);
    }
}
