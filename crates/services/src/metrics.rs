//! What became of the payments of a step, counted once it is in the log. This module must never decide.

use std::collections::BTreeMap;

use domain::{
    RejectionCode,
    fraud::{Checked, Verdict},
    ledger::{LedgerEvent, Leg},
    payments::PaymentEvent,
};
use projections::{PaymentStatus, RejectedBy, count_payments, count_rejects};

/// A status that a payment reached, and why, where that needs a reason.
type Reached = (PaymentStatus, Option<RejectionCode>);

/// Counts what a step's events brought payments to.
pub(crate) fn count<E>(events: &[E], reached: impl Fn(&E) -> Option<Reached>) {
    let mut tally: BTreeMap<(PaymentStatus, Option<&'static str>), u64> = BTreeMap::new();
    for (status, code) in events.iter().filter_map(reached) {
        *tally.entry((status, code.map(RejectionCode::name))).or_default() += 1;
    }
    for ((status, code), payments) in tally {
        count_payments(status, payments);
        if let Some(code) = code {
            count_rejects(RejectedBy::Service, code, payments);
        }
    }
}

pub(crate) const fn validated(event: &PaymentEvent) -> Option<Reached> {
    match event {
        PaymentEvent::Validated { .. } => Some((PaymentStatus::Validated, None)),
        PaymentEvent::Rejected { code, .. } => Some((PaymentStatus::Rejected, Some(*code))),
        PaymentEvent::Reviewed(_) => None,
    }
}

pub(crate) const fn checked(event: &Checked) -> Option<Reached> {
    Some(match event.verdict {
        Verdict::Passed => (PaymentStatus::Checked, None),
        Verdict::Held => (PaymentStatus::Held, None),
        Verdict::Declined(code) => (PaymentStatus::Rejected, Some(code)),
    })
}

pub(crate) const fn booked(event: &LedgerEvent) -> Option<Reached> {
    match event {
        LedgerEvent::Booked(transaction) => match transaction.leg {
            Leg::Transfer | Leg::Incoming { .. } => Some((PaymentStatus::Booked, None)),
            Leg::Returned { code, .. } => Some((PaymentStatus::Returned, Some(code))),
            Leg::Outgoing { .. } | Leg::Bounced { .. } => None,
        },
        LedgerEvent::Rejected { code, .. } => Some((PaymentStatus::Rejected, Some(*code))),
        LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => None,
    }
}
