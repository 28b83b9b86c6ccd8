//! A table that is too large for memory: rows are read from the snapshot when they are asked for,
//! and those that changed since are kept until they stand in it. It must never know what a row means.

use std::{collections::hash_map::Entry, hash::Hash};

use foldhash::{HashMap, HashMapExt as _};
use projections::{Rows, SnapshotStore, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use streams::Fault;

/// Rows kept after they were read; the cache begins anew when it is full. About 30 MB.
const CACHED_ROWS: usize = 200_000;

/// Keys must be ordered as their packed bytes are.
#[derive(Debug)]
pub(crate) struct LazyTable<K, V> {
    name: &'static str,
    /// Not in any snapshot yet.
    changed: HashMap<K, V>,
    /// In the snapshot that is being written, or in the last one.
    written: HashMap<K, V>,
    /// Read from the snapshot; `None` for a key that it does not have.
    cached: HashMap<K, Option<V>>,
    /// The largest key of the snapshot. Most ids are timed (UUID version 7), so that new ones are
    /// larger, and need not be looked for.
    last: Option<Option<K>>,
}

impl<K: Ord + Hash + Copy + Serialize + DeserializeOwned, V: Clone + Serialize + DeserializeOwned> LazyTable<K, V> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, changed: HashMap::new(), written: HashMap::new(), cached: HashMap::new(), last: None }
    }

    pub(crate) fn get(&mut self, store: &SnapshotStore, key: K) -> Result<Option<V>, Fault> {
        if let Some(row) = self.changed.get(&key).or_else(|| self.written.get(&key)) {
            return Ok(Some(row.clone()));
        }
        if self.last(store)?.is_none_or(|last| last < key) {
            return Ok(None);
        }
        if self.cached.len() >= CACHED_ROWS {
            self.cached.clear();
        }
        Ok(match self.cached.entry(key) {
            Entry::Occupied(row) => row.get().clone(),
            Entry::Vacant(place) => place.insert(store.get(self.name, &key)?).clone(),
        })
    }

    fn last(&mut self, store: &SnapshotStore) -> Result<Option<K>, Fault> {
        if self.last.is_none() {
            self.last = Some(store.last(self.name)?);
        }
        Ok(self.last.flatten())
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.cached.remove(&key);
        self.changed.insert(key, row);
    }

    /// Hands out what changed. The snapshot before is complete by now, so its rows can be forgotten.
    pub(crate) fn drain_into(&mut self, rows: &mut Rows) -> Result<(), StoreError> {
        self.written = std::mem::take(&mut self.changed);
        self.last = None;
        self.written.iter().try_for_each(|(key, row)| rows.put(self.name, key, Some(row)))
    }
}
