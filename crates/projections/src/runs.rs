//! An index by id that grows for ever: what is added at once becomes a sorted run, and as many runs of about
//! one size are merged into a larger one. So an id costs some dozens of bytes that are written one after the other,
//! however many there are, where a B-tree rewrites a page of four kilobytes for each. That an id is not
//! there is known from the runs' filters, which are kept in memory: a byte and a half an id.
//! This module must never know what an id is of.

use std::{collections::HashMap, sync::Arc};

use redb::{
    AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable as _, StorageError, Table, TableDefinition, TableError, WriteTransaction,
};

use crate::{
    filter::{Filter, Probe},
    store::StoreError,
};

/// An id's bytes.
pub(crate) type Key = [u8; 16];

/// Runs of one level that are merged into one of the next: more of them make more to look through, fewer
/// make each id be written more often. A run has as many entries as this to the power of its level, or more.
const FANOUT: usize = 8;
/// Runs of this level are not merged any more, so that no merge takes longer than some seconds: they have two to
/// sixteen million entries. There are seven smaller ones of each level at most, so a hundred million ids lie in a hundred at most.
const MOST_LEVEL: u8 = 7;
/// Entries of a chunk, the part of a run that is read at once: just below 32 KiB, which is a size of redb's pages. It
/// is part of how a run is stored.
const CHUNK_ENTRIES: usize = 1_360;
const KEY_BYTES: usize = 16;
const ENTRY_BYTES: usize = KEY_BYTES + 8;

pub(crate) type Chunks = TableDefinition<'static, (u64, u32), &'static [u8]>;
/// By level and run.
type Heads = TableDefinition<'static, (u8, u64), &'static [u8]>;

/// The tables of an index.
#[derive(Clone, Copy)]
pub(crate) struct Index {
    chunks: Chunks,
    heads: Heads,
}

/// A run, without its entries.
#[derive(Debug)]
struct Run {
    id: u64,
    entries: usize,
    /// The first key of each chunk.
    firsts: Vec<Key>,
    filter: Filter,
}

/// The runs of an index as they were when they were opened.
pub(crate) struct Runs {
    runs: Vec<Arc<Run>>,
    chunks: Option<ReadOnlyTable<(u64, u32), &'static [u8]>>,
}

impl Index {
    pub(crate) const fn new(chunks: &'static str, heads: &'static str) -> Self {
        Self { chunks: Chunks::new(chunks), heads: Heads::new(heads) }
    }

    /// The table of its entries, for who looks at a file.
    pub(crate) const fn chunks(self) -> Chunks {
        self.chunks
    }

    /// Opens it, if it is there; what `before` knows already is not read again.
    pub(crate) fn open(self, tx: &ReadTransaction, before: Option<&Runs>) -> Result<Runs, StoreError> {
        let heads = match tx.open_table(self.heads) {
            Ok(heads) => heads,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Runs { runs: Vec::new(), chunks: None }),
            Err(error) => return Err(error.into()),
        };
        // No id is given to two runs of a file.
        let known: HashMap<u64, _> = before.into_iter().flat_map(|before| &before.runs).map(|run| (run.id, run)).collect();
        let mut runs = Vec::new();
        for row in heads.iter()? {
            let (key, head) = row?;
            let (_, id) = key.value();
            runs.push(known.get(&id).map_or_else(|| Run::load(id, head.value()).map(Arc::new), |run| Ok(Arc::clone(run)))?);
        }
        Ok(Runs { runs, chunks: Some(tx.open_table(self.chunks)?) })
    }

    /// Adds entries whose keys the index does not have yet.
    pub(crate) fn add(self, tx: &WriteTransaction, mut entries: Vec<(Key, u64)>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_unstable();
        let (count, mut entries) = (entries.len(), entries.into_iter());
        self.write(tx, level_of(count), count, |_| Ok(entries.next()))?;
        (0..MOST_LEVEL).try_for_each(|level| self.merge(tx, level))
    }

    /// Makes one run of those of a level, where these are enough.
    fn merge(self, tx: &WriteTransaction, level: u8) -> Result<(), StoreError> {
        let ids = |row: Result<(AccessGuard<'_, (u8, u64)>, _), StorageError>| row.map(|(key, _)| key.value().1);
        let runs: Vec<u64> = tx.open_table(self.heads)?.range((level, 0)..=(level, u64::MAX))?.map(ids).collect::<Result<_, _>>()?;
        if runs.len() < FANOUT {
            return Ok(());
        }
        let mut count = 0;
        for id in &runs {
            let head = tx.open_table(self.heads)?.remove((level, *id))?.map(|head| Run::load(*id, head.value()));
            count += head.transpose()?.map_or(0, |run| run.entries);
        }
        let mut sources = runs.iter().map(|id| Source::new(*id)).collect();
        self.write(tx, level_of(count), count, |chunks| least(&mut sources, chunks))
    }

    /// Writes a run of `count` entries. What it is merged from is taken away as it is read.
    fn write(
        self,
        tx: &WriteTransaction,
        level: u8,
        count: usize,
        mut next: impl FnMut(&mut Writable<'_>) -> Next,
    ) -> Result<(), StoreError> {
        let (mut chunks, mut heads) = (tx.open_table(self.chunks)?, tx.open_table(self.heads)?);
        let id = chunks.last()?.map_or(0, |(place, _)| place.value().0) + 1;
        let (mut filter, mut firsts, mut chunk) = (Filter::for_keys(count), Vec::new(), Vec::new());
        loop {
            let entry = next(&mut chunks)?;
            if let Some((key, value)) = entry {
                filter.note(&key);
                if chunk.is_empty() {
                    firsts.push(key);
                }
                chunk.extend_from_slice(&key);
                chunk.extend_from_slice(&value.to_be_bytes());
            }
            if chunk.len() == CHUNK_ENTRIES * ENTRY_BYTES || (entry.is_none() && !chunk.is_empty()) {
                chunks.insert((id, chunk_number(firsts.len() - 1)), chunk.as_slice())?;
                chunk.clear();
            }
            if entry.is_none() {
                heads.insert((level, id), Run { id, entries: count, firsts, filter }.to_bytes().as_slice())?;
                return Ok(());
            }
        }
    }
}

type Writable<'tx> = Table<'tx, (u64, u32), &'static [u8]>;
type Next = Result<Option<(Key, u64)>, StoreError>;

/// A run that is merged into another.
struct Source {
    id: u64,
    chunks: u32,
    /// What was read of it, the next one last.
    ahead: Vec<(Key, u64)>,
}

impl Source {
    const fn new(id: u64) -> Self {
        Self { id, chunks: 0, ahead: Vec::new() }
    }

    fn peek(&mut self, chunks: &mut Writable<'_>) -> Next {
        if self.ahead.is_empty()
            && let Some(chunk) = chunks.remove((self.id, self.chunks))?
        {
            self.chunks += 1;
            self.ahead.extend(entries(chunk.value()).rev());
        }
        Ok(self.ahead.last().copied())
    }
}

/// The least of what the sources have; those that have nothing more are left out from then on.
fn least(sources: &mut Vec<Source>, chunks: &mut Writable<'_>) -> Next {
    let mut least: Option<(usize, (Key, u64))> = None;
    let mut index = 0;
    while index < sources.len() {
        match sources[index].peek(chunks)? {
            Some(entry) => {
                least = least.filter(|(_, before)| *before < entry).or(Some((index, entry)));
                index += 1;
            }
            None => drop(sources.swap_remove(index)),
        }
    }
    Ok(least.and_then(|(index, _)| sources[index].ahead.pop()))
}

/// The level of a run of so many entries.
fn level_of(entries: usize) -> u8 {
    u8::try_from(entries.max(1).ilog(FANOUT)).unwrap_or(MOST_LEVEL).min(MOST_LEVEL)
}

impl Run {
    /// How many entries, the first key of each chunk, and the filter.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.entries as u64).to_be_bytes().to_vec();
        bytes.extend_from_slice(self.firsts.as_flattened());
        bytes.extend_from_slice(&self.filter.to_bytes());
        bytes
    }

    fn load(id: u64, head: &[u8]) -> Result<Self, StoreError> {
        let parts = || {
            let (entries, rest) = head.split_first_chunk()?;
            let entries = usize::try_from(u64::from_be_bytes(*entries)).ok()?;
            let (firsts, filter) = rest.split_at_checked(KEY_BYTES.checked_mul(entries.div_ceil(CHUNK_ENTRIES))?)?;
            Some(Self { id, entries, firsts: firsts.as_chunks().0.to_vec(), filter: Filter::from_bytes(filter)? })
        };
        parts().ok_or_else(|| StorageError::Corrupted(format!("the head of run {id} makes no sense")).into())
    }
}

impl Runs {
    /// What the index has for a key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let Some(chunks) = &self.chunks else { return Ok(None) };
        let probe = Probe::for_key(key);
        for run in self.runs.iter().filter(|run| run.filter.may_have(&probe)) {
            let Some(number) = run.firsts.partition_point(|first| first <= key).checked_sub(1) else { continue };
            let chunk = chunks.get((run.id, chunk_number(number)))?;
            let chunk = chunk.ok_or_else(|| StorageError::Corrupted(format!("run {} has no chunk {number}", run.id)))?;
            let found = chunk.value().as_chunks::<ENTRY_BYTES>().0;
            if let Ok(place) = found.binary_search_by(|entry| entry[..KEY_BYTES].cmp(key)) {
                return Ok(Some(parse(&found[place]).1));
            }
        }
        Ok(None)
    }
}

/// The entries of a chunk, in the order of their keys.
pub(crate) fn entries(chunk: &[u8]) -> impl DoubleEndedIterator<Item = (Key, u64)> {
    chunk.as_chunks::<ENTRY_BYTES>().0.iter().map(parse)
}

fn parse(entry: &[u8; ENTRY_BYTES]) -> (Key, u64) {
    let (mut key, mut value) = ([0; KEY_BYTES], [0; 8]);
    key.copy_from_slice(&entry[..KEY_BYTES]);
    value.copy_from_slice(&entry[KEY_BYTES..]);
    (key, u64::from_be_bytes(value))
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

    const INDEX: Index = Index::new("chunks", "heads");

    fn key(number: u64) -> Key {
        *Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).as_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// So many entries in so many batches that runs of every level are made, and chunks are filled.
        #[test]
        fn every_key_has_its_value_and_no_other_has_one(sizes in prop::collection::vec(1_u64..400, 1..80), first in 1_u64..4_000) {
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a store in memory");
            let (mut expected, mut next, mut runs) = (BTreeMap::new(), 0, None);
            for size in [first].into_iter().chain(sizes) {
                let entries: Vec<_> = (next..next + size).map(|number| (key(number), number)).collect();
                next += size;
                expected.extend(entries.iter().copied());
                let tx = db.begin_write().expect("a transaction");
                INDEX.add(&tx, entries).expect("added");
                tx.commit().expect("committed");
                runs = Some(INDEX.open(&db.begin_read().expect("a transaction"), runs.as_ref()).expect("opened"));
            }
            let runs = runs.expect("at least one batch");
            prop_assert_eq!(runs.runs.iter().map(|run| run.entries).sum::<usize>(), expected.len());
            for number in 0..next + 1_000 {
                let key = key(number);
                prop_assert_eq!(runs.get(&key).expect("read"), expected.get(&key).copied());
            }
            let afresh = INDEX.open(&db.begin_read().expect("a transaction"), None).expect("opened");
            prop_assert!(expected.iter().all(|(key, value)| afresh.get(key).expect("read") == Some(*value)));
        }
    }
    #[test]
    fn however_little_is_added_at_once_there_are_few_runs() {
        const ADDED: u64 = 600;
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a store in memory");
        for number in 0..ADDED {
            let mut tx = db.begin_write().expect("a transaction");
            tx.set_durability(redb::Durability::None).expect("not needed");
            INDEX.add(&tx, vec![(key(number), number)]).expect("added");
            tx.commit().expect("committed");
        }
        let runs = INDEX.open(&db.begin_read().expect("a transaction"), None).expect("opened");
        // In base 8, 600 has the digits 1130.
        assert_eq!(runs.runs.iter().map(|run| run.entries).collect::<Vec<_>>(), [8, 8, 8, 64, 512]);
        assert!((0..ADDED).all(|number| runs.get(&key(number)).expect("read") == Some(number)));
    }
}
