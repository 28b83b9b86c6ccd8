//! A table that may be too large for memory: rows are read from the snapshot when they are asked for, and known from
//! then on as far as there is room; those that changed since are kept until they stand in it. It must never know what a row means.

use std::hash::Hash;

use projections::{Recent, Rows, SnapshotStore, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use streams::Fault;

#[derive(Debug)]
pub(crate) struct LazyTable<K, V> {
    name: &'static str,
    /// `None` for a key that the snapshots do not have.
    rows: Recent<K, Option<V>>,
}

impl<K: Eq + Hash + Copy + Serialize, V: Clone + Serialize + DeserializeOwned> LazyTable<K, V> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rows: Recent::default() }
    }

    pub(crate) fn get(&mut self, store: &SnapshotStore, key: K) -> Result<Option<V>, Fault> {
        self.rows.get(key, || store.get(self.name, &key)).cloned()
    }

    /// The row of a key, where it is known without a look at the snapshot.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.rows.peek(key).and_then(Option::as_ref)
    }

    /// Looks rows up that are about to be asked for.
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = K>) {
        self.rows.look_ahead(keys);
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.rows.insert(key, Some(row));
    }

    /// Hands out what changed. The snapshot before is complete by now, so its rows can be forgotten.
    pub(crate) fn drain_into(&mut self, snapshot: &mut Rows) -> Result<(), StoreError> {
        self.rows.take_changed().iter().try_for_each(|(key, row)| snapshot.put(self.name, key, row.as_ref()))
    }
}
