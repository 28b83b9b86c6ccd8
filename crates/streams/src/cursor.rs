//! Names of logs, and how far logs were consumed. This module must never know what a record holds.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The name of a log, which is its stream's name: `accounts`, or with its shard `ledger-0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogName(Arc<str>);

impl LogName {
    /// The log `base`, of one shard if it is sharded.
    #[must_use]
    pub fn new(base: &str, shard: Option<u16>) -> Self {
        shard.map_or_else(|| Self(base.into()), |shard| Self(format!("{base}-{shard}").into()))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the shard.
    #[must_use]
    pub fn base(&self) -> &str {
        self.split().0
    }

    /// The shard, where there is one.
    #[must_use]
    pub fn shard(&self) -> Option<u16> {
        self.split().1
    }

    fn split(&self) -> (&str, Option<u16>) {
        match self.0.rsplit_once('-').map(|(base, shard)| (base, shard.parse())) {
            Some((base, Ok(shard))) => (base, Some(shard)),
            Some((_, Err(_))) | None => (&self.0, None),
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far logs were consumed: a record's cursor names, for each log, the last record it rests on,
/// be it directly or through others. Logs that are not named were not read at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(BTreeMap<LogName, u64>);

impl Cursor {
    /// The last record of `log` that was consumed, 0 for none.
    #[must_use]
    pub fn get(&self, log: &LogName) -> u64 {
        self.0.get(log).copied().unwrap_or(0)
    }

    /// Moves on to `seq` of `log`; never back.
    pub fn advance(&mut self, log: &LogName, seq: u64) {
        match self.0.get_mut(log) {
            Some(now) => *now = seq.max(*now),
            None => drop(self.0.insert(log.clone(), seq)),
        }
    }

    /// Moves on to wherever `other` is further.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(log, seq)| self.advance(log, *seq));
    }

    /// The logs and positions.
    pub fn iter(&self) -> impl Iterator<Item = (&LogName, u64)> {
        self.0.iter().map(|(log, seq)| (log, *seq))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        parse_entries(text, |seq| seq.parse().ok()).map(Self)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_entries(&self.0))
    }
}

/// Entries of a header: `log=value`, a space between.
pub(crate) fn parse_entries<V>(text: &str, value: impl Fn(&str) -> Option<V>) -> Option<BTreeMap<LogName, V>> {
    let entry = |entry: &str| {
        let (log, text) = entry.split_once('=')?;
        Some((LogName(log.into()), value(text)?))
    };
    text.split(' ').filter(|part| !part.is_empty()).map(entry).collect()
}

pub(crate) fn write_entries<V: fmt::Display>(entries: &BTreeMap<LogName, V>) -> String {
    entries.iter().map(|(log, value)| format!("{log}={value}")).collect::<Vec<_>>().join(" ")
}

impl FromIterator<(LogName, u64)> for Cursor {
    fn from_iter<I: IntoIterator<Item = (LogName, u64)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> LogName {
        LogName(name.into())
    }

    #[test]
    fn names_carry_their_shard() {
        assert_eq!((log("payment-commands-12").base(), log("payment-commands-12").shard()), ("payment-commands", Some(12)));
        assert_eq!((log("customer-commands").base(), log("customer-commands").shard()), ("customer-commands", None));
        assert_eq!(LogName::new("ledger", Some(3)), log("ledger-3"));
    }

    #[test]
    fn cursors_never_go_back_and_read_back() {
        let mut cursor = Cursor::default();
        cursor.advance(&log("ledger-1"), 7);
        cursor.advance(&log("ledger-1"), 5);
        cursor.advance(&log("accounts"), 2);
        assert_eq!(cursor.to_string(), "accounts=2 ledger-1=7");
        assert_eq!(Cursor::parse("accounts=2 ledger-1=7"), Some(cursor));
        assert_eq!(Cursor::parse("accounts"), None);
    }
}
