//! A payment as the read model keeps it, and the statuses it can have. This module must never know
//! tables or logs' events.

use domain::{AccountId, CommandId, PaymentOrder, RejectionCode, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use streams::LogName;

use crate::Position;

/// How far a payment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PaymentStatus {
    /// Durably stored.
    Accepted,
    /// Names two accounts that may deal with each other.
    Validated,
    /// Waits for an operator's review.
    Held,
    /// Passed fraud detection.
    Checked,
    /// Debited and credited.
    Booked,
    /// No money moved.
    Rejected,
    /// Booked back.
    Returned,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRow {
    /// The order.
    pub order: PaymentOrder,
    /// The account to credit, once it is known.
    pub creditor: Option<AccountId>,
    /// Every status reached, oldest first, and when.
    pub history: SmallVec<[(PaymentStatus, Timestamp); 4]>,
    /// Why it was rejected or returned.
    pub rejection: Option<RejectionCode>,
    /// The review that released or declined it.
    pub review: Option<CommandId>,
    /// Its place in the command log.
    pub accepted_seq: u64,
    /// Where it was last said how far it is: the debit and, on another shard, its credit.
    pub(crate) latest: Position,
    /// This payment's number in the model.
    pub number: u64,
    /// The debtor's payment before this one, 0 for none.
    pub(crate) previous: u64,
}

impl PaymentRow {
    /// A payment that was just accepted with record `accepted_seq` of `log`.
    #[must_use]
    pub fn accepted(order: PaymentOrder, log: LogName, accepted_seq: u64) -> Self {
        let history = smallvec![(PaymentStatus::Accepted, order.at)];
        let latest = Position::at(log, accepted_seq);
        Self { order, creditor: None, history, rejection: None, review: None, accepted_seq, latest, number: 0, previous: 0 }
    }

    /// The status it has.
    #[must_use]
    pub fn status(&self) -> PaymentStatus {
        self.history.last().map_or(PaymentStatus::Accepted, |(status, _)| *status)
    }

    /// Whether an answer that waits for the end is due: it is final, or held.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_final() || self.status() == PaymentStatus::Held
    }

    /// Whether its own shard is about to say more of it. The credit on another shard may take as long as that one halts.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.is_settled() && !self.latest.is_of("ledger")
    }

    /// Whether its status is a final one.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self.status() {
            PaymentStatus::Booked | PaymentStatus::Rejected | PaymentStatus::Returned => true,
            PaymentStatus::Accepted | PaymentStatus::Validated | PaymentStatus::Held | PaymentStatus::Checked => false,
        }
    }

    /// The payment as it was when it had reached its first `statuses` statuses (at least one).
    #[must_use]
    pub fn at_status(&self, statuses: usize) -> Self {
        let mut then = self.clone();
        then.history.truncate(statuses.max(1));
        if then.history.len() < self.history.len() {
            then.rejection = None;
        }
        then
    }

    /// The number of the debtor's payment before this one, 0 for none.
    #[must_use]
    pub const fn previous(&self) -> u64 {
        self.previous
    }

    /// Where its last status was said.
    #[must_use]
    pub fn position(&self) -> Position {
        self.latest.clone()
    }
}
