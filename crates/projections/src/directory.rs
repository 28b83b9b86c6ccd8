//! The directory: customers, their accounts, and whose IBAN is whose. One file, not sharded.
//! This module must never know balances.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use domain::{
    AccountId, CommandId, Currency, CustomerId, Email, Iban, PersonName, Timestamp,
    accounts::{AccountEvent, AccountRefusal, AccountStatus},
    customers::{CustomerEvent, CustomerRefusal},
};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use streams::{Fault, Record};

use crate::{
    Projection, ReadModel,
    store::{StoreError, pack, unpack},
};

pub(crate) const CUSTOMERS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("customers");
pub(crate) const ACCOUNTS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("accounts");
pub(crate) const IBANS: TableDefinition<&str, [u8; 16]> = TableDefinition::new("ibans");
/// A customer's accounts, numbered in the order of their opening.
pub(crate) const HOLDINGS: TableDefinition<([u8; 16], u32), [u8; 16]> = TableDefinition::new("holdings");

/// Refusals that are remembered for the gateways that wait for them: more than can wait at once.
const REFUSALS: usize = 16_384;

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// Name.
    pub name: PersonName,
    /// E-mail address.
    pub email: Email,
    /// Since when.
    pub since: Timestamp,
}

/// An account, without its balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// Its id.
    pub id: AccountId,
    /// Whose.
    pub holder: CustomerId,
    /// IBAN.
    pub iban: Iban,
    /// Currency.
    pub currency: Currency,
    /// How far below zero it may go, in minor units.
    pub overdraft_limit_minor: i64,
    /// Status.
    pub status: AccountStatus,
    /// Since when.
    pub opened_at: Timestamp,
    /// The how-manieth account of its holder, from 0.
    pub ordinal: u32,
}

/// Why a command was refused, for the gateway that waits. In memory only: who waited is gone after a restart.
#[derive(Debug)]
struct Refusals<R>(Mutex<(HashMap<CommandId, R>, VecDeque<CommandId>)>);

impl<R> Default for Refusals<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R: Copy> Refusals<R> {
    fn remember(&self, command: CommandId, reason: R) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (reasons, order) = &mut *guard;
        reasons.insert(command, reason);
        order.push_back(command);
        if order.len() > REFUSALS
            && let Some(oldest) = order.pop_front()
        {
            reasons.remove(&oldest);
        }
    }

    fn get(&self, command: CommandId) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(&command).copied()
    }
}

/// The directory's fold.
#[derive(Debug, Default)]
pub struct Directory {
    customer_refusals: Refusals<CustomerRefusal>,
    account_refusals: Refusals<AccountRefusal>,
}

impl Projection for Directory {
    const READER: &'static str = "directory";
    const VERSION: u32 = 1;
    const READABLE_SINCE: u32 = 1;
    type Touched = ();

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        tx.open_table(CUSTOMERS)?;
        tx.open_table(ACCOUNTS)?;
        tx.open_table(IBANS)?;
        tx.open_table(HOLDINGS)?;
        Ok(())
    }

    fn fold(&self, tx: &WriteTransaction, batch: &VecDeque<Record>) -> Result<(), StoreError> {
        for record in batch {
            match record.log.base() {
                "customers" => record.events()?.into_iter().try_for_each(|event| self.fold_customer(tx, event))?,
                "accounts" => record.events()?.into_iter().try_for_each(|event| self.fold_account(tx, event))?,
                other => {
                    let why = format!("the directory does not read {other}");
                    return Err(Fault::Unreadable { log: record.log.clone(), seq: record.seq, why }.into());
                }
            }
        }
        Ok(())
    }

    fn announce(&self, (): ()) {}

    fn announce_all(&self) {}
}

impl Directory {
    fn fold_customer(&self, tx: &WriteTransaction, event: CustomerEvent) -> Result<(), StoreError> {
        match event {
            CustomerEvent::Registered { customer, name, email, at } => {
                let row = pack(&CustomerRow { name, email, since: at })?;
                tx.open_table(CUSTOMERS)?.insert(customer.bytes(), row.as_slice())?;
            }
            CustomerEvent::Changed { customer, name, email, .. } => {
                let mut table = tx.open_table(CUSTOMERS)?;
                let before: Option<CustomerRow> = table.get(customer.bytes())?.map(|row| unpack(row.value())).transpose()?;
                if let Some(CustomerRow { since, .. }) = before {
                    table.insert(customer.bytes(), pack(&CustomerRow { name, email, since })?.as_slice())?;
                }
            }
            CustomerEvent::Refused { command, reason } => self.customer_refusals.remember(command, reason),
        }
        Ok(())
    }

    fn fold_account(&self, tx: &WriteTransaction, event: AccountEvent) -> Result<(), StoreError> {
        match event {
            AccountEvent::Opened { account: id, holder, iban, currency, overdraft_limit_minor, at } => {
                let mut holdings = tx.open_table(HOLDINGS)?;
                let last = holdings.range((holder.bytes(), 0)..=(holder.bytes(), u32::MAX))?.next_back().transpose()?;
                let ordinal = last.map_or(0, |(key, _)| key.value().1 + 1);
                holdings.insert((holder.bytes(), ordinal), id.bytes())?;
                let status = AccountStatus::Open;
                let row = AccountRow { id, holder, iban, currency, overdraft_limit_minor, status, opened_at: at, ordinal };
                tx.open_table(IBANS)?.insert(iban.as_str(), id.bytes())?;
                tx.open_table(ACCOUNTS)?.insert(id.bytes(), pack(&row)?.as_slice())?;
            }
            AccountEvent::StatusChanged { account, status, .. } => {
                let mut table = tx.open_table(ACCOUNTS)?;
                let before: Option<AccountRow> = table.get(account.bytes())?.map(|row| unpack(row.value())).transpose()?;
                if let Some(row) = before {
                    table.insert(account.bytes(), pack(&AccountRow { status, ..row })?.as_slice())?;
                }
            }
            AccountEvent::Refused { command, reason } => self.account_refusals.remember(command, reason),
        }
        Ok(())
    }
}

impl ReadModel<Directory> {
    /// A customer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn customer(&self, id: CustomerId) -> Result<Option<CustomerRow>, StoreError> {
        self.read()?.open_table(CUSTOMERS)?.get(id.bytes())?.map(|row| unpack(row.value())).transpose()
    }

    /// An account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn account(&self, id: AccountId) -> Result<Option<AccountRow>, StoreError> {
        self.read()?.open_table(ACCOUNTS)?.get(id.bytes())?.map(|row| unpack(row.value())).transpose()
    }

    /// The account behind an IBAN.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn account_by_iban(&self, iban: &Iban) -> Result<Option<AccountRow>, StoreError> {
        let id = self.read()?.open_table(IBANS)?.get(iban.as_str())?.map(|id| AccountId::from_bytes(id.value()));
        id.map_or(Ok(None), |id| self.account(id))
    }

    /// Up to `count` accounts of a customer from the ordinal `from` on, in the order of their opening.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn accounts_of(&self, holder: CustomerId, from: u32, count: usize) -> Result<Vec<AccountRow>, StoreError> {
        let view = self.read()?;
        let (holdings, accounts) = (view.open_table(HOLDINGS)?, view.open_table(ACCOUNTS)?);
        let mut rows = Vec::new();
        for entry in holdings.range((holder.bytes(), from)..=(holder.bytes(), u32::MAX))?.take(count) {
            if let Some(row) = accounts.get(entry?.1.value())? {
                rows.push(unpack(row.value())?);
            }
        }
        Ok(rows)
    }

    /// Why the customers service refused a command, if it did and it is not long ago.
    #[must_use]
    pub fn customer_refusal(&self, command: CommandId) -> Option<CustomerRefusal> {
        self.projection.customer_refusals.get(command)
    }

    /// Why the accounts service refused a command, if it did and it is not long ago.
    #[must_use]
    pub fn account_refusal(&self, command: CommandId) -> Option<AccountRefusal> {
        self.projection.account_refusals.get(command)
    }
}
