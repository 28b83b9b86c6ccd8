//! `streams.yaml`: every log, its owner, its readers, whether it is sharded, and how its stream is
//! kept. The only place that declares logs. This module must never talk to a server.

use std::path::Path;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde::{Deserialize, de::DeserializeOwned};

use crate::LogName;

/// Most shards that a bank can have: each costs four streams and their consumers, and what reads the
/// logs of all of them does so on one connection (see `PULL_BYTES`).
pub const MAX_SHARDS: u16 = 32;
/// Subjects of all logs begin with this.
const SUBJECT_PREFIX: &str = "millrace";
/// The stream's metadata that remembers for how many shards it was made.
pub(crate) const SHARDS_METADATA: &str = "millrace-shards";

/// What `streams.yaml` declares.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// How many shards accounts are spread over; never changes once there is data.
    pub shards: u16,
    /// How streams are kept.
    stream: StreamSettings,
    /// The logs.
    pub logs: Vec<LogDeclaration>,
}

/// One log, or one family of sharded logs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogDeclaration {
    /// Its name; a sharded log's streams are `name-0`, `name-1` …
    pub name: String,
    /// The one that appends.
    pub owner: String,
    /// Those who follow; of a sharded log, each the one of their shard.
    #[serde(default)]
    pub readers: Vec<String>,
    /// Those who follow a sharded log of every shard; its owner that of every other.
    #[serde(default)]
    pub cross_readers: Vec<String>,
    /// Whether every shard has its own.
    #[serde(default)]
    pub sharded: bool,
}

/// JetStream's own names and values, see its stream configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamSettings {
    #[serde(deserialize_with = "nats_value")]
    storage: StorageType,
    #[serde(deserialize_with = "nats_value")]
    retention: RetentionPolicy,
    #[serde(deserialize_with = "nats_value")]
    discard: DiscardPolicy,
    num_replicas: usize,
    max_msgs: i64,
    max_bytes: i64,
    deny_delete: bool,
    deny_purge: bool,
}

/// Reads a value through its JSON form, the one that NATS defines.
fn nats_value<'de, D: serde::Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let word = String::deserialize(deserializer)?;
    serde_json::from_value(serde_json::Value::String(word)).map_err(serde::de::Error::custom)
}

/// What is wrong with a `streams.yaml`, on one line.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}")]
pub struct TopologyError {
    file: String,
    why: String,
}

impl Topology {
    /// Reads a file.
    ///
    /// # Errors
    /// A line that names the file, the place and what is wrong.
    pub fn read(path: &Path) -> Result<Self, TopologyError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &file),
            Err(error) => Err(TopologyError { file, why: error.to_string() }),
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// A line that names the file, the place and what is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Self, TopologyError> {
        let fail = |why: String| TopologyError { file: file.to_owned(), why };
        let topology: Self = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().map(|at| format!("line {}, column {}: ", at.line(), at.column())).unwrap_or_default();
            let cause = error.without_snippet().to_string();
            fail(format!("{place}{}", cause.lines().next().unwrap_or_default()))
        })?;
        topology.check().map(|()| topology).map_err(fail)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return Err(format!("shards is {}; it must be 1 to {MAX_SHARDS}", self.shards));
        }
        if !(1..=5).contains(&self.stream.num_replicas) {
            return Err(format!("num_replicas is {}; JetStream takes 1 to 5", self.stream.num_replicas));
        }
        let endless = self.stream.max_msgs == -1 && self.stream.max_bytes == -1;
        let kept = self.stream.retention == RetentionPolicy::Limits && self.stream.discard == DiscardPolicy::New && endless;
        if !kept {
            return Err("a log of money never drops records: retention must be limits, discard new, max_msgs and max_bytes -1".to_owned());
        }
        for (index, log) in self.logs.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            if log.name.is_empty() || !log.name.bytes().all(plain) {
                return Err(format!("log name {:?} must be lower-case letters and dashes", log.name));
            }
            if !log.sharded && !log.cross_readers.is_empty() {
                return Err(format!("log {} has cross_readers, but is not sharded", log.name));
            }
            if self.logs[..index].iter().any(|other| other.name == log.name) {
                return Err(format!("log {} is declared twice", log.name));
            }
        }
        Ok(())
    }

    /// The logs whose owner is `owner`.
    pub fn owned_by<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a LogDeclaration> {
        self.logs.iter().filter(move |log| log.owner == owner)
    }

    /// Makes sure that the logs are those of `made_for`, which is what the code was written for:
    /// only shards and how streams are kept are anybody's choice.
    ///
    /// # Errors
    /// A line that names `file` and the log that differs.
    pub fn check_logs(&self, made_for: &Self, file: &str) -> Result<(), TopologyError> {
        let fail = |why: String| Err(TopologyError { file: file.to_owned(), why });
        for needed in &made_for.logs {
            match self.logs.iter().find(|log| log.name == needed.name) {
                None => return fail(format!("log {} is missing", needed.name)),
                Some(log) if log != needed => {
                    let LogDeclaration { name, owner, readers, cross_readers, sharded } = needed;
                    return fail(format!(
                        "log {name} must have owner: {owner}, readers: {readers:?}, cross_readers: {cross_readers:?}, sharded: {sharded}"
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(log) = self.logs.iter().find(|log| made_for.logs.iter().all(|needed| needed.name != log.name)) {
            return fail(format!("log {} is not one that anything here writes or reads", log.name));
        }
        let in_order = |topology: &Self| topology.logs.iter().map(|log| log.name.clone()).collect::<Vec<_>>();
        if in_order(self) != in_order(made_for) {
            return fail(format!("logs must stand in this order: {}", in_order(made_for).join(", ")));
        }
        Ok(())
    }

    /// The logs that `reader` follows for `shard`, in the order of the file.
    #[must_use]
    pub fn read_by(&self, reader: &str, shard: Option<u16>) -> Vec<LogName> {
        let mut names = Vec::new();
        for log in &self.logs {
            if log.cross_readers.iter().any(|name| name == reader) {
                let all = (0..self.shards).filter(|of| log.owner != reader || Some(*of) != shard);
                names.extend(all.map(|of| LogName::new(&log.name, Some(of))));
            } else if log.readers.iter().any(|name| name == reader) {
                names.push(LogName::new(&log.name, shard.filter(|_| log.sharded)));
            }
        }
        names
    }

    /// The logs of the services that read `log`.
    #[must_use]
    pub fn logs_of_readers(&self, log: &LogName) -> Vec<LogName> {
        let reads = |name: &LogName, owner: &str| name != log && self.read_by(owner, name.shard()).contains(log);
        self.all().filter(|(name, declared)| reads(name, &declared.owner)).map(|(name, _)| name).collect()
    }

    /// Every log, one a shard where it is sharded, with its declaration.
    pub fn all(&self) -> impl Iterator<Item = (LogName, &LogDeclaration)> {
        self.logs.iter().flat_map(|log| self.names_of(log).into_iter().map(move |name| (name, log)))
    }

    fn names_of(&self, log: &LogDeclaration) -> Vec<LogName> {
        if log.sharded {
            (0..self.shards).map(|shard| LogName::new(&log.name, Some(shard))).collect()
        } else {
            vec![LogName::new(&log.name, None)]
        }
    }

    /// Whether `log` holds commands, that is, whether gateways write it.
    #[must_use]
    pub fn is_command_log(&self, log: &LogName) -> bool {
        self.logs.iter().any(|declared| declared.name == log.base() && declared.owner == "gateway")
    }

    pub(crate) fn stream_config(&self, log: &LogName) -> Config {
        let settings = &self.stream;
        Config {
            name: log.to_string(),
            subjects: vec![subject(log)],
            storage: settings.storage,
            retention: settings.retention,
            discard: settings.discard,
            num_replicas: settings.num_replicas,
            max_messages: settings.max_msgs,
            max_bytes: settings.max_bytes,
            deny_delete: settings.deny_delete,
            deny_purge: settings.deny_purge,
            metadata: [(SHARDS_METADATA.to_owned(), self.shards.to_string())].into(),
            ..Config::default()
        }
    }
}

/// The subject on which records of `log` are published.
pub(crate) fn subject(log: &LogName) -> String {
    format!("{SUBJECT_PREFIX}.{log}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
shards: 2
stream: {storage: file, retention: limits, discard: new, num_replicas: 1, max_msgs: -1, max_bytes: -1, deny_delete: true, deny_purge: true}
logs:
  - {name: accounts, owner: accounts, readers: [ledger]}
  - {name: ledger, owner: ledger, readers: [overview], cross_readers: [ledger, history], sharded: true}
";

    #[test]
    fn readers_follow_their_shard_and_cross_readers_all_but_their_own_log() {
        let topology = Topology::parse(GOOD, "streams.yaml").expect("good");
        let names = |reader, shard| topology.read_by(reader, Some(shard)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("ledger", 0), ["accounts", "ledger-1"]);
        assert_eq!(names("overview", 1), ["ledger-1"]);
        assert_eq!(names("history", 1), ["ledger-0", "ledger-1"]);
        assert_eq!(topology.all().count(), 3);
        let of_readers =
            |log, shard| topology.logs_of_readers(&LogName::new(log, shard)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of_readers("accounts", None), ["ledger-0", "ledger-1"]);
        assert_eq!(of_readers("ledger", Some(1)), ["ledger-0"]);
    }

    #[test]
    fn logs_other_than_the_code_is_made_for_are_refused() {
        let made_for = Topology::parse(GOOD, "built in").expect("good");
        let check =
            |text: String| Topology::parse(&text, "mine").expect("parses").check_logs(&made_for, "mine").map_err(|error| error.to_string());
        assert_eq!(check(GOOD.replace("shards: 2", "shards: 7")), Ok(()));
        let cases = [
            (GOOD.replace("owner: accounts", "owner: nobody"), "log accounts must have owner: accounts"),
            (GOOD.replace("name: accounts", "name: others"), "log accounts is missing"),
            (format!("{GOOD}  - {{name: more, owner: x}}\n"), "log more is not one"),
        ];
        for (text, expected) in cases {
            let error = check(text).expect_err("refused");
            assert!(error.starts_with("mine: ") && error.contains(expected), "{error}");
        }
        let mut turned = made_for.clone();
        turned.logs.reverse();
        let error = turned.check_logs(&made_for, "mine").expect_err("readers take logs in their order").to_string();
        assert!(error.starts_with("mine: logs must stand in this order: "), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_on_one_line() {
        let cases = [
            (GOOD.replace("shards: 2", "shards: 0"), "shards is 0"),
            (GOOD.replace("shards: 2", "shards: many"), "line 2"),
            (GOOD.replace("discard: new", "discard: old"), "never drops records"),
            (GOOD.replace("readers: [ledger]", "reader: [ledger]"), "reader"),
            (GOOD.replace("name: ledger", "name: accounts"), "declared twice"),
            ("shards: [".to_owned(), "line"),
            (String::new(), ""),
        ];
        for (text, expected) in cases {
            let error = Topology::parse(&text, "streams.yaml").expect_err("bad").to_string();
            assert!(error.starts_with("streams.yaml: ") && error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
