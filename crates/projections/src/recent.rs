//! Rows that were asked for or changed lately, so that a file is not. This module must never know where they stand.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

/// Rows in two generations: where the younger one is full, it becomes the older one, and what was not asked for since
/// the older one began is forgotten. So room and time are bounded, whatever is asked for.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// None yet; up to twice as many are kept as `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    /// The row of a key.
    #[must_use]
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The row of a key, which is then kept for longer.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if !self.old.is_empty()
            && let Some((key, row)) = self.old.remove_entry(key)
            && !self.young.contains_key(&key)
        {
            self.put(key, row);
        }
        self.young.get(key)
    }

    /// Keeps a row.
    pub fn put(&mut self, key: K, row: V) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_row_counts_and_what_nobody_asks_for_is_forgotten() {
        let mut recent = Recent::new(3);
        (0..4).for_each(|key| recent.put(key, 0));
        recent.put(0, 1);
        assert_eq!((recent.peek(&0), recent.peek(&1)), (Some(&1), Some(&0)));
        assert_eq!(recent.get(&2), Some(&0));
        recent.put(4, 0);
        assert_eq!((recent.peek(&0), recent.peek(&1), recent.peek(&2)), (Some(&1), None, Some(&0)));
        assert_eq!(recent.get(&1), None);
    }
}
