//! What a writer of a log counts: how large its steps are, and how long appends take. Handles are made
//! once a writer, and used once a step. This module must never know what an event means.

use metrics::{Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

use crate::{AppendError, LogName};

const STEP_EVENTS: &str = "millrace_step_events";
const APPEND_SECONDS: &str = "millrace_append_seconds";
const APPEND_FAILURES: &str = "millrace_append_failures_total";

/// Says what the metrics of this crate mean.
pub fn describe_metrics() {
    describe_histogram!(STEP_EVENTS, "Events of the steps appended to a log, or commands appended together.");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "From sending a record to the log until the server has it on disk.");
    describe_counter!(APPEND_FAILURES, "Appends to a log that were not acknowledged, by what became of them.");
}

/// The metrics of one writer.
pub(crate) struct WriterMetrics {
    log: String,
    events: Histogram,
    seconds: Histogram,
}

impl WriterMetrics {
    pub(crate) fn new(log: &LogName) -> Self {
        let log = log.to_string();
        Self { events: histogram!(STEP_EVENTS, "log" => log.clone()), seconds: histogram!(APPEND_SECONDS, "log" => log.clone()), log }
    }

    /// Measures an append of `events`.
    pub(crate) async fn measure(&self, events: usize, append: impl Future<Output = Result<u64, AppendError>>) -> Result<u64, AppendError> {
        let since = Instant::now();
        let outcome = append.await;
        match &outcome {
            Ok(_) => {
                self.events.record(u32::try_from(events).unwrap_or(u32::MAX));
                self.seconds.record(since.elapsed());
            }
            Err(error) => counter!(APPEND_FAILURES, "log" => self.log.clone(), "outcome" => outcome_of(error)).increment(1),
        }
        outcome
    }
}

const fn outcome_of(error: &AppendError) -> &'static str {
    match error {
        AppendError::Refused => "fenced",
        AppendError::Unavailable(_) => "unavailable",
        AppendError::Overloaded => "overloaded",
        AppendError::Unknown(_) => "unknown",
        AppendError::TooLarge(_) => "too_large",
    }
}
