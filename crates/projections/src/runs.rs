//! An index by id that grows for ever, or whose entries change: what is added at once becomes a sorted run, and as
//! many runs of about one size are merged into a larger one, see `merges.rs`. So an entry costs some dozens of bytes that are
//! written one after the other, however many there are, where a B-tree rewrites a page of four kilobytes for each. Of an id
//! that is in several runs, the newest counts. That an id is not in one is known from its filters, which are kept in
//! memory: two and a half bytes an id. This module must never know what an id is of.

use std::{collections::HashMap, sync::Arc};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, StorageError, Table, TableDefinition, WriteTransaction};

use crate::{
    filter::{Filter, Probe},
    merge::{Merge, Source},
    store::{StoreError, table_if_there},
};

/// An id's bytes.
pub(crate) type Key = [u8; 16];
/// An id and its numbers.
pub(crate) type Entry<const N: usize> = (Key, [u64; N]);

/// Where no id is added twice, runs of this level are not merged any more: they have two to sixteen million entries. There are
/// seven smaller ones of each level at most, so a hundred million ids lie in a hundred at most.
const MOST_LEVEL: u8 = 7;
/// Where ids are added again, all levels are merged: what is superseded would stay for ever. More than 64 bits can count.
pub(crate) const ALL_LEVELS: u8 = 22;
/// Entries that have a filter of their own, at most: it is written at once.
const SEGMENT: usize = 1 << 20;
/// A chunk, the part of a run that is read at once, is just below 32 KiB, which is a size of redb's pages. It is part of
/// how a run is stored.
const CHUNK_BYTES: usize = 32_640;
const KEY_BYTES: usize = 16;
const NUMBER_BYTES: usize = 8;

pub(crate) type Chunks = TableDefinition<'static, (u64, u32), &'static [u8]>;
pub(crate) type Heads = TableDefinition<'static, (u64, u32), &'static [u8]>;
pub(crate) type Sizes = TableDefinition<'static, u64, u64>;
pub(crate) type Merges = TableDefinition<'static, u64, &'static [u8]>;
pub(crate) type Writable<'tx> = Table<'tx, (u64, u32), &'static [u8]>;

/// The tables of an index with `N` numbers for each id.
#[derive(Debug, Clone, Copy)]
pub struct Index<const N: usize> {
    pub(crate) chunks: &'static str,
    /// By run and segment: how many entries that has, the first key of each of its chunks, and its filter.
    pub(crate) heads: &'static str,
    /// How many entries each run has; the newest run is the last one.
    pub(crate) sizes: &'static str,
    /// By the run that comes of it: what is being merged.
    pub(crate) merges: &'static str,
    /// Runs of levels below are merged.
    pub(crate) most_level: u8,
    /// Entries that are merged with each addition, at least, as long as there are such.
    pub(crate) step: usize,
}

/// A part of a run without its entries.
#[derive(Debug)]
struct Segment {
    first: Key,
    /// Which of the run's chunks is its first one.
    chunk: u32,
    /// The first key of each chunk.
    firsts: Vec<Key>,
    filter: Filter,
}

/// A run, in the order of its keys.
#[derive(Debug)]
struct Run {
    id: u64,
    segments: Vec<Segment>,
}

/// The runs of an index as they were when they were opened, the oldest first.
pub(crate) struct Runs<const N: usize> {
    runs: Vec<Arc<Run>>,
    chunks: Option<ReadOnlyTable<(u64, u32), &'static [u8]>>,
}

/// How much of a run was written.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Written {
    segments: u32,
    chunks: u32,
    pub(crate) entries: u64,
}

impl<const N: usize> Index<N> {
    /// One to which no id is added twice. Each name is that of a table of its own.
    pub(crate) const fn new([chunks, heads, sizes, merges]: [&'static str; 4]) -> Self {
        Self { chunks, heads, sizes, merges, most_level: MOST_LEVEL, step: crate::merges::STEP }
    }

    /// One in which the numbers of an id change.
    #[must_use]
    pub const fn changing(tables: [&'static str; 4]) -> Self {
        Self { most_level: ALL_LEVELS, ..Self::new(tables) }
    }

    /// Opens it, if it is there; what `before` knows already is not read again.
    pub(crate) fn open(self, tx: &ReadTransaction, before: Option<&Runs<N>>) -> Result<Runs<N>, StoreError> {
        let Some(sizes) = table_if_there(tx, Sizes::new(self.sizes))? else { return Ok(Runs { runs: Vec::new(), chunks: None }) };
        // No id is given to two runs of a file.
        let known: HashMap<u64, _> = before.into_iter().flat_map(|before| &before.runs).map(|run| (run.id, run)).collect();
        let (heads, mut runs) = (tx.open_table(Heads::new(self.heads))?, Vec::new());
        for row in sizes.iter()? {
            let (id, entries) = row?;
            let (id, entries) = (id.value(), entries.value());
            runs.push(match known.get(&id) {
                Some(run) => Arc::clone(run),
                None => Arc::new(Run::load::<N>(&heads, id, entries)?),
            });
        }
        Ok(Runs { runs, chunks: Some(tx.open_table(Chunks::new(self.chunks))?) })
    }

    /// Adds entries, no id twice, and merges what is due.
    pub(crate) fn add(self, tx: &WriteTransaction, mut entries: Vec<Entry<N>>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        let (count, mut entries) = (entries.len(), entries.into_iter());
        let (id, mut written) = (self.next_id(tx)?, Written::default());
        while entries.len() > 0 {
            self.write(tx, id, &mut written, count, |_| Ok(entries.next()))?;
        }
        tx.open_table(Sizes::new(self.sizes))?.insert(id, written.entries)?;
        self.merge(tx, count)
    }

    /// An id that no run has had, and higher than all.
    pub(crate) fn next_id(self, tx: &WriteTransaction) -> Result<u64, StoreError> {
        let last = tx.open_table(Chunks::new(self.chunks))?.last()?.map_or(0, |(place, _)| place.value().0);
        let planned = tx.open_table(Merges::new(self.merges))?.last()?.map_or(0, |(id, _)| id.value());
        Ok(last.max(planned) + 1)
    }

    /// Writes a segment of a run, behind those that it has: whole chunks, unless there is nothing more.
    pub(crate) fn write(
        self,
        tx: &WriteTransaction,
        id: u64,
        written: &mut Written,
        most: usize,
        mut next: impl FnMut(&Writable<'_>) -> Result<Option<Entry<N>>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut chunks = tx.open_table(Chunks::new(self.chunks))?;
        let most = most.min(SEGMENT).next_multiple_of(chunk_entries::<N>());
        let (mut filter, mut firsts, mut count) = (Filter::for_keys(most), Vec::new(), 0);
        let (mut keys, mut numbers) = (Vec::with_capacity(CHUNK_BYTES), Vec::with_capacity(CHUNK_BYTES));
        loop {
            let entry = if count < most { next(&chunks)? } else { None };
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
                chunks.insert((id, written.chunks), keys.as_slice())?;
                written.chunks += 1;
                keys.clear();
            }
            if entry.is_none() {
                break;
            }
        }
        if count > 0 {
            let head = [&(count as u64).to_be_bytes(), firsts.as_flattened(), &filter.folded_for(count).to_bytes()].concat();
            tx.open_table(Heads::new(self.heads))?.insert((id, written.segments), head.as_slice())?;
            written.segments += 1;
            written.entries += count as u64;
        }
        Ok(())
    }

    /// All entries, in the order of their keys.
    pub(crate) fn entries(self, tx: &ReadTransaction) -> Result<impl Iterator<Item = Result<Entry<N>, StoreError>> + use<N>, StoreError> {
        let mut sources = Vec::new();
        let chunks = match table_if_there(tx, Sizes::new(self.sizes))? {
            Some(sizes) => {
                for row in sizes.iter()?.rev() {
                    let (id, entries) = row?;
                    sources.push(Source::of::<N>(id.value(), entries.value()));
                }
                Some(tx.open_table(Chunks::new(self.chunks))?)
            }
            None => None,
        };
        let mut merged = Merge::of(sources);
        let chunk = move |id, number| match &chunks {
            Some(chunks) => Ok(chunks.get((id, number))?.map(|chunk| chunk.value().to_vec())),
            None => Ok(None),
        };
        Ok(std::iter::from_fn(move || merged.next(&chunk).transpose()))
    }
}

pub(crate) const fn chunk_entries<const N: usize>() -> usize {
    CHUNK_BYTES / (KEY_BYTES + N * NUMBER_BYTES)
}

/// How many chunks as many entries make.
pub(crate) fn count<const N: usize>(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX).div_ceil(chunk_entries::<N>())
}

impl Segment {
    /// One that begins with the run's `chunk`, and how many entries it has.
    fn load<const N: usize>(chunk: u32, head: &[u8]) -> Option<(Self, u64)> {
        let (entries, head) = head.split_first_chunk()?;
        let entries = u64::from_be_bytes(*entries);
        let (firsts, filter) = head.split_at_checked(KEY_BYTES.checked_mul(count::<N>(entries))?)?;
        let firsts: Vec<Key> = firsts.as_chunks().0.to_vec();
        Some((Self { first: *firsts.first()?, chunk, firsts, filter: Filter::from_bytes(filter)? }, entries))
    }
}

impl Run {
    fn load<const N: usize>(heads: &ReadOnlyTable<(u64, u32), &'static [u8]>, id: u64, entries: u64) -> Result<Self, StoreError> {
        let (mut segments, mut chunk, mut found) = (Vec::new(), 0, 0);
        for row in heads.range((id, 0)..=(id, u32::MAX))? {
            let (_, head) = row?;
            let Some((segment, entries)) = Segment::load::<N>(chunk, head.value()) else { break };
            chunk += chunk_number(segment.firsts.len());
            found += entries;
            segments.push(segment);
        }
        if found != entries {
            return Err(StorageError::Corrupted(format!("the heads of run {id} make no sense")).into());
        }
        Ok(Self { id, segments })
    }

    /// The chunk in which a key is, if it is in this run.
    fn chunk_of(&self, key: &Key, probe: &Probe) -> Option<u32> {
        let segment = self.segments.partition_point(|segment| segment.first <= *key).checked_sub(1)?;
        let segment = self.segments.get(segment).filter(|segment| segment.filter.may_have(probe))?;
        let number = segment.firsts.partition_point(|first| first <= key).checked_sub(1)?;
        Some(segment.chunk + chunk_number(number))
    }
}

impl<const N: usize> Runs<N> {
    /// Lets go of the file; to be opened again before anything is asked.
    pub(crate) fn let_go(&mut self) {
        self.chunks = None;
    }

    /// What the index has for a key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<[u64; N]>, StoreError> {
        let Some(chunks) = &self.chunks else { return self.runs.first().map_or(Ok(None), |run| Err(missing(run.id, 0).into())) };
        let probe = Probe::for_key(key);
        for run in self.runs.iter().rev() {
            let Some(number) = run.chunk_of(key, &probe) else { continue };
            let chunk = chunks.get((run.id, number))?.ok_or_else(|| missing(run.id, number))?;
            let chunk = Chunk::<N>::of(chunk.value());
            if let Ok(place) = chunk.keys.binary_search(key) {
                return Ok(Some(chunk.numbers(place)));
            }
        }
        Ok(None)
    }
}

/// What is said of a run that is not whole.
pub(crate) fn missing(run: u64, chunk: u32) -> StorageError {
    StorageError::Corrupted(format!("run {run} has no chunk {chunk}"))
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

pub(crate) fn chunk_number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
