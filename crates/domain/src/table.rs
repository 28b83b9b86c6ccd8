//! A map that remembers which rows changed, so that a snapshot writes only those.
//! It must never know where snapshots go.

use std::{collections::hash_map, hash::Hash};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

/// Rows by key, with the keys changed since the last [`Table::drain_changed`].
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    rows: HashMap<K, V>,
    changed: HashSet<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), changed: HashSet::new() }
    }
}

impl<K: Eq + Hash + Copy, V> Table<K, V> {
    /// The row of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// The row of `key`, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let row = self.rows.get_mut(&key)?;
        self.changed.insert(key);
        Some(row)
    }

    /// The row of `key`, to be changed, made by `new` where there is none.
    pub fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.changed.insert(key);
        self.rows.entry(key).or_insert_with(new)
    }

    /// Puts a row.
    pub fn insert(&mut self, key: K, row: V) {
        self.changed.insert(key);
        self.rows.insert(key, row);
    }

    /// Takes a row away.
    pub fn remove(&mut self, key: K) -> Option<V> {
        self.changed.insert(key);
        self.rows.remove(&key)
    }

    /// Puts a row that a snapshot already has.
    pub fn load(&mut self, key: K, row: V) {
        self.rows.insert(key, row);
    }

    /// All rows, in no order.
    pub fn iter(&self) -> hash_map::Iter<'_, K, V> {
        self.rows.iter()
    }

    /// The rows changed since the last call, `None` where one was taken away; they count as unchanged from now on.
    pub fn drain_changed(&mut self) -> impl Iterator<Item = (K, Option<&V>)> {
        let rows = &self.rows;
        self.changed.drain().map(move |key| (key, rows.get(&key)))
    }
}
