//! The overview: balances with what is still on its way out, and every entry, of one shard.
//! This module must never know names; those are the directory's.

use std::collections::VecDeque;

use domain::{
    AccountId, Debtor, Initiator, PaymentId, Reference, Timestamp,
    fraud::{Checked, Verdict},
    ledger::{LedgerAccount, LedgerEvent, Leg, Posting, Transaction},
    payments::PaymentEvent,
};
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use streams::{Fault, Record};

use crate::{
    Projection, ReadModel, Touched, Watch, Watchers,
    overview_tables::{Batch, PendingRow, View, create},
    store::StoreError,
};

/// Where an account stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRow {
    /// Booked, in minor units.
    pub booked_minor: i64,
    /// What validated payments will still debit, in minor units.
    pub pending_minor: i64,
    /// How many entries it has.
    pub version: u64,
    /// When the last one was booked.
    pub as_of: Timestamp,
    pub(crate) last_entry: u64,
    pub(crate) anchor: u64,
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
    /// The numbers of the account's newest entry, and of its newest whose version is a multiple of
    /// [`crate::inspect::STRIDE`]; 0 for none.
    #[must_use]
    pub const fn links(&self) -> (u64, u64) {
        (self.last_entry, self.anchor)
    }
}

impl EntryRow {
    /// The same of the account before this entry.
    #[must_use]
    pub const fn links(&self) -> (u64, u64) {
        (self.previous, self.anchor)
    }
}

/// The overview's fold, and who watches which account.
#[derive(Debug, Default)]
pub struct Overview {
    watchers: Watchers<AccountId>,
}

impl Projection for Overview {
    const READER: &'static str = "overview";
    const VERSION: u32 = 1;
    const READABLE_SINCE: u32 = 1;
    type Touched = Touched<AccountId>;

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        create(tx)
    }

    fn fold(&self, tx: &WriteTransaction, records: &VecDeque<Record>) -> Result<Touched<AccountId>, StoreError> {
        let mut fold = Fold { batch: Batch::begin(tx)?, touched: Touched::default() };
        for record in records {
            match record.log.base() {
                "payments" => record.events()?.iter().try_for_each(|event| fold.validated(event))?,
                "fraud" => record.events()?.iter().try_for_each(|event| fold.checked(record, event))?,
                "ledger" => record.events()?.into_iter().try_for_each(|event| fold.ledger(record, event))?,
                other => {
                    let why = format!("the overview does not read {other}");
                    return Err(Fault::Unreadable { log: record.log.clone(), seq: record.seq, why }.into());
                }
            }
        }
        fold.batch.finish()?;
        Ok(fold.touched)
    }

    fn announce(&self, touched: Touched<AccountId>) {
        self.watchers.announce(touched);
    }

    fn announce_all(&self) {
        self.watchers.announce_all();
    }
}

struct Fold<'a> {
    batch: Batch<'a>,
    touched: Touched<AccountId>,
}

impl Fold<'_> {
    fn validated(&mut self, event: &PaymentEvent) -> Result<(), StoreError> {
        match event {
            PaymentEvent::Validated { order, .. } => match (order.by, order.debtor) {
                (Initiator::Customer(_), Debtor::Account(account)) => {
                    self.batch.reserve(order.id, PendingRow { account, minor: order.amount.minor() })
                }
                (Initiator::Bank | Initiator::Customer(_), Debtor::Settlement(_)) | (Initiator::Bank, Debtor::Account(_)) => Ok(()),
            },
            PaymentEvent::Rejected { .. } | PaymentEvent::Reviewed(_) => Ok(()),
        }
    }

    fn checked(&mut self, record: &Record, event: &Checked) -> Result<(), StoreError> {
        match event.verdict {
            Verdict::Passed => {}
            // What is held stays away from the available balance for long enough to be shown.
            Verdict::Held => self.touch(record, event.order.id, event.order.debtor.account()),
            Verdict::Declined(_) => self.release(record, event.order.id)?,
        }
        Ok(())
    }

    fn ledger(&mut self, record: &Record, event: LedgerEvent) -> Result<(), StoreError> {
        match event {
            LedgerEvent::Booked(transaction) => self.booked(record, &transaction),
            LedgerEvent::Rejected { payment, .. } => self.release(record, payment),
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => Ok(()),
        }
    }

    fn release(&mut self, record: &Record, payment: PaymentId) -> Result<(), StoreError> {
        let account = self.batch.release(payment)?;
        self.touch(record, payment, account);
        Ok(())
    }

    fn touch(&mut self, record: &Record, payment: PaymentId, account: Option<AccountId>) {
        account.into_iter().for_each(|account| self.touched.touch(account, record.traces.get(payment)));
    }

    fn booked(&mut self, record: &Record, transaction: &Transaction) -> Result<(), StoreError> {
        match transaction.leg {
            Leg::Transfer | Leg::Outgoing { .. } => self.release(record, transaction.payment)?,
            Leg::Incoming { .. } | Leg::Bounced { .. } | Leg::Returned { .. } => {}
        }
        for posting in &transaction.postings {
            match posting.account {
                LedgerAccount::Customer(account) => {
                    self.touch(record, transaction.payment, Some(account));
                    self.entry(account, posting, transaction)?;
                }
                LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. } => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, account: AccountId, posting: &Posting, transaction: &Transaction) -> Result<(), StoreError> {
        let balance = self.batch.balance(account)?;
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
        self.batch.append(account, entry)
    }
}

impl ReadModel<Overview> {
    /// Where an account of this shard stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn balance(&self, account: AccountId) -> Result<BalanceRow, StoreError> {
        self.view()?.balance(account)
    }

    /// Up to `count` entries of versions at most `newest`, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries_down(&self, account: AccountId, newest: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        self.view()?.entries_down(account, newest, count)
    }

    /// Up to `count` entries of versions above `after`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries_up(&self, account: AccountId, after: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        self.view()?.entries_up(account, after, count)
    }

    /// Watches an account.
    #[must_use]
    pub fn watch(&self, account: AccountId) -> Watch<AccountId> {
        self.projection.watchers.watch(account)
    }

    fn view(&self) -> Result<View, StoreError> {
        self.read().map(View::new)
    }
}
