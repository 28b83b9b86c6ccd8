//! Snapshots of what a service decides by: rows by table and key, and the checkpoint they belong to,
//! written in one transaction. This module must never know what a row means.

use std::{collections::BTreeMap, io::ErrorKind, path::Path, sync::Arc};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition};
use rustix::fs::statvfs;
use serde::{Serialize, de::DeserializeOwned};
use streams::{Checkpoint, Fault};

use crate::{
    runs::{Index, Runs},
    store::{self, StoreError, pack, table_if_there, unpack},
};

/// Changes with the layout of any service's rows.
const VERSION: u32 = 5;
const CHECKPOINT: TableDefinition<&str, &[u8]> = TableDefinition::new("checkpoint");
/// Ids that were ever seen.
const SEEN: Index<0> = Index::new(["seen", "seen-heads", "seen-sizes", "seen-merges"]);

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A key, and its row, if it has one still.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// A table of two numbers by id, most of whose rows may change from snapshot to snapshot.
pub type Pairs = Index<2>;
/// One of its rows.
pub type Pair = ([u8; 16], [u64; 2]);

/// What changed since the last snapshot: rows by table, and ids that were seen.
#[derive(Debug, Default)]
pub struct Rows {
    tables: BTreeMap<&'static str, Vec<Change>>,
    pairs: Vec<(Pairs, Vec<Pair>)>,
    seen: Vec<[u8; 16]>,
}

/// The ids that were seen before a snapshot.
pub struct Seen(Runs<0>);

impl Seen {
    /// Whether this is one of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has(&self, id: [u8; 16]) -> Result<bool, StoreError> {
        Ok(self.0.get(&id)?.is_some())
    }

    /// Lets go of the file as it was, until it is opened again: redb reuses no page that an open table may read, and a file of which
    /// nothing is asked for long would grow with each write. What it knows is kept.
    pub fn let_go(&mut self) {
        self.0.let_go();
    }
}

impl Rows {
    /// Adds ids that were seen, none of them before.
    pub fn see(&mut self, ids: impl Iterator<Item = [u8; 16]>) {
        self.seen.extend(ids);
    }

    /// Adds rows of a table of pairs, each with an id of its own.
    pub fn put_pairs(&mut self, table: Pairs, rows: Vec<Pair>) {
        self.pairs.push((table, rows));
    }

    /// How many bytes of the disk they may take until they are written.
    fn room(&self) -> u64 {
        let of = |(key, row): &Change| PAGE_BYTES.max(WRITTEN_A_ROW * (key.len() + row.as_ref().map_or(0, Vec::len)));
        let tables: usize = self.tables.values().flatten().map(of).sum();
        let pairs: usize = self.pairs.iter().map(|(_, rows)| size_of_val(rows.as_slice())).sum();
        (tables + WRITTEN_A_ROW * (pairs + size_of_val(self.seen.as_slice()))) as u64
    }

    /// Adds a row of `table`; without a row, the one with this key is taken away.
    ///
    /// # Errors
    /// [`StoreError::Encode`].
    pub fn put<K: Serialize, V: Serialize>(&mut self, table: &'static str, key: &K, row: Option<&V>) -> Result<(), StoreError> {
        self.tables.entry(table).or_default().push((pack(key)?, row.map(pack).transpose()?));
        Ok(())
    }
}

/// Room that a snapshot leaves on its disk: for the pages that redb writes besides rows, and for a second one beside it.
const ROOM_LEFT: u64 = 8 * 1024 * 1024;
/// How many times its rows a snapshot may write: itself, five times as much in merges, and their filters …
const WRITTEN_A_ROW: usize = 7;
/// … and of a row of a tree under an id, which lies anywhere, the page that it is on.
const PAGE_BYTES: usize = 4096;
/// Room without which no snapshot is begun: what changes between two has less.
const LEAST_ROOM: u64 = 64 * 1024 * 1024;

/// The file of one service and shard.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    db: Arc<Database>,
    file: String,
}

impl SnapshotStore {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Ok(Self { db: Arc::new(store::open(path, VERSION..=VERSION)?.db), file: path.display().to_string() })
    }

    /// The checkpoint of the last snapshot; the beginning, where there is none.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn checkpoint(&self) -> Result<Checkpoint, Fault> {
        let read = || match table_if_there(&self.db.begin_read()?, CHECKPOINT)? {
            Some(table) => table.get("at")?.map_or(Ok(Checkpoint::default()), |bytes| unpack(bytes.value())),
            None => Ok(Checkpoint::default()),
        };
        self.faulted(read())
    }

    /// Every row of `table`.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn each<K: DeserializeOwned, V: DeserializeOwned>(&self, table: &'static str, mut take: impl FnMut(K, V)) -> Result<(), Fault> {
        let mut read = || -> Result<(), StoreError> {
            let Some(rows) = table_if_there(&self.db.begin_read()?, Definition::new(table))? else { return Ok(()) };
            for row in rows.iter()? {
                let (key, value) = row?;
                take(unpack(key.value())?, unpack(value.value())?);
            }
            Ok(())
        };
        self.faulted(read())
    }

    /// Every row of a table of pairs.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn each_pair(&self, table: Pairs, mut take: impl FnMut([u8; 16], [u64; 2])) -> Result<(), Fault> {
        let mut read = || -> Result<(), StoreError> {
            table.entries(&self.db.begin_read()?)?.try_for_each(|entry| entry.map(|(id, pair)| take(id, pair)))
        };
        self.faulted(read())
    }

    /// One row of `table`.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn get<K: Serialize, V: DeserializeOwned>(&self, table: &'static str, key: &K) -> Result<Option<V>, Fault> {
        let read = || match table_if_there(&self.db.begin_read()?, Definition::new(table))? {
            Some(rows) => rows.get(pack(key)?.as_slice())?.map(|bytes| unpack(bytes.value())).transpose(),
            None => Ok(None),
        };
        self.faulted(read())
    }

    /// The ids that were seen, by the last snapshot; what `before` knows is not read again.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn seen(&self, before: Option<&Seen>) -> Result<Seen, Fault> {
        let read = || Ok(Seen(SEEN.open(&self.db.begin_read()?, before.map(|before| &before.0))?));
        self.faulted(read())
    }

    /// Writes rows and checkpoint, durably and together.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn write(&self, rows: Rows, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let write = || -> Result<(), StoreError> {
            self.look_for_room(ROOM_LEFT + rows.room())?;
            let tx = self.db.begin_write()?;
            for (table, mut rows) in rows.tables {
                let mut table = tx.open_table(Definition::new(table))?;
                // In the order of the keys: what lies together is then written together.
                rows.sort_unstable();
                for (key, row) in rows {
                    match row {
                        Some(row) => table.insert(key.as_slice(), row.as_slice())?,
                        None => table.remove(key.as_slice())?,
                    };
                }
            }
            rows.pairs.into_iter().try_for_each(|(table, rows)| table.add(&tx, rows))?;
            SEEN.add(&tx, rows.seen.into_iter().map(|id| (id, [])).collect())?;
            tx.open_table(CHECKPOINT)?.insert("at", pack(checkpoint)?.as_slice())?;
            tx.commit()?;
            Ok(())
        };
        self.faulted(write())
    }

    /// Whether there is room for a snapshot, as far as that can be said before it is known what it has.
    ///
    /// # Errors
    /// [`Fault::Store`], where there is none.
    pub fn has_room(&self) -> Result<(), Fault> {
        self.faulted(self.look_for_room(LEAST_ROOM))
    }

    /// Refuses a write that may fill the disk: redb answers no question any more once one has failed, and what accounts and ids there
    /// are is asked of this file.
    fn look_for_room(&self, bytes: u64) -> Result<(), StoreError> {
        match statvfs(self.file.as_str()) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes => Err(StorageError::Io(ErrorKind::StorageFull.into()).into()),
            // Where that cannot be known, the write will tell.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The same error, as the reason for a service to halt.
    ///
    /// # Errors
    /// Always, where there is one.
    pub fn faulted<T>(&self, result: Result<T, StoreError>) -> Result<T, Fault> {
        result.map_err(|error| error.into_fault(&self.file))
    }
}
