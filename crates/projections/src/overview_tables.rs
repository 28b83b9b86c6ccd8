//! The tables of the overview: a balance an account, entries in log order and in blocks, each linked to the
//! account's previous one. Random inserts by account and version were measured at less than half of this. This
//! module must never know events.

use domain::{AccountId, PaymentId};
use foldhash::{HashMap, HashMapExt as _};
use redb::{ReadOnlyTable, ReadTransaction, StorageError, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::{
    blocks::{self, Blocks},
    layers::{Changes, Layers, Shelf},
    overview::{BalanceRow, EntryRow},
    recent::Recent,
    runs::{Index, Runs},
    store::{StoreError, get, pack_into, sorted},
    tail::Tail,
};

pub(crate) const BALANCES: Index<7> = Index::changing(["balances", "balance-heads", "balance-sizes", "balance-merges"]);
pub(crate) const ENTRIES: Blocks = Blocks::new("entry-blocks");
pub(crate) const PENDING: TableDefinition<[u8; 16], &[u8]> = TableDefinition::new("pending");

/// An anchor is an entry whose version is a multiple of this. Every other entry also links to the newest anchor before it.
pub const STRIDE: u64 = 64;
/// A far anchor is one whose version is a multiple of this. Anchors link to the newest far anchor before them, so an old
/// entry is found in (versions / 4,096) + 3 * 64 steps at most.
pub const FAR_STRIDE: u64 = STRIDE * STRIDE;
/// So many entries are looked at while the fold waits; in an account with a million, some 400 lead to its oldest.
const LOOKED_AT_ONCE: usize = if cfg!(test) { 3 } else { 256 };

/// A payment that is still on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRow {
    /// From which account.
    pub account: AccountId,
    /// How much, in minor units.
    pub minor: i64,
}

pub(crate) fn create(tx: &WriteTransaction) -> Result<(), StoreError> {
    tx.open_table(ENTRIES)?;
    tx.open_table(PENDING)?;
    Ok(())
}

/// The tables of the file.
pub struct OverviewFile {
    balances: Runs<7>,
    entries: ReadOnlyTable<u64, &'static [u8]>,
    pending: ReadOnlyTable<[u8; 16], &'static [u8]>,
}

/// What changed since the file was written, and balances that are known.
pub struct OverviewChanges {
    /// The newest, in front of all layers.
    balances: Recent<AccountId, BalanceRow>,
    /// Those that are to be written, once this is set aside.
    changed_balances: Vec<(AccountId, BalanceRow)>,
    entries: Tail<EntryRow>,
    /// Reservations made, and `None` for such as an older layer has and that ended.
    pending: HashMap<PaymentId, Option<PendingRow>>,
}

impl Changes for OverviewChanges {
    type File = OverviewFile;

    fn open(tx: &ReadTransaction, before: Option<&OverviewFile>) -> Result<OverviewFile, StoreError> {
        let balances = BALANCES.open(tx, before.map(|before| &before.balances))?;
        Ok(OverviewFile { balances, entries: tx.open_table(ENTRIES)?, pending: tx.open_table(PENDING)? })
    }

    fn begin(file: &OverviewFile) -> Result<Self, StoreError> {
        Ok(Self::of(Tail::behind(blocks::last(&file.entries)?)))
    }

    fn next(&mut self) -> Self {
        self.changed_balances = self.balances.take_changed();
        let balances = std::mem::take(&mut self.balances);
        Self { balances, ..Self::of(self.entries.next()) }
    }

    fn rows(&self) -> usize {
        // Four balances take as much room as an entry.
        self.entries.unwritten_rows() + self.pending.len() + self.balances.changed() / 4
    }

    fn write(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        let mut buffer = Vec::new();
        BALANCES.add(tx, self.changed_balances.iter().map(|(account, row)| (account.bytes(), row.to_numbers())).collect())?;
        let (mut entries, mut pending) = (tx.open_table(ENTRIES)?, tx.open_table(PENDING)?);
        blocks::write(&mut entries, self.entries.unwritten())?;
        for (payment, row) in sorted(&self.pending) {
            match row {
                Some(row) => drop(pending.insert(payment.bytes(), pack_into(&mut buffer, row)?)?),
                None => drop(pending.remove(payment.bytes())?),
            }
        }
        Ok(())
    }
}

impl OverviewChanges {
    fn of(entries: Tail<EntryRow>) -> Self {
        Self { balances: Recent::default(), changed_balances: Vec::new(), entries, pending: HashMap::new() }
    }
}

impl Layers<OverviewChanges> {
    /// Looks balances up that are about to change.
    pub(crate) fn look_ahead(&self, accounts: impl Iterator<Item = AccountId>) {
        self.fresh.balances.look_ahead(accounts);
    }

    /// The balance of an account, to be changed.
    pub(crate) fn balance_mut(&mut self, account: AccountId) -> Result<&mut BalanceRow, StoreError> {
        self.fresh.balances.get_mut(account, || balance_in(&self.file, account))
    }

    /// Appends an entry; its links are made here.
    pub(crate) fn append(&mut self, account: AccountId, mut entry: EntryRow) -> Result<(), StoreError> {
        let number = self.fresh.entries.end();
        let balance = self.balance_mut(account)?;
        let is_anchor = entry.version.is_multiple_of(STRIDE);
        (entry.previous, entry.anchor) = (balance.last_entry, if is_anchor { balance.far_anchor } else { balance.anchor });
        balance.last_entry = number;
        if is_anchor {
            balance.anchor = number;
        }
        if entry.version.is_multiple_of(FAR_STRIDE) {
            balance.far_anchor = number;
        }
        self.fresh.entries.push(entry);
        Ok(())
    }

    pub(crate) fn reserve(&mut self, payment: PaymentId, row: PendingRow) -> Result<(), StoreError> {
        let balance = self.balance_mut(row.account)?;
        balance.pending_minor = balance.pending_minor.wrapping_add(row.minor);
        self.fresh.pending.insert(payment, Some(row));
        Ok(())
    }

    /// Ends a reservation; says on which account it was.
    pub(crate) fn release(&mut self, payment: PaymentId) -> Result<Option<AccountId>, StoreError> {
        // Most end in the layer that made them and never reach the file.
        let row = match self.fresh.pending.remove(&payment) {
            Some(Some(row)) => Some(row),
            // It ended before.
            Some(None) => {
                self.fresh.pending.insert(payment, None);
                None
            }
            None => {
                let older = self.aside.as_deref().and_then(|changes| changes.pending.get(&payment).copied());
                let row = older.map_or_else(|| get(&self.file.pending, payment.bytes()), Ok)?;
                if row.is_some() {
                    self.fresh.pending.insert(payment, None);
                }
                row
            }
        };
        let Some(PendingRow { account, minor }) = row else { return Ok(None) };
        let balance = self.balance_mut(account)?;
        balance.pending_minor = balance.pending_minor.wrapping_sub(minor);
        Ok(Some(account))
    }

    pub(crate) fn balance(&self, account: AccountId) -> Result<BalanceRow, StoreError> {
        self.fresh.balances.peek(&account).map_or_else(|| balance_in(&self.file, account), |row| Ok(*row))
    }

    fn entry(&self, number: u64) -> Result<Option<EntryRow>, StoreError> {
        let recent = self.recent(|changes| changes.entries.get(number));
        recent.map_or_else(|| blocks::row(&self.file.entries, number), |row| Ok(Some(row.clone())))
    }

    /// Looks at the next entries; says whether these were the last.
    fn walk(&self, walk: &mut Walk) -> Result<bool, StoreError> {
        for _ in 0..LOOKED_AT_ONCE {
            if walk.is_over() {
                break;
            }
            let at = walk.next();
            let entry = self.entry(at)?.ok_or_else(|| StorageError::Corrupted(format!("there is no entry {at}")))?;
            (walk.at, walk.version) = (entry.previous, entry.version - 1);
            let is_anchor = entry.version.is_multiple_of(STRIDE);
            (walk.anchor, walk.far_anchor) = if is_anchor { (0, entry.anchor) } else { (entry.anchor, 0) };
            if entry.version <= walk.newest {
                walk.found.push(entry);
            }
        }
        Ok(walk.is_over())
    }
}

/// On the way from an account's newest entry to older ones. Entries never change, so the fold may go on between any two looks.
struct Walk {
    newest: u64,
    count: usize,
    /// The next entry, and its version.
    at: u64,
    version: u64,
    /// The newest anchors that are not above it, where they are known.
    anchor: u64,
    far_anchor: u64,
    found: Vec<EntryRow>,
}

impl Walk {
    /// The oldest entry that is known and not older than what is wanted.
    fn next(&self) -> u64 {
        let is_wanted = |anchor: u64, stride: u64| anchor != 0 && self.version / stride * stride >= self.newest;
        match self {
            Self { far_anchor, .. } if is_wanted(*far_anchor, FAR_STRIDE) => *far_anchor,
            Self { anchor, .. } if is_wanted(*anchor, STRIDE) => *anchor,
            Self { at, .. } => *at,
        }
    }

    const fn is_over(&self) -> bool {
        self.at == 0 || self.newest == 0 || self.found.len() >= self.count
    }
}

impl Shelf<OverviewChanges> {
    /// Up to `count` entries of versions at most `newest`, newest first.
    pub(crate) fn entries_down(&self, account: AccountId, newest: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        let mut walk = self.begin(account, newest, count)?;
        while !self.read()?.walk(&mut walk)? {}
        Ok(walk.found)
    }

    fn begin(&self, account: AccountId, newest: u64, count: usize) -> Result<Walk, StoreError> {
        let BalanceRow { last_entry: at, version, anchor, far_anchor, .. } = self.read()?.balance(account)?;
        let room = usize::try_from(version.min(newest)).unwrap_or(count).min(count);
        Ok(Walk { newest, count, at, version, anchor, far_anchor, found: Vec::with_capacity(room) })
    }

    /// Up to `count` entries of versions above `after`, oldest first.
    pub(crate) fn entries_up(&self, account: AccountId, after: u64, count: usize) -> Result<Vec<EntryRow>, StoreError> {
        let newest = after.saturating_add(count as u64).min(self.read()?.balance(account)?.version);
        let wanted = usize::try_from(newest.saturating_sub(after)).unwrap_or(count);
        let mut found = self.entries_down(account, newest, wanted)?;
        found.reverse();
        Ok(found)
    }
}

fn balance_in(file: &OverviewFile, account: AccountId) -> Result<BalanceRow, StoreError> {
    Ok(file.balances.get(&account.bytes())?.map_or_else(BalanceRow::default, BalanceRow::from_numbers))
}

#[cfg(test)]
#[path = "overview_tests.rs"]
mod tests;
