//! The payments read model: status and history of every payment of one shard.
//! This module must never know balances.

use std::collections::{BTreeSet, HashMap, VecDeque};

use domain::{
    AccountId, PaymentId, PaymentOrder, RejectionCode, Shard, Timestamp,
    fraud::{Checked, Verdict},
    ledger::{LedgerEvent, Leg},
    payments::{PaymentCommand, PaymentEvent},
};
use redb::{ReadableTable as _, Table, TableDefinition, WriteTransaction};
use streams::{Fault, Record};

use crate::{
    PaymentRow, PaymentStatus, Position, Projection, ReadModel, Touched, Watch, Watchers,
    store::{StoreError, pack, unpack},
};

/// Payments in the order of their acceptance, numbered from 1.
pub(crate) const PAYMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("payments");
pub(crate) const NUMBERS: TableDefinition<[u8; 16], u64> = TableDefinition::new("numbers");
/// The newest payment of each debtor; the older ones are linked.
pub(crate) const NEWEST: TableDefinition<[u8; 16], u64> = TableDefinition::new("newest");
/// Payments that wait for an operator.
pub(crate) const HELD: TableDefinition<u64, ()> = TableDefinition::new("held");

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
    const VERSION: u32 = 1;
    const READABLE_SINCE: u32 = 1;
    type Touched = Touched<PaymentId>;

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        tx.open_table(PAYMENTS)?;
        tx.open_table(NUMBERS)?;
        tx.open_table(NEWEST)?;
        tx.open_table(HELD)?;
        Ok(())
    }

    fn fold(&self, tx: &WriteTransaction, records: &VecDeque<Record>) -> Result<Touched<PaymentId>, StoreError> {
        let mut fold = Fold::begin(tx)?;
        for record in records {
            match record.log.base() {
                "payment-commands" => record.events()?.into_iter().try_for_each(|event| fold.command(record, event))?,
                "payments" => record.events()?.into_iter().try_for_each(|event| fold.validated(record, event))?,
                "fraud" => record.events()?.into_iter().try_for_each(|event| fold.checked(record, &event))?,
                "ledger" if record.log.shard() == Some(self.shard.0) => {
                    record.events()?.into_iter().try_for_each(|event| fold.ledger(record, event))?;
                }
                "ledger" if record.concerns.contains(&self.shard.0) => {
                    record.events()?.into_iter().try_for_each(|event| fold.credited(record, self.shard, event))?;
                }
                "ledger" => {}
                other => {
                    let why = format!("the payments model does not read {other}");
                    return Err(Fault::Unreadable { log: record.log.clone(), seq: record.seq, why }.into());
                }
            }
        }
        fold.finish()
    }

    fn announce(&self, touched: Touched<PaymentId>) {
        self.watchers.announce(touched);
    }

    fn announce_all(&self) {
        self.watchers.announce_all();
    }
}

/// What a batch changes, gathered in memory and written once.
struct Fold<'a> {
    tables: Tables<'a>,
    rows: HashMap<PaymentId, PaymentRow>,
    newest: HashMap<AccountId, u64>,
    held: BTreeSet<u64>,
    released: BTreeSet<u64>,
    first_number: u64,
    accepted: u64,
    touched: Touched<PaymentId>,
}

struct Tables<'a> {
    payments: Table<'a, u64, &'static [u8]>,
    numbers: Table<'a, [u8; 16], u64>,
    newest: Table<'a, [u8; 16], u64>,
    held: Table<'a, u64, ()>,
}

impl<'a> Tables<'a> {
    fn open(tx: &'a WriteTransaction) -> Result<Self, StoreError> {
        let (payments, numbers) = (tx.open_table(PAYMENTS)?, tx.open_table(NUMBERS)?);
        Ok(Self { payments, numbers, newest: tx.open_table(NEWEST)?, held: tx.open_table(HELD)? })
    }
}

/// What one event says of a payment.
struct Change {
    status: PaymentStatus,
    at: Timestamp,
    rejection: Option<RejectionCode>,
}

impl<'a> Fold<'a> {
    fn begin(tx: &'a WriteTransaction) -> Result<Self, StoreError> {
        let tables = Tables::open(tx)?;
        let last = tables.payments.last()?.map_or(0, |(number, _)| number.value());
        let (held, released) = (BTreeSet::new(), BTreeSet::new());
        let touched = Touched::default();
        Ok(Self { tables, rows: HashMap::new(), newest: HashMap::new(), held, released, first_number: last + 1, accepted: 0, touched })
    }

    fn command(&mut self, record: &Record, command: PaymentCommand) -> Result<(), StoreError> {
        match command {
            PaymentCommand::Initiated(order) => self.initiated(record, order),
            PaymentCommand::Reviewed(_) => Ok(()),
        }
    }

    fn initiated(&mut self, record: &Record, order: PaymentOrder) -> Result<(), StoreError> {
        // The first order with an id is the payment; what comes later under it is a repeat.
        if self.row(order.id)?.is_some() {
            return Ok(());
        }
        let number = self.first_number + self.accepted;
        self.accepted += 1;
        let mut row = PaymentRow { number, ..PaymentRow::accepted(order, record.log.clone(), record.seq) };
        if let Some(debtor) = row.order.debtor.account() {
            row.previous = match self.newest.insert(debtor, number) {
                Some(before) => before,
                None => self.tables.newest.get(debtor.bytes())?.map_or(0, |number| number.value()),
            };
        }
        self.touched.touch(row.order.id, record.traces.get(row.order.id));
        self.rows.insert(row.order.id, row);
        Ok(())
    }

    fn validated(&mut self, record: &Record, event: PaymentEvent) -> Result<(), StoreError> {
        match event {
            PaymentEvent::Validated { order, creditor, at } => {
                let change = Change { status: PaymentStatus::Validated, at, rejection: None };
                self.change(record, order.id, change, |row| row.creditor = Some(creditor))
            }
            PaymentEvent::Rejected { payment, code, at } => {
                let change = Change { status: PaymentStatus::Rejected, at, rejection: Some(code) };
                self.change(record, payment, change, |_| {})
            }
            PaymentEvent::Reviewed(_) => Ok(()),
        }
    }

    fn checked(&mut self, record: &Record, event: &Checked) -> Result<(), StoreError> {
        let (status, rejection) = match event.verdict {
            Verdict::Passed => (PaymentStatus::Checked, None),
            Verdict::Held => (PaymentStatus::Held, None),
            Verdict::Declined(code) => (PaymentStatus::Rejected, Some(code)),
        };
        let change = Change { status, at: event.at, rejection };
        self.change(record, event.order.id, change, |row| row.review = event.review)
    }

    fn ledger(&mut self, record: &Record, event: LedgerEvent) -> Result<(), StoreError> {
        let (payment, change) = match event {
            LedgerEvent::Booked(transaction) => {
                let (status, rejection) = match transaction.leg {
                    Leg::Transfer => (PaymentStatus::Booked, None),
                    Leg::Returned { code, .. } => (PaymentStatus::Returned, Some(code)),
                    // How it ends is said on the creditor's shard.
                    Leg::Outgoing { .. } => return self.debited(record, transaction.payment),
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
        self.change(record, payment, change, |_| {})
    }

    /// A debit whose credit is booked on another shard: no status yet, but a place to read from.
    fn debited(&mut self, record: &Record, id: PaymentId) -> Result<(), StoreError> {
        self.known(record, id)?.latest = Position::at(record.log.clone(), record.seq);
        Ok(())
    }

    /// What another shard booked for a payment of this one: the credit, with which it ends.
    fn credited(&mut self, record: &Record, shard: Shard, event: LedgerEvent) -> Result<(), StoreError> {
        match event {
            LedgerEvent::Booked(transaction) if transaction.leg == Leg::Incoming { from: shard } => {
                let debit = self.known(record, transaction.payment)?.latest.clone();
                let change = Change { status: PaymentStatus::Booked, at: transaction.at, rejection: None };
                self.change(record, transaction.payment, change, |row| row.latest = debit.and(row.latest.clone()))
            }
            LedgerEvent::Booked(_)
            | LedgerEvent::Rejected { .. }
            | LedgerEvent::AccountActivated { .. }
            | LedgerEvent::StatusApplied { .. } => Ok(()),
        }
    }

    fn known(&mut self, record: &Record, id: PaymentId) -> Result<&mut PaymentRow, StoreError> {
        let why = format!("{id} was never accepted");
        let unknown = Fault::Unreadable { log: record.log.clone(), seq: record.seq, why };
        self.touched.touch(id, record.traces.get(id));
        self.row(id)?.ok_or_else(|| unknown.into())
    }

    fn change(&mut self, record: &Record, id: PaymentId, change: Change, and: impl FnOnce(&mut PaymentRow)) -> Result<(), StoreError> {
        let row = self.known(record, id)?;
        let was_held = row.status() == PaymentStatus::Held;
        row.history.push((change.status, change.at));
        row.rejection = change.rejection;
        row.latest = Position::at(record.log.clone(), record.seq);
        and(row);
        let number = row.number;
        if change.status == PaymentStatus::Held {
            self.held.insert(number);
        } else if was_held && !self.held.remove(&number) {
            self.released.insert(number);
        }
        Ok(())
    }

    fn row(&mut self, id: PaymentId) -> Result<Option<&mut PaymentRow>, StoreError> {
        if !self.rows.contains_key(&id) {
            let Some(number) = self.tables.numbers.get(id.bytes())?.map(|number| number.value()) else { return Ok(None) };
            let Some(row) = self.tables.payments.get(number)?.map(|row| unpack(row.value())).transpose()? else { return Ok(None) };
            self.rows.insert(id, row);
        }
        Ok(self.rows.get_mut(&id))
    }

    /// Writes in the order of the keys: rows that lie together are then written together.
    fn finish(self) -> Result<Touched<PaymentId>, StoreError> {
        let Tables { mut payments, mut numbers, mut newest, mut held } = self.tables;
        let mut rows: Vec<_> = self.rows.values().collect();
        rows.sort_unstable_by_key(|row| row.number);
        for row in &rows {
            payments.insert(row.number, pack(row)?.as_slice())?;
        }
        rows.retain(|row| row.number >= self.first_number);
        rows.sort_unstable_by_key(|row| row.order.id);
        for row in rows {
            numbers.insert(row.order.id.bytes(), row.number)?;
        }
        for (account, number) in self.newest {
            newest.insert(account.bytes(), number)?;
        }
        for number in self.released {
            held.remove(number)?;
        }
        for number in self.held {
            held.insert(number, ())?;
        }
        Ok(self.touched)
    }
}

impl ReadModel<PaymentHistory> {
    /// A payment of this shard.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, StoreError> {
        let view = self.read()?;
        let Some(number) = view.open_table(NUMBERS)?.get(id.bytes())?.map(|number| number.value()) else { return Ok(None) };
        view.open_table(PAYMENTS)?.get(number)?.map(|row| unpack(row.value())).transpose()
    }

    /// Up to `count` payments that debit `account`, newest first, from behind the one numbered `after` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payments_of(&self, account: AccountId, after: Option<u64>, count: usize) -> Result<Vec<PaymentRow>, StoreError> {
        let view = self.read()?;
        let payments = view.open_table(PAYMENTS)?;
        let get =
            |number: u64| -> Result<Option<PaymentRow>, StoreError> { payments.get(number)?.map(|row| unpack(row.value())).transpose() };
        let mut next = match after {
            None => view.open_table(NEWEST)?.get(account.bytes())?.map_or(0, |number| number.value()),
            // A cursor of another account's list leads nowhere.
            Some(after) => get(after)?.filter(|row| row.order.debtor.account() == Some(account)).map_or(0, |row| row.previous),
        };
        let mut rows = Vec::new();
        while rows.len() < count
            && let Some(row) = get(next)?
        {
            next = row.previous;
            rows.push(row);
        }
        Ok(rows)
    }

    /// Up to `count` held payments numbered above `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn held(&self, after: u64, count: usize) -> Result<Vec<PaymentRow>, StoreError> {
        let view = self.read()?;
        let payments = view.open_table(PAYMENTS)?;
        let mut rows = Vec::new();
        for number in view.open_table(HELD)?.range(after.saturating_add(1)..)?.take(count) {
            if let Some(row) = payments.get(number?.0.value())? {
                rows.push(unpack(row.value())?);
            }
        }
        Ok(rows)
    }

    /// Watches a payment.
    #[must_use]
    pub fn watch(&self, payment: PaymentId) -> Watch<PaymentId> {
        self.projection.watchers.watch(payment)
    }
}
