//! Why a shard stops: something in a log or a store that must not be skipped. This module must never have what may be
//! tried again.

use crate::LogName;

/// What to do about a log that is not the one that was read.
const RESTORED: &str = "If a backup was restored, stop everything, delete models/ and state/ of the data folders, start, and run millrace audit; if not, restore the log";

/// A reason to halt. Whoever meets one stops that shard, says it once, and leaves the others alone.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// A record is missing.
    #[error("log {log} continues with record {found} after {after}: records are missing")]
    Gap {
        /// The log.
        log: LogName,
        /// The last record that was read.
        after: u64,
        /// The next one that was found.
        found: u64,
    },
    /// The log is shorter than what was read from it.
    #[error("log {log} ends at record {last}, but {expected} records of it were read before: it lost its tail. {RESTORED}")]
    LostTail {
        /// The log.
        log: LogName,
        /// Its last record.
        last: u64,
        /// How far it was read.
        expected: u64,
    },
    /// The log is not the one that was read before.
    #[error("log {log} was created anew, or holds another record {seq} than was read before. {RESTORED}")]
    Replaced {
        /// The log.
        log: LogName,
        /// Where it was compared.
        seq: u64,
    },
    /// A record's hash does not continue the chain.
    #[error("record {seq} of log {log} does not continue the chain of the records before it")]
    BrokenChain {
        /// The log.
        log: LogName,
        /// The record.
        seq: u64,
    },
    /// A record that cannot be understood.
    #[error("record {seq} of log {log} cannot be understood: {why}. A newer millrace may have written it: upgrade this one")]
    Unreadable {
        /// The log.
        log: LogName,
        /// The record.
        seq: u64,
        /// What failed.
        why: String,
    },
    /// A file of this process failed.
    #[error("the store {file} failed: {why}")]
    Store {
        /// The file.
        file: String,
        /// What failed.
        why: String,
    },
    /// The code has a mistake.
    #[error("{part} panicked: {why}")]
    Panicked {
        /// What runs under this name.
        part: LogName,
        /// What the panic said.
        why: String,
    },
    /// A step's events do not fit into a message of the server.
    #[error("a step of log {log} has {bytes} bytes, more than the server's max_payload takes")]
    StepTooLarge {
        /// The log.
        log: LogName,
        /// How large it is.
        bytes: usize,
    },
}

impl Fault {
    /// The record at which it shows, 0 where it is not in a log.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Gap { after, .. } => *after + 1,
            Self::LostTail { expected, .. } => *expected,
            Self::Replaced { seq, .. } | Self::BrokenChain { seq, .. } | Self::Unreadable { seq, .. } => *seq,
            Self::Store { .. } | Self::Panicked { .. } | Self::StepTooLarge { .. } => 0,
        }
    }
}
