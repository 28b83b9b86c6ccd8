//! A table that is too large for memory: rows are read from the snapshot when they are asked for,
//! and those that changed since are kept until they stand in it. It must never know what a row means.

use std::{collections::hash_map::Entry, hash::Hash};

use foldhash::{HashMap, HashMapExt as _};
use projections::{Rows, SnapshotStore, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use streams::Fault;

/// Rows kept after they were read; the cache begins anew when it is full. About 30 MB.
const CACHED_ROWS: usize = 200_000;

#[derive(Debug)]
pub(crate) struct LazyTable<K, V> {
    name: &'static str,
    /// Not in any snapshot yet.
    changed: HashMap<K, V>,
    /// In the snapshot that is being written, or in the last one.
    written: HashMap<K, V>,
    /// Read from the snapshot; `None` for a key that it does not have.
    cached: HashMap<K, Option<V>>,
}

impl<K: Eq + Hash + Copy + Serialize, V: Clone + Serialize + DeserializeOwned> LazyTable<K, V> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, changed: HashMap::new(), written: HashMap::new(), cached: HashMap::new() }
    }

    pub(crate) fn get(&mut self, store: &SnapshotStore, key: K) -> Result<Option<V>, Fault> {
        if let Some(row) = self.changed.get(&key).or_else(|| self.written.get(&key)) {
            return Ok(Some(row.clone()));
        }
        if self.cached.len() >= CACHED_ROWS {
            self.cached.clear();
        }
        Ok(match self.cached.entry(key) {
            Entry::Occupied(row) => row.get().clone(),
            Entry::Vacant(place) => place.insert(store.get(self.name, &key)?).clone(),
        })
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.cached.remove(&key);
        self.changed.insert(key, row);
    }

    /// Hands out what changed. The snapshot before is complete by now, so its rows can be forgotten.
    pub(crate) fn drain_into(&mut self, rows: &mut Rows) -> Result<(), StoreError> {
        self.written = std::mem::take(&mut self.changed);
        self.written.iter().try_for_each(|(key, row)| rows.put(self.name, key, Some(row)))
    }
}
