//! Opening redb files, and how rows become bytes. This module must never know what a row means.

use std::{path::Path, sync::Arc};

use redb::{Database, DatabaseError, Durability, ReadableDatabase as _, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use streams::Fault;

/// Memory for each file's pages. With the default sixteen shards at most this stays below 3 GiB.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// One row: the version of the code that wrote the file.
const VERSION: TableDefinition<&str, u32> = TableDefinition::new("version");

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

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

impl StoreError {
    pub(crate) fn into_fault(self, file: &str) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Redb(_) | Self::Decode(_) | Self::Encode(_) => Fault::Store { file: file.to_owned(), why: self.to_string() },
        }
    }
}

/// Opens a file for code of this version. What other code wrote, or what is damaged, is set aside
/// beside it and an empty file begins: the logs fill it again.
pub(crate) fn open(path: &Path, version: u32) -> Result<Arc<Database>, Fault> {
    let file = path.display().to_string();
    let fault = |error: StoreError| error.into_fault(&file);
    let why = match try_open(path) {
        Ok(db) => match written_by(&db).map_err(fault)? {
            None => return stamp(db, version).map_err(fault),
            Some(found) if found == version => return Ok(Arc::new(db)),
            Some(found) => format!("it was written by version {found} of this read model, now {version}"),
        },
        Err(error @ (DatabaseError::DatabaseAlreadyOpen | DatabaseError::TransactionInProgress)) => {
            return Err(Fault::Store { file, why: format!("{error}: another process has it; choose another --data folder") });
        }
        Err(DatabaseError::Storage(redb::StorageError::Io(error))) if error.kind() != std::io::ErrorKind::InvalidData => {
            return Err(Fault::Store { file, why: error.to_string() });
        }
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("redb.aside");
    tracing::warn!(file, aside = %aside.display(), why, "A store is set aside and built again from the logs");
    std::fs::rename(path, &aside).map_err(|error| Fault::Store { file: file.clone(), why: error.to_string() })?;
    let db = try_open(path).map_err(|error| fault(error.into()))?;
    stamp(db, version).map_err(fault)
}

fn try_open(path: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path)
}

fn written_by(db: &Database) -> Result<Option<u32>, StoreError> {
    match db.begin_read()?.open_table(VERSION) {
        Ok(table) => Ok(table.get("code")?.map(|version| version.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn stamp(db: Database, version: u32) -> Result<Arc<Database>, StoreError> {
    let tx = db.begin_write()?;
    tx.open_table(VERSION)?.insert("code", version)?;
    tx.commit()?;
    Ok(Arc::new(db))
}

/// Writes all that was committed without durability to the disk.
pub(crate) fn make_durable(db: &Database) -> Result<(), StoreError> {
    let mut tx = db.begin_write()?;
    tx.set_durability(Durability::Immediate)?;
    tx.commit()?;
    Ok(())
}

/// A row's bytes: by position, not by name, since the version guards the layout.
pub(crate) fn pack<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    Ok(rmp_serde::to_vec(row)?)
}

/// A row from its bytes.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    Ok(rmp_serde::from_slice(bytes)?)
}
