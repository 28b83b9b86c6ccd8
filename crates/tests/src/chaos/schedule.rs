//! Which fault comes when. Pure: a seed says it all. This module must never know how a fault is made.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng, seq::SliceRandom as _};

/// What can happen to a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL to one `serve`, which is started again.
    KillServe,
    /// SIGKILL to both at once.
    KillBoth,
    /// SIGKILL to nats-server, which its supervisor starts again.
    KillNats,
    /// SIGKILL to nats-server's supervisor, with which it ends.
    KillSupervisor,
    /// SIGSTOP to one `serve` for longer than any of its timeouts, then SIGCONT: a writer that wakes up.
    PauseServe,
    /// The same to nats-server.
    PauseNats,
    /// The network between one `serve` and nats-server is gone.
    Cut,
    /// It is slow.
    Delay,
    /// Requests arrive and are acted on, answers do not come back; then it is cut.
    Swallow,
    /// One `serve` is killed and all of its redb files are deleted.
    DeleteFiles,
    /// One `serve` is killed and one of its redb files loses its second half.
    TruncateFile,
    /// One `serve` is killed and a page of one of its redb files is overwritten.
    DamageFile,
    /// The disk of nats-server is full.
    FullLogDisk,
    /// The disk of one `serve` is full.
    FullModelDisk,
    /// Every fsync of nats-server fails.
    FailingFsync,
    /// All disks lose what was not synced, and everything ends.
    PowerCut,
}

impl Fault {
    /// Whether it hits one `serve` only, so that the other has to go on at once.
    #[must_use]
    pub const fn leaves_one(self) -> bool {
        match self {
            Self::KillServe
            | Self::PauseServe
            | Self::Cut
            | Self::Delay
            | Self::Swallow
            | Self::DeleteFiles
            | Self::TruncateFile
            | Self::DamageFile
            | Self::FullModelDisk => true,
            Self::KillBoth
            | Self::KillNats
            | Self::KillSupervisor
            | Self::PauseNats
            | Self::FullLogDisk
            | Self::FailingFsync
            | Self::PowerCut => false,
        }
    }
}

/// Every fault.
pub const ALL: [Fault; 16] = [
    Fault::KillServe,
    Fault::KillBoth,
    Fault::KillNats,
    Fault::KillSupervisor,
    Fault::PauseServe,
    Fault::PauseNats,
    Fault::Cut,
    Fault::Delay,
    Fault::Swallow,
    Fault::DeleteFiles,
    Fault::TruncateFile,
    Fault::DamageFile,
    Fault::FullLogDisk,
    Fault::FullModelDisk,
    Fault::FailingFsync,
    Fault::PowerCut,
];

/// How long faults that last do so. A pause is longer than the five seconds that an append waits.
const LASTING_MS: std::ops::Range<u64> = 500..3_000;
const PAUSE_MS: std::ops::Range<u64> = 6_000..9_000;
/// What is quiet between two faults.
const QUIET_MS: std::ops::Range<u64> = 100..1_500;

/// One fault, when and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Quiet before it.
    pub quiet: Duration,
    /// What.
    pub fault: Fault,
    /// Which of the two `serve` processes, where it is one.
    pub serve: usize,
    /// How long it lasts.
    pub lasting: Duration,
    /// Which of several files, or where in it.
    pub choice: u64,
}

/// Faults without end: every kind once in a random order, then again.
#[derive(Debug)]
pub struct Schedule {
    random: ChaCha8Rng,
    deck: Vec<Fault>,
}

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), deck: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.deck.is_empty() {
            self.deck = ALL.to_vec();
            self.deck.shuffle(&mut self.random);
        }
        let fault = self.deck.pop()?;
        let is_pause = matches!(fault, Fault::PauseServe | Fault::PauseNats);
        let mut millis = |range| Duration::from_millis(self.random.random_range(range));
        let (quiet, lasting) = (millis(QUIET_MS), millis(if is_pause { PAUSE_MS } else { LASTING_MS }));
        Some(Event { quiet, fault, serve: self.random.random_range(0..2), lasting, choice: self.random.random() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_says_it_all() {
        let take = |seed| Schedule::new(seed).take(40).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn every_fault_comes_before_one_comes_again() {
        let faults = |skip: usize| Schedule::new(3).skip(skip).take(ALL.len()).map(|event| event.fault).collect::<BTreeSet<_>>();
        assert_eq!(faults(0).len(), ALL.len());
        assert_eq!(faults(ALL.len()).len(), ALL.len());
    }
}
