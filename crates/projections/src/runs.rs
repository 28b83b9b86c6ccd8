//! An index by id that grows for ever, or whose entries change: what is added at once becomes a sorted run, and as
//! many runs of about one size are merged into a larger one. So an entry costs some dozens of bytes that are written
//! one after the other, however many there are, where a B-tree rewrites a page of four kilobytes for each. Of an id
//! that is in several runs, the newest counts. That an id is not in one is known from its filter, which is kept in
//! memory: two and a half bytes an id. This module must never know what an id is of.

use std::{collections::HashMap, sync::Arc};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, StorageError, Table, TableDefinition, TableError, WriteTransaction};

use crate::{
    filter::{Filter, Probe},
    merge::Merge,
    store::StoreError,
};

/// An id's bytes.
pub(crate) type Key = [u8; 16];
/// An id and its numbers.
pub(crate) type Entry<const N: usize> = (Key, [u64; N]);

/// Runs of one level that are merged into one of the next: more of them make more to look through, fewer
/// make each entry be written more often. A run has as many entries as this to the power of its level, or more.
const FANOUT: usize = 8;
/// Where no id is added twice, runs of this level are not merged any more, so that no merge takes longer than some seconds:
/// they have two to sixteen million entries. There are seven smaller ones of each level at most, so a hundred million ids
/// lie in a hundred at most.
const MOST_LEVEL: u8 = 7;
/// Where ids are added again, all levels are merged: what is superseded would stay for ever. More than 64 bits can count.
const ALL_LEVELS: u8 = 22;
/// A chunk, the part of a run that is read at once, is just below 32 KiB, which is a size of redb's pages. It is part of
/// how a run is stored.
const CHUNK_BYTES: usize = 32_640;
const KEY_BYTES: usize = 16;
const NUMBER_BYTES: usize = 8;

type Chunks = TableDefinition<'static, (u64, u32), &'static [u8]>;
type Heads = TableDefinition<'static, u64, &'static [u8]>;
type Sizes = TableDefinition<'static, u64, u64>;

/// The tables of an index with `N` numbers for each id.
#[derive(Debug, Clone, Copy)]
pub struct Index<const N: usize> {
    chunks: &'static str,
    /// By run: the first key of each chunk, and the filter.
    heads: &'static str,
    /// How many entries each run has; the newest run is the last one.
    sizes: &'static str,
    /// Runs of levels below are merged.
    most_level: u8,
}

/// A run, without its entries.
#[derive(Debug)]
struct Run {
    id: u64,
    /// The first key of each chunk.
    firsts: Vec<Key>,
    filter: Filter,
}

/// The runs of an index as they were when they were opened, the oldest first.
pub(crate) struct Runs<const N: usize> {
    runs: Vec<Arc<Run>>,
    chunks: Option<ReadOnlyTable<(u64, u32), &'static [u8]>>,
}

impl<const N: usize> Index<N> {
    /// One to which no id is added twice.
    pub(crate) const fn new(chunks: &'static str, heads: &'static str, sizes: &'static str) -> Self {
        Self { chunks, heads, sizes, most_level: MOST_LEVEL }
    }

    /// One in which the numbers of an id change. Each name is that of a table of its own.
    #[must_use]
    pub const fn changing(chunks: &'static str, heads: &'static str, sizes: &'static str) -> Self {
        Self { most_level: ALL_LEVELS, ..Self::new(chunks, heads, sizes) }
    }

    /// Opens it, if it is there; what `before` knows already is not read again.
    pub(crate) fn open(self, tx: &ReadTransaction, before: Option<&Runs<N>>) -> Result<Runs<N>, StoreError> {
        let sizes = match tx.open_table(Sizes::new(self.sizes)) {
            Ok(sizes) => sizes,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Runs { runs: Vec::new(), chunks: None }),
            Err(error) => return Err(error.into()),
        };
        // No id is given to two runs of a file.
        let known: HashMap<u64, _> = before.into_iter().flat_map(|before| &before.runs).map(|run| (run.id, run)).collect();
        let (heads, mut runs) = (tx.open_table(Heads::new(self.heads))?, Vec::new());
        for row in sizes.iter()? {
            let (id, entries) = row?;
            let (id, entries) = (id.value(), entries.value());
            runs.push(match known.get(&id) {
                Some(run) => Arc::clone(run),
                None => {
                    let head = heads.get(id)?.and_then(|head| Run::load(id, count::<N>(entries), head.value()));
                    Arc::new(head.ok_or_else(|| StorageError::Corrupted(format!("the head of run {id} makes no sense")))?)
                }
            });
        }
        Ok(Runs { runs, chunks: Some(tx.open_table(Chunks::new(self.chunks))?) })
    }

    /// Adds entries, no id twice.
    pub(crate) fn add(self, tx: &WriteTransaction, mut entries: Vec<Entry<N>>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        let (count, mut entries) = (entries.len(), entries.into_iter());
        self.write(tx, count, |_| Ok(entries.next()))?;
        (0..self.most_level).try_for_each(|level| self.merge(tx, level))
    }

    /// Makes one run of the newest ones up to a level, where there are enough of that level. They lie together in time,
    /// so that what is newer than one of them is newer than all.
    fn merge(self, tx: &WriteTransaction, level: u8) -> Result<(), StoreError> {
        let (mut newest, mut most, mut of_level) = (Vec::new(), 0, 0);
        for row in tx.open_table(Sizes::new(self.sizes))?.iter()?.rev() {
            let (id, entries) = row?;
            let entries = usize::try_from(entries.value()).unwrap_or(usize::MAX);
            if level_of(entries) > level {
                break;
            }
            newest.push(id.value());
            most += entries;
            of_level += usize::from(level_of(entries) == level);
        }
        if of_level < FANOUT {
            return Ok(());
        }
        for id in &newest {
            tx.open_table(Heads::new(self.heads))?.remove(id)?;
            tx.open_table(Sizes::new(self.sizes))?.remove(id)?;
        }
        let mut merged = Merge::of(newest);
        // What a run is made of is taken away as it is read.
        self.write(tx, most, |chunks| merged.next(|id, number| Ok(chunks.remove((id, number))?.map(|chunk| chunk.value().to_vec()))))
    }

    /// Writes a run of at most as many entries.
    fn write(
        self,
        tx: &WriteTransaction,
        most: usize,
        mut next: impl FnMut(&mut Writable<'_>) -> Result<Option<Entry<N>>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut chunks = tx.open_table(Chunks::new(self.chunks))?;
        let id = chunks.last()?.map_or(0, |(place, _)| place.value().0) + 1;
        let (mut filter, mut firsts, mut count) = (Filter::for_keys(most), Vec::new(), 0);
        let (mut keys, mut numbers) = (Vec::with_capacity(CHUNK_BYTES), Vec::with_capacity(CHUNK_BYTES));
        loop {
            let entry = next(&mut chunks)?;
            if let Some((key, values)) = entry {
                filter.note(&key);
                if keys.is_empty() {
                    firsts.push(key);
                }
                count += 1;
                keys.extend_from_slice(&key);
                values.iter().for_each(|value| numbers.extend_from_slice(&value.to_be_bytes()));
            }
            if keys.len() == chunk_entries::<N>() * KEY_BYTES || (entry.is_none() && !keys.is_empty()) {
                keys.append(&mut numbers);
                chunks.insert((id, chunk_number(firsts.len() - 1)), keys.as_slice())?;
                keys.clear();
            }
            if entry.is_none() {
                let run = Run { id, firsts, filter: filter.folded_for(count) };
                tx.open_table(Heads::new(self.heads))?.insert(id, run.to_bytes().as_slice())?;
                tx.open_table(Sizes::new(self.sizes))?.insert(id, count as u64)?;
                return Ok(());
            }
        }
    }

    /// All entries, in the order of their keys.
    pub(crate) fn entries(self, tx: &ReadTransaction) -> Result<impl Iterator<Item = Result<Entry<N>, StoreError>> + use<N>, StoreError> {
        let Runs { runs, chunks } = self.open(tx, None)?;
        let mut merged = Merge::of(runs.iter().rev().map(|run| run.id).collect());
        let chunk = move |id, number| match &chunks {
            Some(chunks) => Ok(chunks.get((id, number))?.map(|chunk| chunk.value().to_vec())),
            None => Ok(None),
        };
        Ok(std::iter::from_fn(move || merged.next(&chunk).transpose()))
    }
}

type Writable<'tx> = Table<'tx, (u64, u32), &'static [u8]>;

/// The level of a run of so many entries.
fn level_of(entries: usize) -> u8 {
    u8::try_from(entries.max(1).ilog(FANOUT)).unwrap_or(ALL_LEVELS)
}

const fn chunk_entries<const N: usize>() -> usize {
    CHUNK_BYTES / (KEY_BYTES + N * NUMBER_BYTES)
}

/// How many chunks as many entries make.
fn count<const N: usize>(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX).div_ceil(chunk_entries::<N>())
}

impl Run {
    /// The first key of each chunk, and the filter.
    fn to_bytes(&self) -> Vec<u8> {
        [self.firsts.as_flattened(), &self.filter.to_bytes()].concat()
    }

    fn load(id: u64, chunks: usize, head: &[u8]) -> Option<Self> {
        let (firsts, filter) = head.split_at_checked(KEY_BYTES.checked_mul(chunks)?)?;
        Some(Self { id, firsts: firsts.as_chunks().0.to_vec(), filter: Filter::from_bytes(filter)? })
    }
}

impl<const N: usize> Runs<N> {
    /// What the index has for a key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<[u64; N]>, StoreError> {
        let Some(chunks) = &self.chunks else { return Ok(None) };
        let probe = Probe::for_key(key);
        for run in self.runs.iter().rev().filter(|run| run.filter.may_have(&probe)) {
            let Some(number) = run.firsts.partition_point(|first| first <= key).checked_sub(1) else { continue };
            let chunk = chunks.get((run.id, chunk_number(number)))?;
            let chunk = chunk.ok_or_else(|| StorageError::Corrupted(format!("run {} has no chunk {number}", run.id)))?;
            let chunk = Chunk::<N>::of(chunk.value());
            if let Ok(place) = chunk.keys.binary_search(key) {
                return Ok(Some(chunk.numbers(place)));
            }
        }
        Ok(None)
    }
}

/// A chunk: its keys, and then the numbers of each.
pub(crate) struct Chunk<'a, const N: usize> {
    pub(crate) keys: &'a [Key],
    numbers: &'a [[u8; NUMBER_BYTES]],
}

impl<'a, const N: usize> Chunk<'a, N> {
    pub(crate) fn of(chunk: &'a [u8]) -> Self {
        let entries = chunk.len() / (KEY_BYTES + N * NUMBER_BYTES);
        let (keys, numbers) = chunk.split_at(entries * KEY_BYTES);
        Self { keys: keys.as_chunks().0, numbers: numbers.as_chunks().0 }
    }

    /// The numbers of the key at this place.
    pub(crate) fn numbers(&self, place: usize) -> [u64; N] {
        std::array::from_fn(|number| u64::from_be_bytes(self.numbers[place * N + number]))
    }
}

fn chunk_number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase as _, backends::InMemoryBackend};
    use uuid::Uuid;

    use super::*;

    const INDEX: Index<1> = Index::new("chunks", "heads", "sizes");
    const CHANGING: Index<2> = Index::changing("chunks", "heads", "sizes");

    fn key(number: u64) -> Key {
        *Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).as_bytes()
    }

    fn file() -> Database {
        Database::builder().create_with_backend(InMemoryBackend::new()).expect("a store in memory")
    }

    fn added<const N: usize>(db: &Database, index: Index<N>, entries: Vec<Entry<N>>, before: Option<&Runs<N>>) -> Runs<N> {
        let mut tx = db.begin_write().expect("a transaction");
        tx.set_durability(redb::Durability::None).expect("not needed");
        index.add(&tx, entries).expect("added");
        tx.commit().expect("committed");
        index.open(&db.begin_read().expect("a transaction"), before).expect("opened")
    }

    fn sizes<const N: usize>(db: &Database, index: Index<N>) -> Vec<u64> {
        let sizes = db.begin_read().expect("a transaction").open_table(Sizes::new(index.sizes)).expect("a table");
        sizes.iter().expect("rows").map(|row| row.expect("a row").1.value()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// So many entries in so many batches that runs of every level are made, and chunks are filled.
        #[test]
        fn every_key_has_its_value_and_no_other_has_one(batches in prop::collection::vec(1_u64..400, 1..80), first in 1_u64..4_000) {
            let (db, mut expected, mut next, mut runs) = (file(), BTreeMap::new(), 0, None);
            for size in [first].into_iter().chain(batches) {
                let entries: Vec<_> = (next..next + size).map(|number| (key(number), [number])).collect();
                next += size;
                expected.extend(entries.iter().copied());
                runs = Some(added(&db, INDEX, entries, runs.as_ref()));
            }
            let runs = runs.expect("at least one batch");
            prop_assert_eq!(sizes(&db, INDEX).iter().sum::<u64>(), next);
            for number in 0..next + 1_000 {
                let key = key(number);
                prop_assert_eq!(runs.get(&key).expect("read"), expected.get(&key).copied());
            }
            let tx = db.begin_read().expect("a transaction");
            let all: Result<Vec<_>, _> = INDEX.entries(&tx).expect("opened").collect();
            prop_assert_eq!(all.expect("read"), expected.into_iter().collect::<Vec<_>>());
        }

        /// Batches of any sizes that change keys of earlier ones, large and small ones in any order.
        #[test]
        fn of_a_key_that_changes_the_newest_numbers_count(batches in prop::collection::vec((0_u64..3_000, 1_u64..3_000), 1..60)) {
            let (db, mut expected, mut runs) = (file(), BTreeMap::new(), None);
            for (batch, (first, size)) in (0..).zip(batches) {
                let size = if batch % 3 == 0 { size } else { size % 20 + 1 };
                let entries: Vec<_> = (first..first + size).map(|number| (key(number), [number, batch])).collect();
                expected.extend(entries.iter().copied());
                runs = Some(added(&db, CHANGING, entries, runs.as_ref()));
            }
            let runs = runs.expect("at least one batch");
            for number in 0..7_000 {
                let key = key(number);
                prop_assert_eq!(runs.get(&key).expect("read"), expected.get(&key).copied());
            }
            let tx = db.begin_read().expect("a transaction");
            let all: Result<Vec<_>, _> = CHANGING.entries(&tx).expect("opened").collect();
            prop_assert_eq!(all.expect("read"), expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn however_little_is_added_at_once_there_are_few_runs() {
        const ADDED: u64 = 600;
        let (db, mut runs) = (file(), None);
        for number in 0..ADDED {
            runs = Some(added(&db, INDEX, vec![(key(number), [number])], runs.as_ref()));
        }
        // In base 8, 600 has the digits 1130.
        assert_eq!(sizes(&db, INDEX), [512, 64, 8, 8, 8]);
        let runs = runs.expect("added");
        assert!((0..ADDED).all(|number| runs.get(&key(number)).expect("read") == Some([number])));
    }

    #[test]
    fn what_is_superseded_does_not_stay() {
        const KEYS: u64 = 5_000;
        let (db, mut runs) = (file(), None);
        for round in 0..FANOUT as u64 * 2 {
            let entries = (0..KEYS).map(|number| (key(number), [number, round])).collect();
            runs = Some(added(&db, CHANGING, entries, runs.as_ref()));
        }
        let runs = runs.expect("added");
        assert!(sizes(&db, CHANGING).iter().sum::<u64>() <= KEYS * FANOUT as u64);
        assert!((0..KEYS).all(|number| runs.get(&key(number)).expect("read") == Some([number, FANOUT as u64 * 2 - 1])));
    }
}
