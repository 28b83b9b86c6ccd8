//! Positions: what a client passes back to read at least as new a state. Opaque outside, a list of
//! places in logs inside. This module must never know which model is asked.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use streams::{Cursor, LogName};

/// Longest token that is looked at; real ones have some dozens of characters.
const MAX_TOKEN_BYTES: usize = 1_024;

/// A place in a log that a reader must have come to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waypoint {
    log: LogName,
    seq: u64,
    /// Another shard than the log's own, whose readers must have come to it too.
    also_on: Option<u16>,
}

/// How far logs had come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position(Vec<Waypoint>);

/// A text that is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position that this gateway gave out")]
pub struct PositionError;

impl Position {
    /// The place `seq` in `log`.
    #[must_use]
    pub fn at(log: LogName, seq: u64) -> Self {
        Self(vec![Waypoint { log, seq, also_on: None }])
    }

    /// The same, binding readers of shard `also_on` too: a debit whose credit is booked there.
    #[must_use]
    pub fn at_and_on(log: LogName, seq: u64, also_on: Option<u16>) -> Self {
        Self(vec![Waypoint { log, seq, also_on }])
    }

    /// Whether a model that has come to `cursor` shows all of it that stands in logs without shards.
    #[must_use]
    pub fn is_reached_unsharded(&self, cursor: &Cursor) -> bool {
        self.0.iter().filter(|point| point.log.shard().is_none()).all(|point| cursor.get(&point.log) >= point.seq)
    }

    /// Whether a model of `shard` that has come to `cursor` shows all of it that concerns the shard.
    #[must_use]
    pub fn is_reached_on(&self, shard: u16, cursor: &Cursor) -> bool {
        let binds = |point: &&Waypoint| point.log.shard() == Some(shard) || point.also_on == Some(shard);
        self.0.iter().filter(binds).all(|point| cursor.get(&point.log) >= point.seq)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |point: &Waypoint| {
            let also_on = point.also_on.map(|shard| format!("@{shard}")).unwrap_or_default();
            format!("{}={}{also_on}", point.log, point.seq)
        };
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
        text.split(' ').map(waypoint).collect::<Option<_>>().map(Self).ok_or(PositionError)
    }
}

fn waypoint(text: &str) -> Option<Waypoint> {
    let (log, place) = text.split_once('=')?;
    let (seq, also_on) = match place.split_once('@') {
        Some((seq, shard)) => (seq, Some(shard.parse().ok()?)),
        None => (place, None),
    };
    let named = !log.is_empty() && log.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    named.then_some(())?;
    Some(Waypoint { log: LogName::new(log, None), seq: seq.parse().ok()?, also_on })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_nonsense_does_not() {
        let position = Position::at_and_on(LogName::new("ledger", Some(1)), 7, Some(0));
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "x", "bGVkZ2Vy", &"A".repeat(2_000), "ledger-1=7"] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError), "{wrong}");
        }
    }

    #[test]
    fn a_position_binds_its_own_shard_and_the_one_it_names() {
        let ledger = LogName::new("ledger", Some(1));
        let position = Position::at_and_on(ledger.clone(), 7, Some(0));
        let cursor = |seq| [(ledger.clone(), seq)].into_iter().collect::<Cursor>();
        for shard in [0, 1] {
            assert!(position.is_reached_on(shard, &cursor(7)) && !position.is_reached_on(shard, &cursor(6)));
        }
        assert!(position.is_reached_on(2, &cursor(0)) && position.is_reached_unsharded(&cursor(0)));
    }
}
