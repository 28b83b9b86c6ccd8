//! The overview: balances with what is still on its way out, and every entry, of one shard.
//! This module must never know names; those are the directory's.

use std::sync::RwLockWriteGuard;

use domain::{
    AccountId, Debtor, Initiator, PaymentId, Reference, Timestamp,
    fraud::{Checked, Verdict},
    ledger::{LedgerAccount, LedgerEvent, Leg, Posting, Transaction},
    payments::PaymentEvent,
};
use redb::WriteTransaction;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use streams::Record;

use crate::{
    Layers, Projection, ReadModel, Shelf, Touched, Watch, Watchers,
    overview_tables::{OverviewChanges, PendingRow, create},
    store::StoreError,
};

/// Where an account stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRow {
    /// Booked, in minor units.
    pub booked_minor: i64,
    /// What validated payments will still debit, in minor units. Orders have no limit before they are checked, so it may be more
    /// than can be counted, and then any number; it is right again once those are declined.
    pub pending_minor: i64,
    /// How many entries it has.
    pub version: u64,
    /// When the last one was booked.
    pub as_of: Timestamp,
    pub(crate) last_entry: u64,
    pub(crate) anchor: u64,
    pub(crate) far_anchor: u64,
}

/// One entry on one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// The account's version that it made, from 1.
    pub version: u64,
    /// The payment behind it.
    pub payment: PaymentId,
    /// What the account gained (or lost, below zero), in minor units.
    pub amount_minor: i64,
    /// The balance after, in minor units.
    pub balance_after_minor: i64,
    /// The other side.
    pub counterparty: Debtor,
    /// What for.
    pub reference: Option<Reference>,
    /// When it was booked.
    pub at: Timestamp,
    pub(crate) previous: u64,
    pub(crate) anchor: u64,
}

impl BalanceRow {
    /// As it is stored.
    pub(crate) const fn to_numbers(self) -> [u64; 7] {
        let (booked, pending) = (self.booked_minor.cast_unsigned(), self.pending_minor.cast_unsigned());
        [booked, pending, self.version, self.as_of.micros().cast_unsigned(), self.last_entry, self.anchor, self.far_anchor]
    }

    pub(crate) const fn from_numbers([booked, pending, version, as_of, last_entry, anchor, far_anchor]: [u64; 7]) -> Self {
        let (booked_minor, pending_minor) = (booked.cast_signed(), pending.cast_signed());
        let as_of = Timestamp::from_micros(as_of.cast_signed());
        Self { booked_minor, pending_minor, version, as_of, last_entry, anchor, far_anchor }
    }

    /// The numbers of the account's newest entry, and of its newest whose versions are multiples of
    /// [`crate::inspect::STRIDE`] and [`crate::inspect::FAR_STRIDE`]; 0 for none.
    #[must_use]
    pub const fn links(&self) -> [u64; 3] {
        [self.last_entry, self.anchor, self.far_anchor]
    }
}

impl EntryRow {
    /// The same of the account before this entry, of the last two only one: the last, where this entry's version is a multiple of
    /// [`crate::inspect::STRIDE`].
    #[must_use]
    pub const fn links(&self) -> [u64; 2] {
        [self.previous, self.anchor]
    }
}

/// The overview's fold, and who watches which account.
#[derive(Debug, Default)]
pub struct Overview {
    watchers: Watchers<AccountId>,
}

impl Projection for Overview {
    const READER: &'static str = "overview";
    const VERSION: u32 = 5;
    const READABLE_SINCE: u32 = 5;
    type Changes = OverviewChanges;
    type Touched = Touched<AccountId>;

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        create(tx)
    }

    fn fold(&self, rows: &Shelf<OverviewChanges>, record: &Record, touched: &mut Touched<AccountId>) -> Result<(), StoreError> {
        let watched = (&self.watchers, touched);
        match record.log.base() {
            "payments" => each(rows, record, watched, reserved, Fold::validated),
            "fraud" => each(rows, record, watched, |_| [None; 2], Fold::checked),
            "ledger" => each(rows, record, watched, booked, Fold::ledger),
            _ => Err(record.unexpected("the overview").into()),
        }
    }

    fn announce(&self, touched: Touched<AccountId>) {
        self.watchers.announce(touched);
    }

    fn announce_all(&self) {
        self.watchers.announce_all();
    }
}

/// Folds the events of a record. They are decoded before the rows are taken, so that readers go on.
fn each<'a, E: DeserializeOwned + Send + Sync + 'static>(
    rows: &'a Shelf<OverviewChanges>,
    record: &'a Record,
    (watchers, touched): (&Watchers<AccountId>, &'a mut Touched<AccountId>),
    accounts: impl Fn(&E) -> [Option<AccountId>; 2] + Copy,
    change: impl Fn(&mut Fold<'a>, &E) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let events = record.events::<E>()?;
    let rows = rows.change();
    watchers.prepare(touched);
    rows.look_ahead(events.iter().flat_map(accounts).flatten());
    let mut fold = Fold { rows, record, touched };
    events.iter().try_for_each(|event| change(&mut fold, event))
}

/// The account on which a payment is about to be reserved.
fn reserved(event: &PaymentEvent) -> [Option<AccountId>; 2] {
    match event {
        PaymentEvent::Validated { order, .. } => [order.debtor.account(), None],
        PaymentEvent::Rejected { .. } | PaymentEvent::Reviewed(_) => [None; 2],
    }
}

/// The accounts that are about to be booked on.
fn booked(event: &LedgerEvent) -> [Option<AccountId>; 2] {
    match event {
        LedgerEvent::Booked(Transaction { postings, .. }) => postings.map(|posting| match posting.account {
            LedgerAccount::Customer(account) => Some(account),
            LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. } => None,
        }),
        LedgerEvent::Rejected { .. } | LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => [None; 2],
    }
}

/// A record being folded.
struct Fold<'a> {
    rows: RwLockWriteGuard<'a, Layers<OverviewChanges>>,
    record: &'a Record,
    touched: &'a mut Touched<AccountId>,
}

impl Fold<'_> {
    fn validated(&mut self, event: &PaymentEvent) -> Result<(), StoreError> {
        match event {
            PaymentEvent::Validated { order, .. } => match (order.by, order.debtor) {
                (Initiator::Customer(_), Debtor::Account(account)) => {
                    self.rows.reserve(order.id, PendingRow { account, minor: order.amount.minor() })
                }
                (Initiator::Bank | Initiator::Customer(_), Debtor::Settlement(_)) | (Initiator::Bank, Debtor::Account(_)) => Ok(()),
            },
            PaymentEvent::Rejected { .. } | PaymentEvent::Reviewed(_) => Ok(()),
        }
    }

    fn checked(&mut self, event: &Checked) -> Result<(), StoreError> {
        match event.verdict {
            Verdict::Passed => {}
            // What is held stays away from the available balance for long enough to be shown.
            Verdict::Held => self.touch(event.order.id, event.order.debtor.account()),
            Verdict::Declined(_) => self.release(event.order.id)?,
        }
        Ok(())
    }

    fn ledger(&mut self, event: &LedgerEvent) -> Result<(), StoreError> {
        match event {
            LedgerEvent::Booked(transaction) => self.booked(transaction),
            LedgerEvent::Rejected { payment, .. } => self.release(*payment),
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => Ok(()),
        }
    }

    fn release(&mut self, payment: PaymentId) -> Result<(), StoreError> {
        let account = self.rows.release(payment)?;
        self.touch(payment, account);
        Ok(())
    }

    fn touch(&mut self, payment: PaymentId, account: Option<AccountId>) {
        account.into_iter().for_each(|account| self.touched.touch(account, self.record.traces.get(payment)));
    }

    fn booked(&mut self, transaction: &Transaction) -> Result<(), StoreError> {
        match transaction.leg {
            Leg::Transfer | Leg::Outgoing { .. } => self.release(transaction.payment)?,
            Leg::Incoming { .. } | Leg::Bounced { .. } | Leg::Returned { .. } => {}
        }
        for posting in &transaction.postings {
            match posting.account {
                LedgerAccount::Customer(account) => {
                    self.touch(transaction.payment, Some(account));
                    self.entry(account, posting, transaction)?;
                }
                LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. } => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, account: AccountId, posting: &Posting, transaction: &Transaction) -> Result<(), StoreError> {
        let balance = self.rows.balance_mut(account)?;
        balance.booked_minor = posting.balance_after_minor;
        balance.version = posting.version;
        balance.as_of = transaction.at;
        let is_debtor = transaction.debtor == Debtor::Account(account);
        let entry = EntryRow {
            version: posting.version,
            payment: transaction.payment,
            amount_minor: posting.amount_minor,
            balance_after_minor: posting.balance_after_minor,
            counterparty: if is_debtor { Debtor::Account(transaction.creditor) } else { transaction.debtor },
            reference: transaction.reference.clone(),
            at: transaction.at,
            previous: 0,
            anchor: 0,
        };
        self.rows.append(account, entry)
    }
}

impl ReadModel<Overview> {
    /// Where an account of this shard stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn balance(&self, account: AccountId) -> Result<BalanceRow, StoreError> {
        self.rows()?.read()?.balance(account)
    }

    /// Up to `count` entries of versions at most `newest`, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries_down(&self, account: AccountId, newest: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        self.rows()?.entries_down(account, newest, count)
    }

    /// Up to `count` entries of versions above `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries_up(&self, account: AccountId, after: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        self.rows()?.entries_up(account, after, count)
    }

    /// Watches an account.
    #[must_use]
    pub fn watch(&self, account: AccountId) -> Watch<AccountId> {
        self.projection.watchers.watch(account)
    }
}
