//! A map that remembers which rows changed, so that a snapshot writes only those.
//! It must never know where snapshots go.

use std::{collections::hash_map::Entry, hash::Hash, hint::black_box};

use foldhash::{HashMap, HashMapExt as _};

/// Looks up what is about to be asked for, whether it is found or not, one right after the other: the waits for memory then
/// overlap, which those of one decision after the other do not (bench/README.md has what it saves).
pub fn look_ahead(found: impl Iterator<Item = bool>) {
    black_box(found.filter(|is_found| *is_found).count());
}

/// How many are looked up at once where all rows that changed are handed out: what a core waits for together, several times over.
pub const LOOKED_UP_AHEAD: usize = 64;

/// Rows by key, with the keys changed since the last [`Table::drain_changed`].
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    rows: HashMap<K, Marked<V>>,
    /// Each once, but those that were taken away and put again.
    changed: Vec<K>,
}

/// A row in which stands whether it changed: a set of keys would be one more place in memory to look for, with each change.
#[derive(Debug, Clone)]
pub struct Marked<V> {
    /// The row, to be read.
    pub row: V,
    is_changed: bool,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), changed: Vec::new() }
    }
}

impl<K: Eq + Hash + Copy, V> Table<K, V> {
    /// The row of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &row.row)
    }

    /// The row of `key`, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.rows.get_mut(&key).map(|row| row.change(key, &mut self.changed))
    }

    /// The row of `key`, to be changed, made by `new` where there is none.
    pub fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.rows.entry(key).or_insert_with(|| Marked::unchanged(new())).change(key, &mut self.changed)
    }

    /// Looks rows up that are about to be asked for, see [`look_ahead`].
    pub fn look_ahead(&self, keys: impl Iterator<Item = K>) {
        look_ahead(keys.map(|key| self.rows.contains_key(&key)));
    }

    /// Puts a row.
    pub fn insert(&mut self, key: K, row: V) {
        match self.rows.entry(key) {
            Entry::Occupied(old) => *old.into_mut().change(key, &mut self.changed) = row,
            Entry::Vacant(place) => drop(place.insert(Marked::unchanged(row)).change(key, &mut self.changed)),
        }
    }

    /// Takes a row away.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let row = self.rows.remove(&key)?;
        self.changed.push(key);
        Some(row.row)
    }

    /// Puts a row that a snapshot already has.
    pub fn load(&mut self, key: K, row: V) {
        self.rows.insert(key, Marked::unchanged(row));
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.row))
    }

    /// Hands out the rows changed since the last call, `None` where one was taken away; they count as unchanged from now on.
    ///
    /// # Errors
    /// The first that `take` has.
    pub fn drain_changed<E>(&mut self, mut take: impl FnMut(K, Option<&V>) -> Result<(), E>) -> Result<(), E> {
        let (rows, changed) = (&mut self.rows, std::mem::take(&mut self.changed));
        changed.chunks(LOOKED_UP_AHEAD).try_for_each(|keys| {
            look_ahead(keys.iter().map(|key| rows.contains_key(key)));
            keys.iter().try_for_each(|key| match rows.get_mut(key).map(|row| (row.take_mark(), &row.row)) {
                Some((true, row)) => take(*key, Some(row)),
                // It was taken away, put again, and handed out.
                Some((false, _)) => Ok(()),
                None => take(*key, None),
            })
        })
    }
}

impl<V> Marked<V> {
    /// A row that did not change yet.
    pub const fn unchanged(row: V) -> Self {
        Self { row, is_changed: false }
    }

    /// The row, to be changed; with the first change since its mark was taken, its key is noted.
    pub fn change<K>(&mut self, key: K, changed: &mut Vec<K>) -> &mut V {
        if !self.is_changed {
            self.is_changed = true;
            changed.push(key);
        }
        &mut self.row
    }

    /// Whether it changed since the last call.
    pub const fn take_mark(&mut self) -> bool {
        std::mem::replace(&mut self.is_changed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(table: &mut Table<u8, u8>) -> Vec<(u8, Option<u8>)> {
        let mut drained = Vec::new();
        let all: Result<(), ()> = table.drain_changed(|key, row| {
            drained.push((key, row.copied()));
            Ok(())
        });
        all.expect("nothing fails");
        drained
    }

    #[test]
    fn what_changed_is_handed_out_once_as_it_is_in_the_end() {
        let mut table = Table::default();
        (0..4).for_each(|key| table.load(key, 0));
        table.insert(0, 1);
        *table.get_mut(0).expect("a row") += 1;
        table.remove(1);
        table.remove(2);
        table.insert(2, 5);
        *table.get_or_insert_with(9, || 7) += 1;
        assert_eq!(drained(&mut table), [(0, Some(2)), (1, None), (2, Some(5)), (9, Some(8))]);
        assert_eq!(drained(&mut table), []);
        *table.get_mut(3).expect("a row") = 6;
        table.remove(9);
        table.insert(9, 1);
        assert_eq!(drained(&mut table), [(3, Some(6)), (9, Some(1))]);
        assert_eq!(table.iter().count(), 4);
    }
}
