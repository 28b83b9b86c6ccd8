//! Sorted runs read as one. This module must never know where they lie.

use crate::{
    runs::{Chunk, Entry, Key},
    store::StoreError,
};

/// Runs that are being merged, the newest first: of a key that several have, that one's numbers count.
pub(crate) struct Merge<const N: usize> {
    /// Of which nothing was read yet.
    unread: Vec<u64>,
    sources: Vec<Source>,
    /// The next key of each source, as a number that sorts as it does: they lie together, and are compared for every entry.
    next: Vec<u128>,
}

/// One of them.
struct Source {
    run: u64,
    /// How many chunks of it were read.
    chunks: u32,
    /// The last one.
    chunk: Vec<u8>,
    /// The next entry's place in that.
    at: usize,
}

impl<const N: usize> Merge<N> {
    pub(crate) const fn of(newest_first: Vec<u64>) -> Self {
        Self { unread: newest_first, sources: Vec::new(), next: Vec::new() }
    }

    /// The next entry in the order of keys. Chunks are asked for by run and number, each once. After an error there is no
    /// next one.
    pub(crate) fn next(
        &mut self,
        mut chunk: impl FnMut(u64, u32) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Option<Entry<N>>, StoreError> {
        for run in std::mem::take(&mut self.unread) {
            let mut source = Source { run, chunks: 0, chunk: Vec::new(), at: 0 };
            if let Some(key) = source.peek::<N>(&mut chunk)? {
                self.next.push(u128::from_be_bytes(key));
                self.sources.push(source);
            }
        }
        // Of equal ones the first, which is the newest.
        let Some((newest, key)) = self.next.iter().copied().enumerate().min_by_key(|(_, key)| *key) else { return Ok(None) };
        let numbers = self.sources[newest].numbers();
        // From behind, since one that ends is taken out.
        for index in (newest..self.next.len()).rev() {
            if self.next[index] == key {
                self.go_on(index, &mut chunk)?;
            }
        }
        Ok(Some((key.to_be_bytes(), numbers)))
    }

    /// Goes on to a source's next entry.
    fn go_on(&mut self, index: usize, chunk: impl FnOnce(u64, u32) -> Result<Option<Vec<u8>>, StoreError>) -> Result<(), StoreError> {
        let source = &mut self.sources[index];
        source.at += 1;
        match source.peek::<N>(chunk)? {
            Some(key) => self.next[index] = u128::from_be_bytes(key),
            None => {
                self.sources.remove(index);
                self.next.remove(index);
            }
        }
        Ok(())
    }
}

impl Source {
    fn peek<const N: usize>(
        &mut self,
        chunk: impl FnOnce(u64, u32) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Option<Key>, StoreError> {
        if let Some(key) = Chunk::<N>::of(&self.chunk).keys.get(self.at) {
            return Ok(Some(*key));
        }
        let Some(next) = chunk(self.run, self.chunks)? else { return Ok(None) };
        (self.chunk, self.at, self.chunks) = (next, 0, self.chunks + 1);
        Ok(Chunk::<N>::of(&self.chunk).keys.first().copied())
    }

    fn numbers<const N: usize>(&self) -> [u64; N] {
        Chunk::<N>::of(&self.chunk).numbers(self.at)
    }
}
