//! Read models on disk as an auditor sees them: their rows, and how far they had come. Nothing is
//! changed: a file that a crash left unfinished is looked at as a copy. This module must never know
//! what a row ought to be.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use domain::{AccountId, CustomerId, PaymentId};
use redb::{
    Builder, Database, DatabaseError, Key, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, StorageError, TableDefinition, Value,
};
use serde::de::DeserializeOwned;
use streams::LogName;
use tempfile::NamedTempFile;

use crate::{
    AccountRow, BalanceRow, CustomerRow, Directory, EntryRow, Overview, PaymentHistory, PaymentRow, PendingRow, Progress, Projection as _,
    StoreError,
    blocks::{self, Blocks},
    directory_tables, history_tables, layers, overview_tables,
    runs::{Entry, Index},
    store::{self, table_if_there, unpack},
};

pub use crate::overview_tables::{FAR_STRIDE, STRIDE};

/// One in so many entries of an index is also asked for as its readers do: that takes ten times as long as to read it.
const ASKED_FOR: usize = 16;

/// Why a file is not looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A process has it open.
    #[error("it is in use by a running process")]
    InUse,
    /// Its rows are laid out as other code has them.
    #[error("it was written by version {found} of its code, which is now version {ours}")]
    OtherVersion {
        /// Of the code that wrote it.
        found: u32,
        /// Of this code.
        ours: u32,
    },
    /// It is of no read model that is known here.
    #[error("it is of no read model that is known")]
    Unknown,
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be copied, which is needed after a crash.
    #[error("it cannot be copied: {0}")]
    Copy(#[from] std::io::Error),
}

enum File {
    Clean(ReadOnlyDatabase),
    Copy(Database, #[expect(dead_code, reason = "the copy is deleted with it")] NamedTempFile),
}

/// A read model's file, as it was when this was opened.
pub struct Inspection {
    name: LogName,
    progress: Progress,
    file: File,
}

/// A table's rows, in the order of their keys, up to one that cannot be read.
pub type Rows<K, V> = Box<dyn Iterator<Item = Result<(K, V), StoreError>> + Send>;

impl Inspection {
    /// Opens the file of the model that its name says.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn open(path: &Path) -> Result<Self, InspectError> {
        let name = LogName::new(path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default(), None);
        let ours = match name.base() {
            Directory::READER => Directory::VERSION,
            Overview::READER => Overview::VERSION,
            PaymentHistory::READER => PaymentHistory::VERSION,
            _ => return Err(InspectError::Unknown),
        };
        let file = open(path)?;
        match file.version()? {
            Some(found) if found != ours => return Err(InspectError::OtherVersion { found, ours }),
            Some(_) | None => {}
        }
        let mut inspection = Self { name, progress: Progress::default(), file };
        let mut progress = inspection.rows(layers::PROGRESS, |_| (), unpack)?;
        if let Some(row) = progress.next() {
            inspection.progress = row?.1;
        }
        Ok(inspection)
    }

    /// The model's name, with its shard.
    #[must_use]
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// How far it had come.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The directory's customers.
    ///
    /// # Errors
    /// [`StoreError`], as with every table.
    pub fn customers(&self) -> Result<Rows<CustomerId, CustomerRow>, StoreError> {
        self.rows(directory_tables::CUSTOMERS, CustomerId::from_bytes, unpack)
    }

    /// The directory's accounts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn accounts(&self) -> Result<Rows<AccountId, AccountRow>, StoreError> {
        self.rows(directory_tables::ACCOUNTS, AccountId::from_bytes, unpack)
    }

    /// Whose IBAN is whose.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ibans(&self) -> Result<Rows<String, AccountId>, StoreError> {
        self.rows(directory_tables::IBANS, str::to_owned, |id| Ok(AccountId::from_bytes(id)))
    }

    /// Customers' accounts by ordinal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn holdings(&self) -> Result<Rows<(CustomerId, u32), AccountId>, StoreError> {
        self.rows(
            directory_tables::HOLDINGS,
            |(holder, ordinal)| (CustomerId::from_bytes(holder), ordinal),
            |id| Ok(AccountId::from_bytes(id)),
        )
    }

    /// The overview's balances.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn balances(&self) -> Result<Rows<AccountId, BalanceRow>, StoreError> {
        self.indexed(overview_tables::BALANCES, |account, numbers| (AccountId::from_bytes(account), BalanceRow::from_numbers(numbers)))
    }

    /// The overview's entries by number, from 1.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries(&self) -> Result<Rows<u64, EntryRow>, StoreError> {
        self.numbered(overview_tables::ENTRIES)
    }

    /// The overview's payments on their way out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending(&self) -> Result<Rows<PaymentId, PendingRow>, StoreError> {
        self.rows(overview_tables::PENDING, PaymentId::from_bytes, unpack)
    }

    /// The history's payments by number, from 1.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn payments(&self) -> Result<Rows<u64, PaymentRow>, StoreError> {
        self.numbered(history_tables::PAYMENTS)
    }

    /// The history's numbers of payments.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn numbers(&self) -> Result<Rows<PaymentId, u64>, StoreError> {
        self.indexed(history_tables::NUMBERS, |id, [number]| (PaymentId::from_bytes(id), number))
    }

    /// The history's newest payment of each debtor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest(&self) -> Result<Rows<AccountId, u64>, StoreError> {
        self.indexed(history_tables::NEWEST, |debtor, [number]| (AccountId::from_bytes(debtor), number))
    }

    /// The history's held payments.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn held(&self) -> Result<Rows<u64, ()>, StoreError> {
        self.rows(history_tables::HELD, |number| number, |()| Ok(()))
    }

    /// Rows that lie in blocks, by their numbers.
    fn numbered<T: DeserializeOwned + Send + 'static>(&self, table: Blocks) -> Result<Rows<u64, T>, StoreError> {
        let blocks = self.rows(table, |first| first, |block| Ok(block.to_vec()))?;
        Ok(Box::new(flat(blocks.map(|block| block.and_then(|(first, block)| blocks::rows(first, &block))))))
    }

    /// Entries of an index.
    fn indexed<const N: usize, K: 'static, V: 'static>(
        &self,
        index: Index<N>,
        row: impl Fn([u8; 16], [u64; N]) -> (K, V) + Send + 'static,
    ) -> Result<Rows<K, V>, StoreError> {
        let tx = self.file.read()?;
        let (mut entries, runs) = (index.entries(&tx)?.enumerate(), index.open(&tx, None)?);
        // As its readers ask for it, which rests on filters and on where chunks begin.
        let is_found = move |number: usize, (key, numbers): &Entry<N>| {
            Ok::<_, StoreError>(!number.is_multiple_of(ASKED_FOR) || runs.get(key)?.as_ref() == Some(numbers))
        };
        let mut entry = move || -> Option<Result<Entry<N>, StoreError>> {
            let (number, entry) = entries.next()?;
            Some(entry.and_then(|entry| if is_found(number, &entry)? { Ok(entry) } else { Err(unfound().into()) }))
        };
        let next = move || catch_unwind(AssertUnwindSafe(&mut entry)).unwrap_or_else(|_| Some(Err(nonsense().into())));
        Ok(Box::new(up_to_an_error(std::iter::from_fn(next)).map(move |entry| entry.map(|(key, numbers)| row(key, numbers)))))
    }

    fn rows<K: Key + Send + 'static, V: Value + Send + 'static, A: Send + 'static, B: Send + 'static>(
        &self,
        table: TableDefinition<K, V>,
        key: impl for<'a> Fn(K::SelfType<'a>) -> A + Send + 'static,
        value: impl for<'a> Fn(V::SelfType<'a>) -> Result<B, StoreError> + Send + 'static,
    ) -> Result<Rows<A, B>, StoreError> {
        let Some(table) = table_if_there(&self.file.read()?, table)? else { return Ok(Box::new(std::iter::empty())) };
        let mut rows = table.range::<K::SelfType<'_>>(..)?;
        // Pages full of nonsense may be met with a panic, which says that they are.
        let next = move || catch_unwind(AssertUnwindSafe(|| rows.next())).unwrap_or_else(|_| Some(Err(nonsense())));
        Ok(Box::new(up_to_an_error(std::iter::from_fn(next)).map(move |row| {
            let (row_key, row_value) = row?;
            Ok((key(row_key.value()), value(row_value.value())?))
        })))
    }
}

impl File {
    fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(match self {
            Self::Clean(db) => db.begin_read()?,
            Self::Copy(db, _) => db.begin_read()?,
        })
    }

    fn version(&self) -> Result<Option<u32>, StoreError> {
        match self {
            Self::Clean(db) => store::written_by(db),
            Self::Copy(db, _) => store::written_by(db),
        }
    }
}

/// Rows one by one, or what is wrong with those that lie together.
fn flat<T>(together: impl Iterator<Item = Result<Vec<T>, StoreError>>) -> impl Iterator<Item = Result<T, StoreError>> {
    together.flat_map(|rows| match rows {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

/// The same, but the first error is the last item: a table that cannot be read would say so for ever.
fn up_to_an_error<T, E>(mut rows: impl Iterator<Item = Result<T, E>>) -> impl Iterator<Item = Result<T, E>> {
    let mut has_failed = false;
    std::iter::from_fn(move || {
        let row = if has_failed { None } else { rows.next() };
        has_failed = has_failed || matches!(row, Some(Err(_)));
        row
    })
}

fn unfound() -> StorageError {
    StorageError::Corrupted("one of its entries is not found by who asks for it".to_owned())
}

fn nonsense() -> StorageError {
    StorageError::Corrupted("its pages make no sense".to_owned())
}

fn open(path: &Path) -> Result<File, InspectError> {
    match Builder::new().set_cache_size(store::CACHE_BYTES).open_read_only(path) {
        Ok(db) => Ok(File::Clean(db)),
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(InspectError::InUse),
        Err(DatabaseError::RepairAborted) => {
            let copy = NamedTempFile::new()?;
            fs::copy(path, copy.path())?;
            let db = Builder::new().set_cache_size(store::CACHE_BYTES).open(copy.path()).map_err(StoreError::from)?;
            Ok(File::Copy(db, copy))
        }
        Err(error) => Err(StoreError::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said_once() {
        let mut rows = [Ok(1), Ok(2)].into_iter().chain(std::iter::repeat(Err("a bad sector")));
        assert_eq!(up_to_an_error(&mut rows).collect::<Vec<_>>(), [Ok(1), Ok(2), Err("a bad sector")]);
    }
}
