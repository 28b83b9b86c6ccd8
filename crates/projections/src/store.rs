//! Opening redb files, and how rows become bytes. This module must never know what a row means.

use std::{
    borrow::Borrow,
    collections::HashMap,
    io::ErrorKind,
    ops::RangeInclusive,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, DatabaseError, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition, TableError, Value};
use serde::{Serialize, de::DeserializeOwned};
use streams::Fault;

/// Memory for each file's pages. A process with all roles has three files and five a shard: 0.8 GiB with two shards, and 5.2 with
/// sixteen.
pub(crate) const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// One row: the version of the code that wrote the file.
pub(crate) const VERSION: TableDefinition<&str, u32> = TableDefinition::new("version");

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file, or the disk under it, failed.
    #[error(transparent)]
    Redb(#[from] redb::Error),
    /// A row is not what was written.
    #[error("a row cannot be read: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// A row cannot be written.
    #[error("a row cannot be written: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// A record of a log cannot be folded.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The code that wrote the file panicked.
    #[error("{0}")]
    Panicked(String),
    /// The model cannot be asked now: it is still behind what was shown before, or has halted.
    #[error("the read model is not level")]
    NotLevel,
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        })*
    };
}

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

impl StoreError {
    pub(crate) fn into_fault(self, file: &str) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Redb(_) | Self::Decode(_) | Self::Encode(_) | Self::Panicked(_) | Self::NotLevel => {
                Fault::Store { file: file.to_owned(), why: self.to_string() }
            }
        }
    }
}

/// A file that was opened.
pub(crate) struct Opened {
    pub db: Database,
    /// The version of the code that wrote it.
    pub version: u32,
}

/// Opens a file of code whose version is among `readable`, the newest being our own; a file that is
/// not there begins with that one. What other code wrote, or what is damaged, is set aside beside it,
/// and an empty file begins: the logs fill it again. Every page is checked before anything is read,
/// which takes about a second a gigabyte.
pub(crate) fn open(path: &Path, readable: RangeInclusive<u32>) -> Result<Opened, Fault> {
    let file = path.display().to_string();
    let fault = |error: StoreError| error.into_fault(&file);
    let why = match try_open(path) {
        Ok(db) => match written_by(&db).map_err(fault)? {
            None => return stamp(db, *readable.end()).map_err(fault),
            Some(version) if readable.contains(&version) => return Ok(Opened { db, version }),
            Some(found) => format!("it was written by version {found} of this code, now {}", readable.end()),
        },
        Err(Unopened::Denied(why)) => return Err(Fault::Store { file, why }),
        Err(Unopened::Damaged(why)) => why,
    };
    let aside = path.with_extension("redb.aside");
    tracing::warn!(file, aside = %aside.display(), why, "A store is set aside and built again from the logs");
    std::fs::rename(path, &aside).map_err(|error| Fault::Store { file: file.clone(), why: error.to_string() })?;
    match try_open(path) {
        Ok(db) => stamp(db, *readable.end()).map_err(fault),
        Err(Unopened::Denied(why) | Unopened::Damaged(why)) => Err(Fault::Store { file, why }),
    }
}

/// Why a file was not opened.
enum Unopened {
    /// It may be good, but not for us, or not now.
    Denied(String),
    /// It is not what was written.
    Damaged(String),
}

impl From<DatabaseError> for Unopened {
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb's own enum may grow: what is new to us, we cannot read")]
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::TransactionInProgress => Self::Denied(format!(
                "{error}: another process has it, or this one still writes it; for two processes choose two --data folders"
            )),
            DatabaseError::Storage(redb::StorageError::Io(error)) if !is_damage(error.kind()) => Self::Denied(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// A file that is too short, or no such file at all, shows itself as one of these.
const fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn try_open(path: &Path) -> Result<Database, Unopened> {
    // Pages full of nonsense may also be met with a panic, which then says the same.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| open_and_check(path)));
    opened.unwrap_or_else(|_| Err(Unopened::Damaged("its pages make no sense".to_owned())))
}

/// After a crash redb checks every page by itself, so that is done here only where it did not.
fn open_and_check(path: &Path) -> Result<Database, Unopened> {
    let checked = Arc::new(AtomicBool::new(false));
    let repaired = Arc::clone(&checked);
    let mut db = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(move |_| repaired.store(true, Ordering::Relaxed))
        .create(path)?;
    if !checked.load(Ordering::Relaxed) && !db.check_integrity()? {
        return Err(Unopened::Damaged("its pages do not match their checksums".to_owned()));
    }
    Ok(db)
}

pub(crate) fn written_by(db: &impl ReadableDatabase) -> Result<Option<u32>, StoreError> {
    let Some(table) = table_if_there(&db.begin_read()?, VERSION)? else { return Ok(None) };
    Ok(table.get("code")?.map(|version| version.value()))
}

/// A table that a file has only once something was written to it.
pub(crate) fn table_if_there<K: Key + 'static, V: Value + 'static>(
    tx: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match tx.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn stamp(db: Database, version: u32) -> Result<Opened, StoreError> {
    let tx = db.begin_write()?;
    tx.open_table(VERSION)?.insert("code", version)?;
    tx.commit()?;
    Ok(Opened { db, version })
}

/// A row's bytes: by position, not by name, since the version guards the layout.
pub(crate) fn pack<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    Ok(rmp_serde::to_vec(row)?)
}

/// The same in a buffer that is used again.
pub(crate) fn pack_into<'a, T: Serialize>(buffer: &'a mut Vec<u8>, row: &T) -> Result<&'a [u8], StoreError> {
    buffer.clear();
    rmp_serde::encode::write(buffer, row)?;
    Ok(buffer)
}

/// A row from its bytes.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    Ok(rmp_serde::from_slice(bytes)?)
}

/// A row of a table of the file.
pub(crate) fn get<K: Key + 'static, T: DeserializeOwned>(
    table: &ReadOnlyTable<K, &'static [u8]>,
    key: impl for<'a> Borrow<K::SelfType<'a>>,
) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|row| unpack(row.value())).transpose()
}

/// Rows in the order of their keys.
pub(crate) fn sorted<K: Ord, V, S>(rows: &HashMap<K, V, S>) -> Vec<(&K, &V)> {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    sorted
}
