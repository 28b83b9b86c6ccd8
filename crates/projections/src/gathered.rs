//! Rows that gather by the hundred thousand, each under the next place. They lie in pieces of one size: none is copied when
//! more come, and a piece takes the place of one that was written. In one piece, that was a twentieth of the processor time of
//! payments by the hundred. Rows that never change lie in `tail.rs`. This module must never know what a row means.

/// Rows of a piece, here and in `tail.rs`: some hundred kilobytes.
pub(crate) const PIECE_ROWS: usize = 1_024;

/// Rows by their place, from 0 on.
#[derive(Debug)]
pub(crate) struct Gathered<T> {
    /// All but the last are full.
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Gathered<T> {
    pub(crate) fn len(&self) -> usize {
        self.pieces.split_last().map_or(0, |(last, full)| full.len() * PIECE_ROWS + last.len())
    }

    pub(crate) fn push(&mut self, row: T) {
        match self.pieces.last_mut().filter(|last| last.len() < PIECE_ROWS) {
            Some(last) => last.push(row),
            None => {
                let mut piece = Vec::with_capacity(PIECE_ROWS);
                piece.push(row);
                self.pieces.push(piece);
            }
        }
    }

    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.pieces.get(place / PIECE_ROWS)?.get(place % PIECE_ROWS)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.pieces.get_mut(place / PIECE_ROWS)?.get_mut(place % PIECE_ROWS)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_where_they_were_put() {
        let mut rows = Gathered::default();
        for place in 0..3 * PIECE_ROWS + 1 {
            assert_eq!((rows.len(), rows.get(place)), (place, None));
            rows.push(place);
        }
        *rows.get_mut(PIECE_ROWS).expect("a row") = 0;
        let expected = |place: usize| if place == PIECE_ROWS { 0 } else { place };
        assert!(rows.iter().copied().eq((0..rows.len()).map(expected)));
        assert!((0..rows.len()).all(|place| rows.get(place) == Some(&expected(place))));
    }
}
