//! A table that may be too large for memory: rows are read from the snapshot when they are asked for, and known from
//! then on as far as there is room; those that changed since are kept until they stand in it. It must never know what a row means.

use std::hash::Hash;

use domain::look_ahead;
use foldhash::{HashMap, HashMapExt as _};
use projections::{Recent, Rows, SnapshotStore, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use streams::Fault;

/// Rows known without a look at the snapshot, or up to twice as many: what a hash table of 2^24 places has room for, which
/// then takes 0.9 GB. With 200,000 of them, a bank of a million accounts booked half as much.
const KNOWN_ROWS: usize = (1 << 24) / 8 * 7;

#[derive(Debug)]
pub(crate) struct LazyTable<K, V> {
    name: &'static str,
    /// Not in any snapshot yet.
    changed: HashMap<K, V>,
    /// In the snapshot that is being written, or in the last one.
    written: HashMap<K, V>,
    /// As the snapshots have them; `None` for a key that they do not have.
    known: Recent<K, Option<V>>,
}

impl<K: Eq + Hash + Copy + Serialize, V: Clone + Serialize + DeserializeOwned> LazyTable<K, V> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, changed: HashMap::new(), written: HashMap::new(), known: Recent::new(KNOWN_ROWS) }
    }

    pub(crate) fn get(&mut self, store: &SnapshotStore, key: K) -> Result<Option<V>, Fault> {
        if let Some(row) = self.changed.get(&key).or_else(|| self.written.get(&key)) {
            return Ok(Some(row.clone()));
        }
        if let Some(row) = self.known.get(&key) {
            return Ok(row.clone());
        }
        let row: Option<V> = store.get(self.name, &key)?;
        self.known.put(key, row.clone());
        Ok(row)
    }

    /// The row of a key, where it is known without a look at the snapshot and has not changed since.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.known.peek(key).and_then(Option::as_ref)
    }

    /// Looks rows up that are about to be asked for.
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = K>) {
        look_ahead(keys.map(|key| self.known.peek(&key).is_some()));
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.changed.insert(key, row);
    }

    /// Hands out what changed. The snapshot before is complete by now, so its rows can be forgotten.
    pub(crate) fn drain_into(&mut self, rows: &mut Rows) -> Result<(), StoreError> {
        for (key, row) in self.written.drain() {
            self.known.put(key, Some(row));
        }
        self.written = std::mem::take(&mut self.changed);
        self.written.iter().try_for_each(|(key, row)| rows.put(self.name, key, Some(row)))
    }
}
