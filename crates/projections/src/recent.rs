//! Rows of a file that were asked for lately, and those that it does not have yet. This module must never know where they stand.

use std::{collections::hash_map::Entry, convert::Infallible, hash::Hash};

use domain::{LOOKED_UP_AHEAD, Marked, look_ahead};
use foldhash::{HashMap, HashMapExt as _};

/// Rows that are known, or up to twice as many: what a hash table of 2^24 places has room for, which then takes 0.6 to 1.2 GB. With
/// 200,000 of them, a bank of a million accounts booked half as much.
const KNOWN_ROWS: usize = (1 << 24) / 8 * 7;

/// Rows in two generations: where the younger one is full, it becomes the older one, and what was not asked for since
/// the older one began is forgotten. So room and time are bounded, whatever is asked for. Rows that changed are kept in
/// their places until they were written; what is kept of others must be far more than changes between two writes.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, Marked<V>>,
    /// No key is in both.
    old: HashMap<K, Marked<V>>,
    most: usize,
    /// Each once.
    changed: Vec<K>,
    /// What was handed out last: the file may not have it yet.
    being_written: Vec<K>,
}

impl<K, V> Default for Recent<K, V> {
    /// None yet.
    fn default() -> Self {
        Self::with_room(KNOWN_ROWS)
    }
}

impl<K, V> Recent<K, V> {
    /// None yet. Of those that were written, up to twice as many are kept as `most`.
    fn with_room(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most, changed: Vec::new(), being_written: Vec::new() }
    }
}

impl<K: Eq + Hash + Copy, V: Clone> Recent<K, V> {
    /// The row of a key.
    #[must_use]
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key)).map(|row| &row.row)
    }

    /// Looks rows up that are about to be asked for, see [`look_ahead`].
    pub fn look_ahead(&self, keys: impl Iterator<Item = K>) {
        look_ahead(keys.map(|key| self.peek(&key).is_some()));
    }

    /// The row of a key, which is then kept for longer. Where it is not known, `read` says it.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get<E>(&mut self, key: K, read: impl FnOnce() -> Result<V, E>) -> Result<&V, E> {
        self.row(key, read).map(|(row, _)| &row.row)
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get_mut<E>(&mut self, key: K, read: impl FnOnce() -> Result<V, E>) -> Result<&mut V, E> {
        self.row(key, read).map(|(row, changed)| row.change(key, changed))
    }

    /// Puts a row that changed.
    pub fn insert(&mut self, key: K, row: V) {
        let Ok(old) = self.get_mut(key, || Ok::<V, Infallible>(row.clone()));
        *old = row;
    }

    /// How many changed since they were last handed out.
    #[must_use]
    pub const fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Hands out what changed since the last time. What was handed out then is in the file by now.
    #[must_use]
    pub fn take_changed(&mut self) -> Vec<(K, V)> {
        self.being_written = std::mem::take(&mut self.changed);
        let Self { young, old, being_written, .. } = self;
        let mut changed = Vec::with_capacity(being_written.len());
        for keys in being_written.chunks(LOOKED_UP_AHEAD) {
            look_ahead(keys.iter().map(|key| young.contains_key(key)));
            changed.extend(keys.iter().filter_map(|key| {
                let row = young.get_mut(key).or_else(|| old.get_mut(key))?;
                row.take_mark().then(|| (*key, row.row.clone()))
            }));
        }
        changed
    }

    /// A row in the younger generation, and the keys of those that changed.
    fn row<E>(&mut self, key: K, read: impl FnOnce() -> Result<V, E>) -> Result<(&mut Marked<V>, &mut Vec<K>), E> {
        if self.young.len() >= self.most {
            self.turn();
        }
        let row = match self.young.entry(key) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => match self.old.remove(&key) {
                Some(row) => place.insert(row),
                None => place.insert(Marked::unchanged(read()?)),
            },
        };
        Ok((row, &mut self.changed))
    }

    /// Begins a generation, with those rows of the forgotten one that the file may not have.
    fn turn(&mut self) {
        let mut forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let kept = self.changed.iter().chain(&self.being_written).filter_map(|key| forgotten.remove_entry(key));
        self.young.extend(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_KNOWN: Result<u8, ()> = Err(());

    fn known(recent: &Recent<u8, u8>) -> Vec<u8> {
        (0..u8::MAX).filter(|key| recent.peek(key).is_some()).collect()
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut recent = Recent::with_room(3);
        for key in 0..4 {
            assert_eq!(recent.get(key, || NOT_KNOWN), Err(()));
            assert_eq!(recent.get(key, || Ok::<u8, ()>(key + 10)), Ok(&(key + 10)));
        }
        assert_eq!(known(&recent), [0, 1, 2, 3]);
        assert_eq!(recent.get(2, || NOT_KNOWN), Ok(&12));
        (4..6).for_each(|key| assert!(recent.get(key, || Ok::<u8, ()>(0)).is_ok()));
        assert_eq!(known(&recent), [2, 3, 4, 5]);
        assert_eq!(recent.take_changed(), []);
    }

    #[test]
    fn what_changed_is_handed_out_once_and_kept_until_it_was_written() {
        let mut recent = Recent::with_room(2);
        recent.insert(0, 1);
        recent.insert(0, 2);
        *recent.get_mut(1, || Ok::<u8, ()>(3)).expect("a row") += 1;
        let ask_for_others = |recent: &mut Recent<u8, u8>| (10..20).for_each(|key| assert!(recent.get(key, || Ok::<u8, ()>(0)).is_ok()));
        ask_for_others(&mut recent);
        assert_eq!((recent.peek(&0), recent.peek(&1), recent.changed()), (Some(&2), Some(&4), 2));
        assert_eq!(recent.take_changed(), [(0, 2), (1, 4)]);
        ask_for_others(&mut recent);
        assert_eq!((recent.peek(&0), recent.peek(&1), recent.changed()), (Some(&2), Some(&4), 0));
        *recent.get_mut(1, || NOT_KNOWN).expect("a row") += 1;
        ask_for_others(&mut recent);
        assert_eq!(recent.take_changed(), [(1, 5)]);
        ask_for_others(&mut recent);
        assert_eq!((recent.peek(&0), recent.peek(&1)), (None, Some(&5)));
        assert_eq!(recent.take_changed(), []);
        ask_for_others(&mut recent);
        assert!(known(&recent).iter().all(|key| *key >= 10));
    }
}
