//! Sorted runs read as one. This module must never know where they lie.

use serde::{Deserialize, Serialize};

use crate::{
    runs::{Chunk, Entry, Key, chunk_number, count, missing},
    store::StoreError,
};

/// Runs that are being merged, the newest first: of a key that several have, that one's numbers count.
pub(crate) struct Merge<const N: usize> {
    /// Of which nothing was read yet.
    unread: Vec<Source>,
    read: Vec<Read>,
    /// The next key of each that was read, as a number that sorts as it does: they lie together, and are compared for every entry.
    next: Vec<u128>,
}

/// A run, and where its next entry is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Source {
    run: u64,
    /// How many chunks it has.
    chunks: u32,
    chunk: u32,
    /// In that chunk.
    at: usize,
}

/// One with the chunk in which it is.
struct Read {
    source: Source,
    chunk: Vec<u8>,
}

impl Source {
    /// A run of as many entries, from its beginning on.
    pub(crate) fn of<const N: usize>(run: u64, entries: u64) -> Self {
        Self { run, chunks: chunk_number(count::<N>(entries)), chunk: 0, at: 0 }
    }
}

impl<const N: usize> Merge<N> {
    pub(crate) const fn of(newest_first: Vec<Source>) -> Self {
        Self { unread: newest_first, read: Vec::new(), next: Vec::new() }
    }

    /// Those that have more, and where: a merge of these goes on with the next entry.
    pub(crate) fn rest(self) -> Vec<Source> {
        self.unread.into_iter().chain(self.read.into_iter().map(|read| read.source)).collect()
    }

    /// The next entry in the order of keys. Chunks are asked for by run and number. After an error there is no next one.
    pub(crate) fn next(&mut self, chunk: impl Fn(u64, u32) -> Result<Option<Vec<u8>>, StoreError>) -> Result<Option<Entry<N>>, StoreError> {
        for source in std::mem::take(&mut self.unread) {
            let mut read = Read { source, chunk: Vec::new() };
            if let Some(key) = read.load::<N>(&chunk)? {
                self.next.push(u128::from_be_bytes(key));
                self.read.push(read);
            }
        }
        // Of equal ones the first, which is the newest.
        let Some((newest, key)) = self.next.iter().copied().enumerate().min_by_key(|(_, key)| *key) else { return Ok(None) };
        let numbers = self.read[newest].numbers();
        // From behind, since one that ends is taken out.
        for index in (newest..self.next.len()).rev() {
            if self.next[index] == key {
                self.go_on(index, &chunk)?;
            }
        }
        Ok(Some((key.to_be_bytes(), numbers)))
    }

    /// Goes on to a source's next entry.
    fn go_on(&mut self, index: usize, chunk: impl Fn(u64, u32) -> Result<Option<Vec<u8>>, StoreError>) -> Result<(), StoreError> {
        match self.read[index].next::<N>(chunk)? {
            Some(key) => self.next[index] = u128::from_be_bytes(key),
            None => {
                self.read.remove(index);
                self.next.remove(index);
            }
        }
        Ok(())
    }
}

impl Read {
    fn next<const N: usize>(&mut self, chunk: impl Fn(u64, u32) -> Result<Option<Vec<u8>>, StoreError>) -> Result<Option<Key>, StoreError> {
        self.source.at += 1;
        if let Some(key) = self.key::<N>() {
            return Ok(Some(key));
        }
        (self.source.chunk, self.source.at) = (self.source.chunk + 1, 0);
        self.load::<N>(chunk)
    }

    /// Reads the chunk in which the next entry is. One that is missing before the run's end is an error: what was behind it
    /// would be gone without a word.
    fn load<const N: usize>(&mut self, chunk: impl Fn(u64, u32) -> Result<Option<Vec<u8>>, StoreError>) -> Result<Option<Key>, StoreError> {
        let Source { run, chunks, chunk: number, .. } = self.source;
        if number >= chunks {
            return Ok(None);
        }
        self.chunk = chunk(run, number)?.ok_or_else(|| missing(run, number))?;
        self.key::<N>().map(Some).ok_or_else(|| missing(run, number).into())
    }

    fn key<const N: usize>(&self) -> Option<Key> {
        Chunk::<N>::of(&self.chunk).keys.get(self.source.at).copied()
    }

    fn numbers<const N: usize>(&self) -> [u64; N] {
        Chunk::<N>::of(&self.chunk).numbers(self.source.at)
    }
}
