//! The tables of the directory: customers and accounts by id, and what leads to an account. This module
//! must never know events.

use std::collections::BTreeMap;

use domain::{AccountId, CustomerId, Iban};
use foldhash::HashMap;
use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, WriteTransaction};

use crate::{
    AccountRow, CustomerRow,
    layers::{Changes, Layers},
    store::{StoreError, get, pack_into, sorted},
};

pub(crate) const CUSTOMERS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("customers");
pub(crate) const ACCOUNTS: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("accounts");
pub(crate) const IBANS: TableDefinition<&str, [u8; 16]> = TableDefinition::new("ibans");
/// A customer's accounts, numbered in the order of their opening.
pub(crate) const HOLDINGS: TableDefinition<([u8; 16], u32), [u8; 16]> = TableDefinition::new("holdings");

pub(crate) fn create(tx: &WriteTransaction) -> Result<(), StoreError> {
    tx.open_table(CUSTOMERS)?;
    tx.open_table(ACCOUNTS)?;
    tx.open_table(IBANS)?;
    tx.open_table(HOLDINGS)?;
    Ok(())
}

/// The tables of the file.
pub struct DirectoryFile {
    customers: ReadOnlyTable<[u8; 16], &'static [u8]>,
    accounts: ReadOnlyTable<[u8; 16], &'static [u8]>,
    ibans: ReadOnlyTable<&'static str, [u8; 16]>,
    holdings: ReadOnlyTable<([u8; 16], u32), [u8; 16]>,
}

/// What changed since the file was written.
#[derive(Default)]
pub struct DirectoryChanges {
    pub(crate) customers: HashMap<CustomerId, CustomerRow>,
    pub(crate) accounts: HashMap<AccountId, AccountRow>,
    ibans: HashMap<Iban, AccountId>,
    holdings: BTreeMap<(CustomerId, u32), AccountId>,
}

impl Changes for DirectoryChanges {
    type File = DirectoryFile;

    fn open(tx: &ReadTransaction, _before: Option<&DirectoryFile>) -> Result<DirectoryFile, StoreError> {
        let (customers, accounts) = (tx.open_table(CUSTOMERS)?, tx.open_table(ACCOUNTS)?);
        Ok(DirectoryFile { customers, accounts, ibans: tx.open_table(IBANS)?, holdings: tx.open_table(HOLDINGS)? })
    }

    fn begin(_file: &DirectoryFile) -> Result<Self, StoreError> {
        Ok(Self::default())
    }

    fn next(&mut self) -> Self {
        Self::default()
    }

    fn rows(&self) -> usize {
        self.customers.len() + self.accounts.len()
    }

    fn write(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        let mut buffer = Vec::new();
        let (mut customers, mut accounts) = (tx.open_table(CUSTOMERS)?, tx.open_table(ACCOUNTS)?);
        for (id, row) in sorted(&self.customers) {
            customers.insert(id.bytes(), pack_into(&mut buffer, row)?)?;
        }
        for (id, row) in sorted(&self.accounts) {
            accounts.insert(id.bytes(), pack_into(&mut buffer, row)?)?;
        }
        let (mut ibans, mut holdings) = (tx.open_table(IBANS)?, tx.open_table(HOLDINGS)?);
        for (iban, id) in sorted(&self.ibans) {
            ibans.insert(iban.as_str(), id.bytes())?;
        }
        for ((holder, ordinal), id) in &self.holdings {
            holdings.insert((holder.bytes(), *ordinal), id.bytes())?;
        }
        Ok(())
    }
}

impl Layers<DirectoryChanges> {
    pub(crate) fn customer(&self, id: CustomerId) -> Result<Option<CustomerRow>, StoreError> {
        let recent = self.recent(|changes| changes.customers.get(&id));
        recent.map_or_else(|| get(&self.file.customers, id.bytes()), |row| Ok(Some(row.clone())))
    }

    pub(crate) fn account(&self, id: AccountId) -> Result<Option<AccountRow>, StoreError> {
        let recent = self.recent(|changes| changes.accounts.get(&id));
        recent.map_or_else(|| get(&self.file.accounts, id.bytes()), |row| Ok(Some(row.clone())))
    }

    pub(crate) fn account_by_iban(&self, iban: &Iban) -> Result<Option<AccountRow>, StoreError> {
        let id = match self.recent(|changes| changes.ibans.get(iban)) {
            Some(id) => Some(*id),
            None => self.file.ibans.get(iban.as_str())?.map(|id| AccountId::from_bytes(id.value())),
        };
        id.map_or(Ok(None), |id| self.account(id))
    }

    /// How many accounts a customer has.
    pub(crate) fn holdings(&self, holder: CustomerId) -> Result<u32, StoreError> {
        let all = (holder, 0)..=(holder, u32::MAX);
        let recent = self.recent(|changes| changes.holdings.range(all.clone()).next_back());
        let last = match recent {
            Some(((_, ordinal), _)) => Some(*ordinal),
            None => {
                let last = self.file.holdings.range((holder.bytes(), 0)..=(holder.bytes(), u32::MAX))?.next_back().transpose()?;
                last.map(|(key, _)| key.value().1)
            }
        };
        Ok(last.map_or(0, |ordinal| ordinal + 1))
    }

    /// Puts a new account, the last one of its holder.
    pub(crate) fn open_account(&mut self, row: AccountRow) {
        self.fresh.holdings.insert((row.holder, row.ordinal), row.id);
        self.fresh.ibans.insert(row.iban, row.id);
        self.fresh.accounts.insert(row.id, row);
    }

    /// Up to `count` accounts of a customer from the ordinal `from` on, in the order of their opening.
    pub(crate) fn accounts_of(&self, holder: CustomerId, from: u32, count: usize) -> Result<Vec<AccountRow>, StoreError> {
        let mut rows = Vec::new();
        let end = self.holdings(holder)?;
        for ordinal in (from..end).take(count) {
            let id = match self.recent(|changes| changes.holdings.get(&(holder, ordinal))) {
                Some(id) => Some(*id),
                None => self.file.holdings.get((holder.bytes(), ordinal))?.map(|id| AccountId::from_bytes(id.value())),
            };
            rows.extend(id.map_or(Ok(None), |id| self.account(id))?);
        }
        Ok(rows)
    }
}
