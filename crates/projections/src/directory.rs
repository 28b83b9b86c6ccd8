//! The directory: customers, their accounts, and whose IBAN is whose. One file, not sharded.
//! This module must never know balances.

use domain::{
    AccountId, CommandId, Currency, CustomerId, Email, Iban, PersonName, Timestamp,
    accounts::{AccountEvent, AccountRefusal, AccountStatus},
    customers::{CustomerEvent, CustomerRefusal},
};
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use streams::Record;

use crate::{
    Layers, Projection, ReadModel, Shelf,
    directory_tables::{DirectoryChanges, create},
    refusals::{Awaited, Refusals},
    store::StoreError,
};

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
    type Changes = DirectoryChanges;
    type Touched = ();

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        create(tx)
    }

    fn fold(&self, rows: &Shelf<DirectoryChanges>, record: &Record, (): &mut ()) -> Result<(), StoreError> {
        match record.log.base() {
            "customers" => {
                let events = record.events::<CustomerEvent>()?;
                let mut rows = rows.change();
                events.iter().cloned().try_for_each(|event| self.fold_customer(&mut rows, event))
            }
            "accounts" => {
                let events = record.events::<AccountEvent>()?;
                let mut rows = rows.change();
                events.iter().cloned().try_for_each(|event| self.fold_account(&mut rows, event))
            }
            _ => Err(record.unexpected("the directory").into()),
        }
    }

    fn announce(&self, (): ()) {}

    fn announce_all(&self) {}
}

impl Directory {
    fn fold_customer(&self, rows: &mut Layers<DirectoryChanges>, event: CustomerEvent) -> Result<(), StoreError> {
        match event {
            CustomerEvent::Registered { customer, name, email, at } => {
                rows.fresh.customers.insert(customer, CustomerRow { name, email, since: at });
            }
            CustomerEvent::Changed { customer, name, email, .. } => {
                if let Some(CustomerRow { since, .. }) = rows.customer(customer)? {
                    rows.fresh.customers.insert(customer, CustomerRow { name, email, since });
                }
            }
            CustomerEvent::Refused { command, reason } => self.customer_refusals.tell(command, reason),
        }
        Ok(())
    }

    fn fold_account(&self, rows: &mut Layers<DirectoryChanges>, event: AccountEvent) -> Result<(), StoreError> {
        match event {
            AccountEvent::Opened { account: id, holder, iban, currency, overdraft_limit_minor, at } => {
                let ordinal = rows.holdings(holder)?;
                let status = AccountStatus::Open;
                rows.open_account(AccountRow { id, holder, iban, currency, overdraft_limit_minor, status, opened_at: at, ordinal });
            }
            AccountEvent::StatusChanged { account, status, .. } => {
                if let Some(row) = rows.account(account)? {
                    rows.fresh.accounts.insert(account, AccountRow { status, ..row });
                }
            }
            AccountEvent::Refused { command, reason } => self.account_refusals.tell(command, reason),
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
        self.rows()?.read()?.customer(id)
    }

    /// An account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn account(&self, id: AccountId) -> Result<Option<AccountRow>, StoreError> {
        self.rows()?.read()?.account(id)
    }

    /// The account behind an IBAN.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn account_by_iban(&self, iban: &Iban) -> Result<Option<AccountRow>, StoreError> {
        self.rows()?.read()?.account_by_iban(iban)
    }

    /// Up to `count` accounts of a customer from the ordinal `from` on, in the order of their opening.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn accounts_of(&self, holder: CustomerId, from: u32, count: usize) -> Result<Vec<AccountRow>, StoreError> {
        self.rows()?.read()?.accounts_of(holder, from, count)
    }

    /// Waits for a command to the customers service, which is about to be appended.
    #[must_use]
    pub fn await_customer_command(&self, command: CommandId) -> Awaited<CustomerRefusal> {
        self.projection.customer_refusals.wait_for(command)
    }

    /// Waits for a command to the accounts service, which is about to be appended.
    #[must_use]
    pub fn await_account_command(&self, command: CommandId) -> Awaited<AccountRefusal> {
        self.projection.account_refusals.wait_for(command)
    }
}
