//! What a payment history ought to hold, folded anew from one shard's logs and from what other shards
//! booked for its payments. Of a payment's statuses only a hash is kept.
//! This module must never know whether a payment's way is right.

use std::hash::{Hash as _, Hasher as _};

use domain::{
    AccountId, CommandId, PaymentId, RejectionCode, Timestamp,
    fraud::{Checked, Verdict},
    ledger::{LedgerEvent, Leg},
    payments::{PaymentCommand, PaymentEvent},
};
use projections::{PaymentRow, PaymentStatus, Position};
use rustc_hash::{FxHashMap, FxHasher};
use streams::LogName;

use crate::{
    compare::Compared,
    payments::{Crossing, hashes},
    report::{Findings, Place},
};

/// The log of this shard, or the other shard's ledger, in which a status was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Commands,
    Payments,
    Fraud,
    Ledger(u16),
}

/// What a payment's row ought to be.
#[derive(Debug)]
struct Expected {
    number: u64,
    previous: u64,
    accepted: u64,
    order: u64,
    /// A hash over all statuses and their times, the last of them, and how many.
    history: u64,
    status: PaymentStatus,
    statuses: usize,
    rejection: Option<RejectionCode>,
    review: Option<CommandId>,
    creditor: Option<AccountId>,
    latest: (Source, u64),
    /// The credit on another shard, beside the debit.
    credit: Option<(u16, u64)>,
    /// Its number was met.
    is_numbered: bool,
}

/// A payment history under comparison.
pub(crate) struct History {
    pub compared: Compared,
    shard: u16,
    rows: FxHashMap<PaymentId, Expected>,
    newest: FxHashMap<AccountId, (u64, u64)>,
}

impl History {
    pub(crate) fn new(compared: Compared, shard: u16) -> Self {
        Self { compared, shard, rows: FxHashMap::default(), newest: FxHashMap::default() }
    }

    fn is_behind(&self, place: Place<'_>) -> bool {
        place.seq > self.compared.mark(place.log)
    }

    pub(crate) fn command(&mut self, place: Place<'_>, command: &PaymentCommand) {
        if self.is_behind(place) {
            return;
        }
        let order = match command {
            PaymentCommand::Initiated(order) if !self.rows.contains_key(&order.id) => order,
            PaymentCommand::Initiated(_) | PaymentCommand::Reviewed(_) => return,
        };
        let number = self.rows.len() as u64 + 1;
        let before = order.debtor.account().and_then(|debtor| self.newest.insert(debtor, (number, place.seq)));
        let status = PaymentStatus::Accepted;
        let expected = Expected {
            number,
            previous: before.map_or(0, |(number, _)| number),
            accepted: place.seq,
            order: hashes(order).1,
            history: chain(0, status, order.at),
            status,
            statuses: 1,
            rejection: None,
            review: None,
            creditor: None,
            latest: (Source::Commands, place.seq),
            credit: None,
            is_numbered: false,
        };
        self.rows.insert(order.id, expected);
    }

    pub(crate) fn validated(&mut self, place: Place<'_>, event: &PaymentEvent) {
        if self.is_behind(place) {
            return;
        }
        match event {
            PaymentEvent::Validated { order, creditor, at } => {
                if let Some(row) = self.change(order.id, (Source::Payments, place.seq), PaymentStatus::Validated, *at, None) {
                    row.creditor = Some(*creditor);
                }
            }
            PaymentEvent::Rejected { payment, code, at } => {
                self.change(*payment, (Source::Payments, place.seq), PaymentStatus::Rejected, *at, Some(*code));
            }
            PaymentEvent::Reviewed(_) => {}
        }
    }

    pub(crate) fn checked(&mut self, place: Place<'_>, checked: &Checked) {
        if self.is_behind(place) {
            return;
        }
        let (status, code) = match checked.verdict {
            Verdict::Passed => (PaymentStatus::Checked, None),
            Verdict::Held => (PaymentStatus::Held, None),
            Verdict::Declined(code) => (PaymentStatus::Rejected, Some(code)),
        };
        if let Some(row) = self.change(checked.order.id, (Source::Fraud, place.seq), status, checked.at, code) {
            row.review = checked.review;
        }
    }

    pub(crate) fn ledger(&mut self, place: Place<'_>, event: &LedgerEvent) {
        if self.is_behind(place) {
            return;
        }
        let source = (Source::Ledger(self.shard), place.seq);
        match event {
            LedgerEvent::Booked(transaction) => match transaction.leg {
                Leg::Transfer => drop(self.change(transaction.payment, source, PaymentStatus::Booked, transaction.at, None)),
                Leg::Returned { code, .. } => {
                    self.change(transaction.payment, source, PaymentStatus::Returned, transaction.at, Some(code));
                }
                Leg::Outgoing { .. } => {
                    if let Some(row) = self.rows.get_mut(&transaction.payment) {
                        row.latest = source;
                    }
                }
                Leg::Incoming { .. } | Leg::Bounced { .. } => {}
            },
            LedgerEvent::Rejected { payment, code, at, .. } => {
                self.change(*payment, source, PaymentStatus::Rejected, *at, Some(*code));
            }
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => {}
        }
    }

    /// What another shard booked for a payment of this one.
    pub(crate) fn crossed(&mut self, place: Place<'_>, crossing: &Crossing) {
        if self.is_behind(place) || crossing.bounced {
            return;
        }
        let Some(debit) = self.rows.get(&crossing.payment).map(|row| row.latest) else { return };
        if let Some(row) = self.change(crossing.payment, debit, PaymentStatus::Booked, crossing.time, None) {
            row.credit = Some((crossing.at.0, crossing.seq));
        }
    }

    fn change(
        &mut self,
        id: PaymentId,
        latest: (Source, u64),
        status: PaymentStatus,
        at: Timestamp,
        rejection: Option<RejectionCode>,
    ) -> Option<&mut Expected> {
        let row = self.rows.get_mut(&id)?;
        row.history = chain(row.history, status, at);
        row.statuses += 1;
        (row.status, row.rejection, row.latest) = (status, rejection, latest);
        Some(row)
    }

    /// Compares all tables.
    pub(crate) fn finish(&mut self, log: &LogName, findings: &mut Findings) {
        let Self { compared, rows, newest, shard } = self;
        let seq_of = |row: &Expected| row.accepted;
        let found = compared.inspection.numbers();
        let count = compared.table("number of", log, found, findings, |id| {
            let row = rows.get_mut(id)?;
            (!std::mem::replace(&mut row.is_numbered, true)).then_some(())?;
            Some((row.number, seq_of(row)))
        });
        let end = Place::of_record(log, compared.mark(log));
        compared.row(end, count == rows.len() as u64, findings, || format!("it numbers {count} payments, the logs have {}", rows.len()));
        let found = compared.inspection.newest();
        compared.table("newest payment of", log, found, findings, |account| newest.remove(account));
        crate::directory::missing(compared, "newest payment of", log, newest, findings, ToString::to_string);
        let held = rows.values().filter(|row| row.status == PaymentStatus::Held);
        let mut held: FxHashMap<u64, ((), u64)> = held.map(|row| (row.number, ((), seq_of(row)))).collect();
        let found = compared.inspection.held();
        compared.table("held payment", log, found, findings, |number| held.remove(number));
        crate::directory::missing(compared, "held payment", log, &held, findings, ToString::to_string);
        payments(compared, rows, log, *shard, findings);
    }
}

fn payments(compared: &mut Compared, rows: &mut FxHashMap<PaymentId, Expected>, log: &LogName, shard: u16, findings: &mut Findings) {
    let end = Place::of_record(log, compared.mark(log));
    let found = match compared.inspection.payments() {
        Ok(found) => found,
        Err(error) => return compared.fail(end, findings, format!("its payments cannot be read: {error}")),
    };
    for row in found {
        let (number, row) = match row {
            Ok(row) => row,
            Err(error) => return compared.fail(end, findings, format!("a payment's row cannot be read: {error}")),
        };
        let id = row.order.id;
        match rows.remove(&id) {
            Some(expected) => {
                let wrong = expected.differs(number, &row, shard);
                let place = Place::of_record(log, expected.accepted);
                compared.row(place, wrong.is_none(), findings, || format!("{id} has {}", wrong.unwrap_or_default()));
            }
            None => compared.row(end, false, findings, || format!("{id} is a payment that no log says")),
        }
    }
    for (id, row) in rows {
        compared.row(Place::of_record(log, row.accepted), false, findings, || format!("{id} is missing"));
    }
}

impl Expected {
    /// The first field of a row that is not what it ought to be.
    fn differs(&self, number: u64, row: &PaymentRow, shard: u16) -> Option<String> {
        let history = row.history.iter().fold(0, |hash, (status, at)| chain(hash, *status, *at));
        let position = self.position(shard);
        if hashes(&row.order).1 != self.order {
            Some("another order than the logs say".to_owned())
        } else if row.status() != self.status {
            Some(format!("status {:?}, the logs say {:?}", row.status(), self.status))
        } else if row.history.len() != self.statuses || history != self.history {
            Some(format!("another history than the logs say: {:?}", row.history))
        } else if row.rejection != self.rejection {
            Some(format!("rejection {:?}, the logs say {:?}", row.rejection, self.rejection))
        } else if row.creditor != self.creditor {
            Some(format!("creditor {:?}, the logs say {:?}", row.creditor, self.creditor))
        } else if row.review != self.review {
            Some(format!("review {:?}, the logs say {:?}", row.review, self.review))
        } else if (number, row.number, row.previous(), row.accepted_seq) != (self.number, self.number, self.previous, self.accepted) {
            Some(format!("number {number} or links that are not those of number {}", self.number))
        } else if row.position() != position {
            Some(format!("position {:?}, the logs say {position:?}", row.position()))
        } else {
            None
        }
    }

    fn position(&self, shard: u16) -> Position {
        let (source, seq) = self.latest;
        let log = match source {
            Source::Commands => LogName::new("payment-commands", Some(shard)),
            Source::Payments => LogName::new("payments", Some(shard)),
            Source::Fraud => LogName::new("fraud", Some(shard)),
            Source::Ledger(shard) => LogName::new("ledger", Some(shard)),
        };
        let latest = Position::at(log, seq);
        match self.credit {
            Some((other, seq)) => latest.and(Position::at(LogName::new("ledger", Some(other)), seq)),
            None => latest,
        }
    }
}

fn chain(before: u64, status: PaymentStatus, at: Timestamp) -> u64 {
    let mut hasher = FxHasher::default();
    (before, status, at).hash(&mut hasher);
    hasher.finish()
}
