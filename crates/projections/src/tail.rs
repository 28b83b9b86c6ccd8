//! The last rows of a table whose rows never change: those that its file does not have yet, and more that were written before
//! them. What happened lately is what most people look at, and a row that lies here is found in a quarter of the time that its
//! block takes. Rows that may still change lie in `gathered.rs`. This module must never know what a row means.

use std::{collections::VecDeque, sync::Arc};

use crate::gathered::PIECE_ROWS;

/// Pieces that are kept of what was written: a quarter of a million rows, which take some 30 MB a shard.
const KEPT_PIECES: usize = 256;

/// Rows under consecutive numbers.
#[derive(Debug)]
pub(crate) struct Tail<T> {
    /// The number of the first row that is kept.
    first: u64,
    /// All but the last are full. Whatever is being written shares them.
    pieces: VecDeque<Arc<Vec<T>>>,
    /// The number of the first row that is to be written.
    unwritten: u64,
}

impl<T: Clone> Tail<T> {
    /// None yet, in front of a file that has rows up to this number.
    pub(crate) const fn behind(last: u64) -> Self {
        Self { first: last + 1, pieces: VecDeque::new(), unwritten: last + 1 }
    }

    /// What comes after these, once they are set aside to be written.
    pub(crate) fn next(&self) -> Self {
        let forgotten = self.pieces.len().saturating_sub(KEPT_PIECES);
        let pieces = self.pieces.range(forgotten..).cloned().collect();
        Self { first: self.first + (forgotten * PIECE_ROWS) as u64, pieces, unwritten: self.end() }
    }

    /// The number that the next row gets.
    pub(crate) fn end(&self) -> u64 {
        let rows = self.pieces.back().map_or(0, |last| (self.pieces.len() - 1) * PIECE_ROWS + last.len());
        self.first + rows as u64
    }

    /// How many are to be written.
    pub(crate) fn unwritten_rows(&self) -> usize {
        usize::try_from(self.end() - self.unwritten).unwrap_or(usize::MAX)
    }

    /// Those that are to be written, with their numbers.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = (u64, &T)> {
        (self.unwritten..self.end()).filter_map(|number| Some((number, self.get(number)?)))
    }

    pub(crate) fn push(&mut self, row: T) {
        match self.pieces.back_mut().filter(|last| last.len() < PIECE_ROWS) {
            // It is copied once where it is being written.
            Some(last) => Arc::make_mut(last).push(row),
            None => {
                let mut piece = Vec::with_capacity(PIECE_ROWS);
                piece.push(row);
                self.pieces.push_back(Arc::new(piece));
            }
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.pieces.get(place / PIECE_ROWS)?.get(place % PIECE_ROWS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_once_and_kept_for_a_while() {
        let mut rows = Tail::behind(9);
        assert_eq!((rows.end(), rows.unwritten_rows(), rows.get(9), rows.get(10)), (10, 0, None, None));
        let (mut expected, mut written) = (10.., Vec::new());
        let most = KEPT_PIECES * PIECE_ROWS;
        for added in [1, PIECE_ROWS, 3 * PIECE_ROWS - 2, 0, most, 5] {
            let before = rows.end();
            expected.by_ref().take(added).for_each(|number| rows.push(number));
            assert_eq!(rows.unwritten_rows(), added);
            let next = rows.next();
            assert!(rows.unwritten().eq((before..rows.end()).map(|number| (number, rows.get(number).expect("a row")))));
            written.extend(rows.unwritten().map(|(_, row)| *row));
            rows = next;
            let kept = rows.end() - rows.first;
            assert!(kept >= (rows.end() - 10).min((most - PIECE_ROWS) as u64) && kept <= most as u64, "{kept} rows are kept");
            assert!((rows.first..rows.end()).all(|number| rows.get(number) == Some(&number)));
            assert_eq!((rows.get(rows.first - 1), rows.get(rows.end())), (None, None));
        }
        assert!(rows.first > 10, "what was written long ago is forgotten");
        assert!(written.into_iter().eq(10..rows.end()));
    }

    #[test]
    fn what_is_being_written_does_not_change() {
        let mut rows = Tail::behind(0);
        rows.push('a');
        let mut next = rows.next();
        next.push('b');
        assert!(rows.unwritten().eq([(1, &'a')]));
        assert!(next.unwritten().eq([(2, &'b')]));
        assert_eq!((rows.get(2), next.get(1)), (None, Some(&'a')));
    }
}
