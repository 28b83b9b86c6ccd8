//! What a service is to the engine: it keeps a state, decides on inputs, and says events, step by step.
//! This module must never know when a step is taken, or what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use domain::{PaymentId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Cursor, Fault, LogName, Mark, Record, TraceSpan, Traces, now};

/// How far a service's state has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// In its own log.
    pub own: Mark,
    /// In its inputs, and in what they rest on.
    pub cursor: Cursor,
    /// In its inputs, with what they are recognised by.
    pub inputs: BTreeMap<LogName, Mark>,
}

/// What a service decides in a step.
#[derive(Debug)]
pub struct Step<E> {
    /// The instant that its events carry.
    pub at: Timestamp,
    pub(crate) events: Vec<E>,
    /// The other shards that are to act on them.
    pub(crate) concerns: BTreeSet<u16>,
    /// The payments of its inputs that are followed.
    pub(crate) traces: Traces,
}

impl<E> Step<E> {
    /// One that has room for so many events, and grows if it says more.
    pub(crate) fn with_room(events: usize) -> Self {
        Self { at: now(), events: Vec::with_capacity(events), concerns: BTreeSet::new(), traces: Traces::default() }
    }

    /// Says an event, for another shard to act on where it `concerns` one.
    pub fn say(&mut self, event: E, concerns: Option<u16>) {
        self.events.push(event);
        self.concerns.extend(concerns);
    }

    /// Goes on with the traces of the payments that it says something of.
    pub(crate) fn trace(&self, log: &LogName, about: impl Fn(&E) -> Option<PaymentId>) -> (Traces, Vec<TraceSpan>) {
        self.traces.go_on("step", log, self.at, self.events.iter().filter_map(about))
    }
}

/// Writes a snapshot; run where blocking is allowed.
pub type Snapshot = Box<dyn FnOnce() -> Result<(), Fault> + Send>;

/// What the engine runs.
pub trait Service: Send + Sync + 'static {
    /// How many times the bytes of what it reads its events may have: what is paid and booked grows by less than 1.7.
    const MOST_GROWTH: usize = 2;

    /// What its own log holds.
    type Event: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Drops all state and takes up that of the last snapshot.
    ///
    /// # Errors
    /// [`Fault::Store`], where the snapshot cannot be read.
    fn restore(&mut self) -> Result<Checkpoint, Fault>;

    /// Takes over an event of the own log that is not in the snapshot.
    fn evolve(&mut self, event: &Self::Event);

    /// Decides on an input; what it says it takes over at once, so that the next input sees it.
    ///
    /// # Errors
    /// The [`Fault`] in the record.
    fn decide(&mut self, input: &Record, step: &mut Step<Self::Event>) -> Result<(), Fault>;

    /// Whether there is room for a snapshot. What was handed out for one that then cannot be written is gone from memory.
    ///
    /// # Errors
    /// [`Fault::Store`], where there is none.
    fn has_room(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Hands out what changed since the last snapshot, to be written together with `checkpoint`.
    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot;

    /// The payment that an event is about, whose trace goes on with it.
    fn about(_event: &Self::Event) -> Option<PaymentId> {
        None
    }

    /// Hears what it said, once that is in the log: at one process, and not again after a restart.
    fn appended(&self, _events: &[Self::Event]) {}

    /// The inputs that are a read model of the service: they change what it decides by without an
    /// event of its own, so their position is the snapshot's, whatever the log says.
    fn read_models(&self) -> &'static [&'static str] {
        &[]
    }
}
