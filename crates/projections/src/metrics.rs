//! What services and gateways count alike: payments by the status that they reached, and what was
//! refused. Counted by whoever makes it so, once that is durable: not by a fold, which would count again
//! when a read model is built again, or in a second gateway. This module must never decide.

use metrics::{SharedString, counter, describe_counter};

use crate::PaymentStatus;

const PAYMENTS: &str = "millrace_payments_total";
const REJECTS: &str = "millrace_rejects_total";

/// Who refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedBy {
    /// HTTP or websocket: it was not even read, or not executed.
    Transport,
    /// GraphQL: an error instead of data.
    Operation,
    /// A mutation: what was asked for is not possible.
    Input,
    /// A service: the payment was accepted, and then rejected or returned.
    Service,
}

/// Says what the metrics of this crate mean.
pub fn describe_metrics() {
    describe_counter!(PAYMENTS, "Payments that reached a status, counted by the process that brought them there.");
    describe_counter!(REJECTS, "What was refused, by who did (transport, operation, input, service) and the code that its caller is told.");
}

/// Counts payments that reached a status.
pub fn count_payments(status: PaymentStatus, payments: u64) {
    counter!(PAYMENTS, "status" => name(status)).increment(payments);
}

/// Counts what was refused. The reason is a code of this bank, never a text of a caller's.
pub fn count_rejects(by: RejectedBy, reason: impl Into<SharedString>, rejects: u64) {
    let by = match by {
        RejectedBy::Transport => "transport",
        RejectedBy::Operation => "operation",
        RejectedBy::Input => "input",
        RejectedBy::Service => "service",
    };
    counter!(REJECTS, "by" => by, "reason" => reason.into()).increment(rejects);
}

const fn name(status: PaymentStatus) -> &'static str {
    match status {
        PaymentStatus::Accepted => "ACCEPTED",
        PaymentStatus::Validated => "VALIDATED",
        PaymentStatus::Held => "HELD",
        PaymentStatus::Checked => "CHECKED",
        PaymentStatus::Booked => "BOOKED",
        PaymentStatus::Rejected => "REJECTED",
        PaymentStatus::Returned => "RETURNED",
    }
}
