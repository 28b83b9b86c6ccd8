//! Sorted runs read as one. This module must never know where they lie.

use crate::{
    runs::{Chunk, Entry, Key},
    store::StoreError,
};

/// Runs that are being merged, the newest first: of a key that several have, that one's numbers count.
pub(crate) struct Merge<const N: usize>(Vec<Source>);

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
    pub(crate) fn of(newest_first: Vec<u64>) -> Self {
        Self(newest_first.into_iter().map(|run| Source { run, chunks: 0, chunk: Vec::new(), at: 0 }).collect())
    }

    /// The next entry in the order of keys. Chunks are asked for by run and number, each once.
    pub(crate) fn next(
        &mut self,
        mut chunk: impl FnMut(u64, u32) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<Option<Entry<N>>, StoreError> {
        let mut least: Option<(usize, Key)> = None;
        let mut index = 0;
        while let Some(source) = self.0.get_mut(index) {
            let Some(key) = source.peek::<N>(&mut chunk)? else {
                self.0.remove(index);
                continue;
            };
            match least {
                Some((_, known)) if known < key => {}
                Some((_, known)) if known == key => source.at += 1,
                Some(_) | None => least = Some((index, key)),
            }
            index += 1;
        }
        Ok(least.map(|(index, key)| (key, self.0[index].take::<N>())))
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

    fn take<const N: usize>(&mut self) -> [u64; N] {
        self.at += 1;
        Chunk::<N>::of(&self.chunk).numbers(self.at - 1)
    }
}
