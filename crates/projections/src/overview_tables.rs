//! The tables of the overview and the batch that writes them: balances are read and written once a
//! batch, entries are appended in log order and linked to the account's previous one. Random inserts
//! by account and version were measured at less than half of this. This module must never know events.

use std::collections::{HashMap, hash_map::Entry};

use domain::{AccountId, PaymentId};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::{
    model::ReadView,
    overview::{BalanceRow, EntryRow},
    store::{StoreError, pack, unpack},
};

pub(crate) const BALANCES: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("balances");
pub(crate) const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
pub(crate) const PENDING: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("pending");

/// Every entry also links to the newest of its account whose version is a multiple of this and less
/// than its own, so an old one is found in (versions / 64) + 64 steps.
pub const STRIDE: u64 = 64;

/// A payment that is still on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRow {
    /// From which account.
    pub account: AccountId,
    /// How much, in minor units.
    pub minor: i64,
}

pub(crate) fn create(tx: &WriteTransaction) -> Result<(), StoreError> {
    tx.open_table(BALANCES)?;
    tx.open_table(ENTRIES)?;
    tx.open_table(PENDING)?;
    Ok(())
}

/// What a batch changes, gathered in memory and written once.
pub(crate) struct Batch<'a> {
    tables: Tables<'a>,
    balances: HashMap<AccountId, BalanceRow>,
    /// Reservations made and not ended.
    pending: HashMap<PaymentId, PendingRow>,
    entries: Vec<EntryRow>,
    first_entry: u64,
}

struct Tables<'a> {
    balances: Table<'a, [u8; 16], &'static [u8]>,
    entries: Table<'a, u64, &'static [u8]>,
    pending: Table<'a, [u8; 16], &'static [u8]>,
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(tx: &'a WriteTransaction) -> Result<Self, StoreError> {
        let tables = Tables { balances: tx.open_table(BALANCES)?, entries: tx.open_table(ENTRIES)?, pending: tx.open_table(PENDING)? };
        let first_entry = tables.entries.last()?.map_or(0, |(number, _)| number.value()) + 1;
        let (balances, pending) = (HashMap::new(), HashMap::new());
        Ok(Self { tables, balances, pending, entries: Vec::new(), first_entry })
    }

    /// The balance of an account, to be changed.
    pub(crate) fn balance(&mut self, account: AccountId) -> Result<&mut BalanceRow, StoreError> {
        match self.balances.entry(account) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let row = self.tables.balances.get(account.bytes())?.map(|row| unpack(row.value())).transpose()?;
                Ok(unknown.insert(row.unwrap_or_default()))
            }
        }
    }

    /// Appends an entry; its links are made here.
    pub(crate) fn append(&mut self, account: AccountId, mut entry: EntryRow) -> Result<(), StoreError> {
        let number = self.first_entry + self.entries.len() as u64;
        let balance = self.balance(account)?;
        (entry.previous, entry.anchor) = (balance.last_entry, balance.anchor);
        balance.last_entry = number;
        if entry.version.is_multiple_of(STRIDE) {
            balance.anchor = number;
        }
        self.entries.push(entry);
        Ok(())
    }

    pub(crate) fn reserve(&mut self, payment: PaymentId, row: PendingRow) -> Result<(), StoreError> {
        self.balance(row.account)?.pending_minor += row.minor;
        self.pending.insert(payment, row);
        Ok(())
    }

    /// Ends a reservation; says on which account it was.
    pub(crate) fn release(&mut self, payment: PaymentId) -> Result<Option<AccountId>, StoreError> {
        // Most end in the batch that made them and never reach the file.
        let row = match self.pending.remove(&payment) {
            Some(row) => Some(row),
            None => self.tables.pending.remove(payment.bytes())?.map(|row| unpack(row.value())).transpose()?,
        };
        let Some(PendingRow { account, minor }) = row else { return Ok(None) };
        self.balance(account)?.pending_minor -= minor;
        Ok(Some(account))
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        for (account, row) in &self.balances {
            self.tables.balances.insert(account.bytes(), pack(row)?.as_slice())?;
        }
        for (number, row) in (self.first_entry..).zip(&self.entries) {
            self.tables.entries.insert(number, pack(row)?.as_slice())?;
        }
        for (payment, row) in &self.pending {
            self.tables.pending.insert(payment.bytes(), pack(row)?.as_slice())?;
        }
        Ok(())
    }
}

/// A consistent view of one shard's overview.
pub(crate) struct View(ReadView);

impl View {
    pub(crate) const fn new(tx: ReadView) -> Self {
        Self(tx)
    }

    pub(crate) fn balance(&self, account: AccountId) -> Result<BalanceRow, StoreError> {
        let row = self.0.open_table(BALANCES)?.get(account.bytes())?.map(|row| unpack(row.value())).transpose()?;
        Ok(row.unwrap_or_default())
    }

    /// Up to `count` entries of versions at most `newest`, newest first.
    pub(crate) fn entries_down(&self, account: AccountId, newest: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        let entries = self.0.open_table(ENTRIES)?;
        let balance = self.balance(account)?;
        let (mut at, mut version, mut anchor) = (balance.last_entry, balance.version, balance.anchor);
        let mut found = Vec::new();
        // `anchor` is always the entry of version `anchor_of(version)`.
        while at != 0 && newest > 0 && found.len() < count {
            if anchor != 0 && anchor_of(version) >= newest {
                at = anchor;
            }
            let entry: EntryRow = match entries.get(at)? {
                Some(row) => unpack(row.value())?,
                None => break,
            };
            (at, version, anchor) = (entry.previous, entry.version - 1, entry.anchor);
            if entry.version <= newest {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Up to `count` entries of versions above `after`, oldest first.
    pub(crate) fn entries_up(&self, account: AccountId, after: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        let newest = after.saturating_add(count as u64).min(self.balance(account)?.version);
        let wanted = usize::try_from(newest.saturating_sub(after)).unwrap_or(count);
        let mut found = self.entries_down(account, newest, wanted)?;
        found.reverse();
        Ok(found)
    }
}

/// The newest version that is an anchor and not above `version`.
const fn anchor_of(version: u64) -> u64 {
    version / STRIDE * STRIDE
}
