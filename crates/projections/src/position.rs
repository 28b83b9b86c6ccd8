//! Positions: what a client passes back to read at least as new a state. Opaque outside, a list of
//! places in logs inside. This module must never know which model is asked.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use streams::{Cursor, LogName};

/// Longest token that is looked at; real ones have some dozens of characters.
const MAX_TOKEN_BYTES: usize = 1_024;

/// How far logs had come: the records that a reader must have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(SmallVec<[(LogName, u64); 2]>);

/// A text that is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position that this gateway gave out")]
pub struct PositionError;

impl Position {
    /// The place `seq` in `log`.
    #[must_use]
    pub fn at(log: LogName, seq: u64) -> Self {
        Self(smallvec![(log, seq)])
    }

    /// This and another.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The records that it names, by their logs.
    pub fn places(&self) -> impl Iterator<Item = &(LogName, u64)> {
        self.0.iter()
    }

    /// Whether it names a log of this base.
    pub(crate) fn is_of(&self, base: &str) -> bool {
        self.0.iter().any(|(log, _)| log.base() == base)
    }

    /// Whether a model that has come to `cursor` shows all of it that stands in logs of `shard`, or,
    /// without one, in logs that are not sharded.
    #[must_use]
    pub fn is_reached(&self, shard: Option<u16>, cursor: &Cursor) -> bool {
        self.0.iter().filter(|(log, _)| log.shard() == shard).all(|(log, seq)| cursor.get(log) >= *seq)
    }

    /// The same of a model that follows all that the position names, where any of it stands in logs of `shard`.
    #[must_use]
    pub fn is_wholly_reached(&self, shard: Option<u16>, cursor: &Cursor) -> bool {
        !self.0.iter().any(|(log, _)| log.shard() == shard) || self.0.iter().all(|(log, seq)| cursor.get(log) >= *seq)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |(log, seq): &(LogName, u64)| format!("{log}={seq}");
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.iter().map(entry).collect::<Vec<_>>().join(" ")))
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(token: &str) -> Result<Self, PositionError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(PositionError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| PositionError)?;
        let text = String::from_utf8(bytes).map_err(|_| PositionError)?;
        text.split(' ').map(place).collect::<Option<_>>().map(Self).ok_or(PositionError)
    }
}

fn place(text: &str) -> Option<(LogName, u64)> {
    let (log, seq) = text.split_once('=')?;
    let named = !log.is_empty() && log.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    named.then_some(())?;
    Some((LogName::new(log, None), seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_nonsense_does_not() {
        let position = Position::at(LogName::new("ledger", Some(1)), 7).and(Position::at(LogName::new("accounts", None), 3));
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "x", "bGVkZ2Vy", &"A".repeat(2_000), "ledger-1=7"] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError), "{wrong}");
        }
    }

    #[test]
    fn a_position_binds_the_readers_of_its_shards() {
        let ledger = LogName::new("ledger", Some(1));
        let position = Position::at(ledger.clone(), 7);
        let cursor = |seq| [(ledger.clone(), seq)].into_iter().collect::<Cursor>();
        assert!(position.is_reached(Some(1), &cursor(7)) && !position.is_reached(Some(1), &cursor(6)));
        assert!(position.is_reached(Some(0), &cursor(0)) && position.is_reached(None, &cursor(0)));
        let both = position.and(Position::at(LogName::new("ledger", Some(2)), 3));
        assert!(!both.is_wholly_reached(Some(1), &cursor(7)) && both.is_wholly_reached(Some(0), &cursor(0)));
    }
}
