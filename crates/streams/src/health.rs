//! How everything that runs in this process stands, for whoever asks whether it is ready.
//! This module must never decide what to do about it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Cursor, Fault, LogName};

/// How a service or a read model stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It takes up its state.
    Starting,
    /// A read model folds what it has missed; it is not asked before it is level.
    CatchingUp,
    /// It works.
    Up,
    /// Its log does not acknowledge what it appends, although the server is there.
    Stalled,
    /// Another process writes its log; it takes over when that one is gone.
    StandingBy,
    /// It met a fault, and will not go on before somebody has mended it.
    Halted(String),
}

impl Condition {
    /// Whether all is as it should be.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        match self {
            Self::Up | Self::StandingBy => true,
            Self::Starting | Self::CatchingUp | Self::Stalled | Self::Halted(_) => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::CatchingUp => f.write_str("catching up"),
            Self::Up => f.write_str("up"),
            Self::Stalled => f.write_str("stalled: its log acknowledges nothing"),
            Self::StandingBy => f.write_str("standing by"),
            Self::Halted(why) => write!(f, "halted: {why}"),
        }
    }
}

/// Conditions by name, and how far read models have come.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    conditions: BTreeMap<LogName, Condition>,
    folded: BTreeMap<LogName, Cursor>,
}

impl Health {
    /// Notes how `name` stands: a service by its log, a read model by its file.
    pub fn note(&self, name: &LogName, condition: Condition) {
        self.parts().conditions.insert(name.clone(), condition);
    }

    /// Notes how far a read model has folded each log that it follows.
    pub fn note_folded(&self, name: &LogName, folded: Cursor) {
        self.parts().folded.insert(name.clone(), folded);
    }

    /// Notes that `name` has halted.
    pub fn halted(&self, name: &LogName, fault: &Fault) {
        self.note(name, Condition::Halted(fault.to_string()));
    }

    /// Whether `name` has halted.
    #[must_use]
    pub fn is_halted(&self, name: &LogName) -> bool {
        matches!(self.parts().conditions.get(name), Some(Condition::Halted(_)))
    }

    /// How everything stands.
    #[must_use]
    pub fn conditions(&self) -> BTreeMap<LogName, Condition> {
        self.parts().conditions.clone()
    }

    /// How far every read model has folded.
    #[must_use]
    pub fn folded(&self) -> BTreeMap<LogName, Cursor> {
        self.parts().folded.clone()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
