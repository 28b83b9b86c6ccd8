//! Rows under consecutive numbers, from 1, many to a block: a B-tree takes as long for a block as for a row.
//! This module must never know what a row means.

use std::ops::Range;

use redb::{ReadOnlyTable, ReadableTable, StorageError, Table, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use crate::store::{StoreError, pack_into, unpack};

/// By the number of its first row.
pub(crate) type Blocks = TableDefinition<'static, u64, &'static [u8]>;

/// A block has rows up to this, so that it fills two of redb's pages with what redb adds; a row alone may be longer.
const BLOCK_BYTES: usize = 8_160;
/// Before the rows stands how many there are, and where each ends.
const NUMBER_BYTES: usize = 4;

/// What so many rows of so many bytes take.
const fn block_bytes(count: usize, rows: usize) -> usize {
    NUMBER_BYTES * (1 + count) + rows
}

/// The row of this number.
pub(crate) fn row<T: DeserializeOwned>(table: &ReadOnlyTable<u64, &'static [u8]>, number: u64) -> Result<Option<T>, StoreError> {
    let Some(block) = table.range(..=number)?.next_back() else { return Ok(None) };
    let (first, block) = block?;
    Stored::read(block.value())?.row(number - first.value()).map(unpack).transpose()
}

/// All rows of a block.
pub(crate) fn rows<T: DeserializeOwned>(first: u64, block: &[u8]) -> Result<Vec<(u64, T)>, StoreError> {
    let block = Stored::read(block)?;
    (0..block.len()).map(|index| Ok((first + index, unpack(block.row(index).unwrap_or_default())?))).collect()
}

/// The number of the last row, 0 for none.
pub(crate) fn last(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, StoreError> {
    match table.last()? {
        Some((first, block)) => Ok(first.value() + Stored::read(block.value())?.len() - 1),
        None => Ok(0),
    }
}

/// Writes rows in the order of their numbers: some that are there already, and then some that follow the last one.
pub(crate) fn write<'a, T: Serialize + 'a>(
    table: &mut Table<'_, u64, &'static [u8]>,
    rows: impl Iterator<Item = (u64, &'a T)>,
) -> Result<(), StoreError> {
    let (mut block, mut buffer) = (Block::default(), Vec::new());
    for (number, row) in rows {
        if !block.has_place_for(number) {
            block.store(table)?;
            block = Block::with(table, number)?;
        }
        block.put(number, pack_into(&mut buffer, row)?)?;
    }
    block.store(table)
}

/// A block as it is stored.
struct Stored<'a> {
    ends: &'a [[u8; NUMBER_BYTES]],
    rows: &'a [u8],
}

impl<'a> Stored<'a> {
    fn read(block: &'a [u8]) -> Result<Self, StorageError> {
        let parts = || {
            let (count, rest) = block.split_first_chunk::<NUMBER_BYTES>()?;
            let (ends, rows) = rest.split_at_checked(NUMBER_BYTES * u32::from_le_bytes(*count) as usize)?;
            Some(Self { ends: ends.as_chunks().0, rows })
        };
        parts().ok_or_else(|| StorageError::Corrupted("a block of rows ends before its rows do".to_owned()))
    }

    const fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    fn end(&self, index: usize) -> usize {
        self.ends.get(index).map_or(0, |end| u32::from_le_bytes(*end) as usize)
    }

    fn row(&self, index: u64) -> Option<&'a [u8]> {
        let index = usize::try_from(index).ok().filter(|index| *index < self.ends.len())?;
        let start = index.checked_sub(1).map_or(0, |before| self.end(before));
        self.rows.get(start..self.end(index))
    }
}

/// A block that is being written; one of no rows stands for none.
#[derive(Default)]
struct Block {
    first: u64,
    /// The first row of the block behind it, where there is one.
    next: Option<u64>,
    ends: Vec<usize>,
    rows: Vec<u8>,
}

impl Block {
    /// The block that has this row, or to whose end it is added.
    fn with(table: &Table<'_, u64, &'static [u8]>, number: u64) -> Result<Self, StoreError> {
        let next = table.range(number + 1..)?.next().transpose()?.map(|(first, _)| first.value());
        let Some(found) = table.range(..=number)?.next_back().transpose()? else {
            return Ok(Self { first: number, next, ..Self::default() });
        };
        let (first, stored) = (found.0.value(), Stored::read(found.1.value())?);
        let ends: Vec<_> = (0..stored.ends.len()).map(|index| stored.end(index)).collect();
        if next.is_none() && number == first + stored.len() && found.1.value().len() >= BLOCK_BYTES {
            return Ok(Self { first: number, ..Self::default() });
        }
        Ok(Self { first, next, ends, rows: stored.rows.to_vec() })
    }

    fn after_last(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    fn has_place_for(&self, number: u64) -> bool {
        let is_full = block_bytes(self.ends.len(), self.rows.len()) >= BLOCK_BYTES;
        (self.first..self.after_last()).contains(&number) || (self.next.is_none() && number == self.after_last() && !is_full)
    }

    fn range(&self, index: usize) -> Range<usize> {
        index.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[index]
    }

    fn put(&mut self, number: u64, row: &[u8]) -> Result<(), StorageError> {
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if index > self.ends.len() {
            return Err(StorageError::Corrupted(format!("there is no row before row {number}")));
        }
        if index == self.ends.len() {
            self.rows.extend_from_slice(row);
            self.ends.push(self.rows.len());
            return Ok(());
        }
        let old = self.range(index);
        self.ends[index..].iter_mut().for_each(|end| *end = *end + row.len() - old.len());
        self.rows.splice(old, row.iter().copied());
        Ok(())
    }

    /// Stores it, as several where its rows have grown too long for one.
    fn store(&self, table: &mut Table<'_, u64, &'static [u8]>) -> Result<(), StoreError> {
        let mut start = 0;
        while start < self.ends.len() {
            let from = self.range(start).start;
            let fits = |(index, end): &(usize, &usize)| block_bytes(index + 1, *end - from) <= BLOCK_BYTES;
            let fits = self.ends[start..].iter().enumerate().take_while(fits).count().max(1);
            let ends = &self.ends[start..start + fits];
            let rows = &self.rows[from..self.range(start + fits - 1).end];
            let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            let mut block = number(ends.len()).to_vec();
            ends.iter().for_each(|end| block.extend_from_slice(&number(end - from)));
            block.extend_from_slice(rows);
            table.insert(self.first + start as u64, block.as_slice())?;
            start += fits;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase as _, backends::InMemoryBackend};

    use super::*;

    const TABLE: Blocks = Blocks::new("rows");

    fn file() -> Database {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a store in memory");
        let tx = db.begin_write().expect("a transaction");
        tx.open_table(TABLE).expect("a table");
        tx.commit().expect("committed");
        db
    }

    fn written(db: &Database, rows: &BTreeMap<u64, String>) {
        let tx = db.begin_write().expect("a transaction");
        write(&mut tx.open_table(TABLE).expect("a table"), rows.iter().map(|(number, row)| (*number, row))).expect("written");
        tx.commit().expect("committed");
    }

    proptest! {
        /// Each round changes some rows and adds some, of lengths from nothing to more than a block.
        #[test]
        fn rows_are_what_was_written_last(rounds in prop::collection::vec((prop::collection::vec((any::<u16>(), 0_usize..9_000), 0..8),
            prop::collection::vec(0_usize..4_000, 0..8)), 1..8)) {
            let (db, mut expected) = (file(), BTreeMap::new());
            for (number, (changed, added)) in rounds.iter().enumerate() {
                let count = expected.len() as u64;
                let row = |length: usize| number.to_string().repeat(length);
                let changed = changed.iter().filter(|_| count > 0).map(|(place, length)| (1 + u64::from(*place) % count.max(1), row(*length)));
                let mut rows: BTreeMap<_, _> = changed.collect();
                rows.extend((count + 1..).zip(added.iter().map(|length| row(*length))));
                written(&db, &rows);
                expected.extend(rows);
                let table = db.begin_read().expect("a transaction").open_table(TABLE).expect("a table");
                prop_assert_eq!(last(&table).expect("a number"), expected.len() as u64);
                for number in 0..expected.len() as u64 + 2 {
                    prop_assert_eq!(super::row::<String>(&table, number).expect("read"), expected.get(&number).cloned());
                }
                let all: Vec<_> = table.iter().expect("blocks").flat_map(|block| {
                    let (first, block) = block.expect("a block");
                    super::rows::<String>(first.value(), block.value()).expect("rows")
                }).collect();
                prop_assert_eq!(all, expected.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_block_that_was_cut_is_said_to_be_corrupted() {
        assert!(rows::<u64>(1, &[9, 0, 0, 0, 1]).is_err());
    }
}
