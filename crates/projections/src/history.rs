//! The payments read model: status and history of every payment of one shard.
//! This module must never know balances.

use std::sync::RwLockWriteGuard;

use domain::{
    AccountId, PaymentId, PaymentOrder, RejectionCode, Shard, Timestamp,
    fraud::{Checked, Verdict},
    ledger::{LedgerEvent, Leg},
    payments::{PaymentCommand, PaymentEvent},
};
use redb::WriteTransaction;
use serde::de::DeserializeOwned;
use streams::Record;

use crate::{
    Layers, PaymentRow, PaymentStatus, Position, Projection, ReadModel, Shelf, Touched, Watch, Watchers,
    history_tables::{HistoryChanges, create},
    store::StoreError,
};

/// The model's fold, and who watches which payment.
#[derive(Debug)]
pub struct PaymentHistory {
    shard: Shard,
    watchers: Watchers<PaymentId>,
}

impl PaymentHistory {
    /// The payments that live on `shard`.
    #[must_use]
    pub fn new(shard: Shard) -> Self {
        Self { shard, watchers: Watchers::default() }
    }
}

impl Projection for PaymentHistory {
    const READER: &'static str = "payment-history";
    const VERSION: u32 = 4;
    const READABLE_SINCE: u32 = 4;
    type Changes = HistoryChanges;
    type Touched = Touched<PaymentId>;

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        create(tx)
    }

    fn fold(&self, rows: &Shelf<HistoryChanges>, record: &Record, touched: &mut Touched<PaymentId>) -> Result<(), StoreError> {
        let watched = (&self.watchers, touched);
        match record.log.base() {
            "payment-commands" => each(rows, record, watched, ordered, Fold::command),
            "payments" => each(rows, record, watched, validated, Fold::validated),
            "fraud" => each(rows, record, watched, |event| (Some(event.order.id), None), Fold::checked),
            "ledger" if record.log.shard() == Some(self.shard.0) => each(rows, record, watched, booked, Fold::ledger),
            "ledger" if record.concerns.contains(&self.shard.0) => {
                each(rows, record, watched, booked, |fold, event| fold.credited(self.shard, event))
            }
            "ledger" => Ok(()),
            _ => Err(record.unexpected("the payments model").into()),
        }
    }

    fn announce(&self, touched: Touched<PaymentId>) {
        self.watchers.announce(touched);
    }

    fn announce_all(&self) {
        self.watchers.announce_all();
    }
}

/// The payment of which an event says something, and the debtor whose newest it becomes.
type Keys = (Option<PaymentId>, Option<AccountId>);

/// Folds the events of a record. They are decoded before the rows are taken, so that readers go on.
fn each<'a, E: DeserializeOwned + Send + Sync + 'static>(
    rows: &'a Shelf<HistoryChanges>,
    record: &'a Record,
    (watchers, touched): (&Watchers<PaymentId>, &'a mut Touched<PaymentId>),
    keys: impl Fn(&E) -> Keys,
    change: impl Fn(&mut Fold<'a>, &E) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let events = record.events::<E>()?;
    let rows = rows.change();
    watchers.prepare(touched);
    rows.look_ahead(events.iter().map(keys));
    let mut fold = Fold { rows, record, touched };
    events.iter().try_for_each(|event| change(&mut fold, event))
}

fn ordered(command: &PaymentCommand) -> Keys {
    match command {
        PaymentCommand::Initiated(order) => (Some(order.id), order.debtor.account()),
        PaymentCommand::Reviewed(_) => (None, None),
    }
}

const fn validated(event: &PaymentEvent) -> Keys {
    match event {
        PaymentEvent::Validated { order, .. } => (Some(order.id), None),
        PaymentEvent::Rejected { payment, .. } => (Some(*payment), None),
        PaymentEvent::Reviewed(_) => (None, None),
    }
}

const fn booked(event: &LedgerEvent) -> Keys {
    match event {
        LedgerEvent::Booked(transaction) => (Some(transaction.payment), None),
        LedgerEvent::Rejected { payment, .. } => (Some(*payment), None),
        LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => (None, None),
    }
}

/// A record being folded.
struct Fold<'a> {
    rows: RwLockWriteGuard<'a, Layers<HistoryChanges>>,
    record: &'a Record,
    touched: &'a mut Touched<PaymentId>,
}

/// What one event says of a payment.
struct Change {
    status: PaymentStatus,
    at: Timestamp,
    rejection: Option<RejectionCode>,
}

impl Fold<'_> {
    fn command(&mut self, command: &PaymentCommand) -> Result<(), StoreError> {
        match command {
            PaymentCommand::Initiated(order) => self.initiated(order.clone()),
            PaymentCommand::Reviewed(_) => Ok(()),
        }
    }

    fn initiated(&mut self, order: PaymentOrder) -> Result<(), StoreError> {
        // The first order with an id is the payment; what comes later under it is a repeat.
        if self.rows.number(order.id)?.is_none() {
            self.touched.touch(order.id, self.record.traces.get(order.id));
            self.rows.append(PaymentRow::accepted(order, self.record.log.clone(), self.record.seq))?;
        }
        Ok(())
    }

    fn validated(&mut self, event: &PaymentEvent) -> Result<(), StoreError> {
        match *event {
            PaymentEvent::Validated { ref order, creditor, at } => {
                let change = Change { status: PaymentStatus::Validated, at, rejection: None };
                self.change(order.id, change, |row| row.creditor = Some(creditor))
            }
            PaymentEvent::Rejected { payment, code, at } => {
                let change = Change { status: PaymentStatus::Rejected, at, rejection: Some(code) };
                self.change(payment, change, |_| {})
            }
            PaymentEvent::Reviewed(_) => Ok(()),
        }
    }

    fn checked(&mut self, event: &Checked) -> Result<(), StoreError> {
        let (status, rejection) = match event.verdict {
            Verdict::Passed => (PaymentStatus::Checked, None),
            Verdict::Held => (PaymentStatus::Held, None),
            Verdict::Declined(code) => (PaymentStatus::Rejected, Some(code)),
        };
        let change = Change { status, at: event.at, rejection };
        self.change(event.order.id, change, |row| row.review = event.review)
    }

    fn ledger(&mut self, event: &LedgerEvent) -> Result<(), StoreError> {
        let (payment, change) = match *event {
            LedgerEvent::Booked(ref transaction) => {
                let (status, rejection) = match transaction.leg {
                    Leg::Transfer => (PaymentStatus::Booked, None),
                    Leg::Returned { code, .. } => (PaymentStatus::Returned, Some(code)),
                    // How it ends is said on the creditor's shard.
                    Leg::Outgoing { .. } => return self.debited(transaction.payment),
                    // The other half of a payment that lives on another shard.
                    Leg::Incoming { .. } | Leg::Bounced { .. } => return Ok(()),
                };
                (transaction.payment, Change { status, at: transaction.at, rejection })
            }
            LedgerEvent::Rejected { payment, code, at, .. } => {
                (payment, Change { status: PaymentStatus::Rejected, at, rejection: Some(code) })
            }
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => return Ok(()),
        };
        self.change(payment, change, |_| {})
    }

    /// A debit whose credit is booked on another shard: no status yet, but a place to read from.
    fn debited(&mut self, id: PaymentId) -> Result<(), StoreError> {
        let here = self.here();
        self.known(id)?.latest = here;
        self.rows.count(false);
        Ok(())
    }

    /// What another shard booked for a payment of this one: the credit, with which it ends.
    fn credited(&mut self, shard: Shard, event: &LedgerEvent) -> Result<(), StoreError> {
        match event {
            LedgerEvent::Booked(transaction) if transaction.leg == Leg::Incoming { from: shard } => {
                let debit = self.known(transaction.payment)?.latest.clone();
                let change = Change { status: PaymentStatus::Booked, at: transaction.at, rejection: None };
                self.change(transaction.payment, change, |row| row.latest = debit.and(row.latest.clone()))
            }
            LedgerEvent::Booked(_)
            | LedgerEvent::Rejected { .. }
            | LedgerEvent::AccountActivated { .. }
            | LedgerEvent::StatusApplied { .. } => Ok(()),
        }
    }

    fn here(&self) -> Position {
        Position::at(self.record.log.clone(), self.record.seq)
    }

    fn known(&mut self, id: PaymentId) -> Result<&mut PaymentRow, StoreError> {
        self.touched.touch(id, self.record.traces.get(id));
        let record = self.record;
        let row = self.rows.payment_mut(id)?;
        row.ok_or_else(|| record.unreadable(format!("{id} was never accepted")).into())
    }

    fn change(&mut self, id: PaymentId, change: Change, and: impl FnOnce(&mut PaymentRow)) -> Result<(), StoreError> {
        let here = self.here();
        let row = self.known(id)?;
        let (was_held, was_under_way) = (row.status() == PaymentStatus::Held, row.is_under_way());
        row.history.push((change.status, change.at));
        row.rejection = change.rejection;
        row.latest = here;
        and(row);
        let (number, is_held, is_under_way) = (row.number, change.status == PaymentStatus::Held, row.is_under_way());
        if is_under_way != was_under_way {
            self.rows.count(is_under_way);
        }
        if is_held || was_held {
            self.rows.hold(number, is_held);
        }
        Ok(())
    }
}

impl ReadModel<PaymentHistory> {
    /// A payment of this shard.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, StoreError> {
        self.look(id, PaymentRow::clone)
    }

    /// What is to be known of a payment of this shard, where a copy of all of it would be too much.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn look<T>(&self, id: PaymentId, look: impl FnOnce(&PaymentRow) -> T) -> Result<Option<T>, StoreError> {
        self.rows()?.read()?.look(id, look)
    }

    /// Up to `count` payments that debit `account`, newest first, from behind the one numbered `after` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payments_of(&self, account: AccountId, after: Option<u64>, count: usize) -> Result<Vec<PaymentRow>, StoreError> {
        let shelf = self.rows()?;
        let rows = shelf.read()?;
        let mut next = match after {
            None => rows.newest(account)?,
            // A cursor of another account's list leads nowhere.
            Some(after) => rows.numbered(after)?.filter(|row| row.order.debtor.account() == Some(account)).map_or(0, |row| row.previous),
        };
        let mut found = Vec::new();
        while found.len() < count
            && let Some(row) = rows.numbered(next)?
        {
            next = row.previous;
            found.push(row);
        }
        Ok(found)
    }

    /// Up to `count` held payments numbered above `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn held(&self, after: u64, count: usize) -> Result<Vec<PaymentRow>, StoreError> {
        self.rows()?.read()?.held(after, count)
    }

    /// Watches a payment.
    #[must_use]
    pub fn watch(&self, payment: PaymentId) -> Watch<PaymentId> {
        self.projection.watchers.watch(payment)
    }
}
