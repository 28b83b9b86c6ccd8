//! The step engine: runs a service over its inputs and appends what it decides to its own log.
//!
//! A step takes all that waits (bounded), decides on each record, and appends one record with all
//! events and the cursor. While that append is in flight the next inputs gather. Whatever goes wrong
//! with an append, the engine drops all state and starts over from the log, which knows.
//! This module must never know what a service decides.

use std::{collections::BTreeSet, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{AppendError, Broker, Cursor, Draft, Fault, Follower, Inputs, Log, LogName, Mark, Record, Topology, now};

/// A snapshot is written after this many input records, so that a restart folds no more than about
/// a second's worth of its own log …
const SNAPSHOT_RECORDS: u64 = 2_000;
/// … or after this long, if anything came in at all.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
/// A writer that was fenced stands by until its log was quiet for this long: then the other writer
/// is gone, or idle, and whoever appends first has the log.
const STANDBY_QUIET: Duration = Duration::from_millis(500);
/// Pause before starting over after an append without an answer, so that an outage is not polled hot.
const RESTART_PAUSE: Duration = Duration::from_millis(50);

/// How far a service's state has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// In its own log.
    pub own: Mark,
    /// In its inputs.
    pub cursor: Cursor,
}

/// What a service decides in a step.
#[derive(Debug)]
pub struct Step<E> {
    /// The instant that its events carry.
    pub at: domain::Timestamp,
    events: Vec<E>,
    concerns: BTreeSet<u16>,
}

impl<E> Step<E> {
    fn new() -> Self {
        Self { at: now(), events: Vec::new(), concerns: BTreeSet::new() }
    }

    /// Says an event, for another shard to act on where it `concerns` one.
    pub fn say(&mut self, event: E, concerns: Option<u16>) {
        self.events.push(event);
        self.concerns.extend(concerns);
    }
}

/// Writes a snapshot; run where blocking is allowed.
pub type Snapshot = Box<dyn FnOnce() -> Result<(), Fault> + Send>;

/// What the engine runs.
pub trait Service: Send + Sync + 'static {
    /// What its own log holds.
    type Event: Serialize + DeserializeOwned + Send + Sync;

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

    /// Hands out what changed since the last snapshot, to be written together with `checkpoint`.
    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot;

    /// The inputs that are a read model of the service: they change what it decides by without an
    /// event of its own, so their position is the snapshot's, whatever the log says.
    fn read_models(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Why a run of the engine ended and another begins.
enum Restart {
    /// Another writer has the log.
    Fenced,
    /// An append had no answer, or the server is away.
    Unsure,
    /// The process stops.
    Stopped,
}

/// A service, its log and its inputs.
pub struct Engine<S: Service> {
    log: Log,
    inputs: Vec<LogName>,
    commands: Vec<LogName>,
    broker: Broker,
    service: S,
    snapshots: Snapshots,
}

impl<S: Service> Engine<S> {
    /// The engine of the service that owns `log` and is declared to read what `topology` says.
    pub fn new(broker: &Broker, topology: &Topology, owner: &str, log: LogName, service: S) -> Self {
        let inputs = topology.read_by(owner, log.shard());
        let commands = inputs.iter().filter(|input| topology.is_command_log(input)).cloned().collect();
        Self { log: broker.log(log), inputs, commands, broker: broker.clone(), service, snapshots: Snapshots::default() }
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The [`Fault`] that makes going on wrong.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Fault> {
        loop {
            let restart = self.run_once(&stop).await?;
            self.snapshots.finish().await?;
            match restart {
                Restart::Stopped => return Ok(()),
                Restart::Unsure => tokio::time::sleep(RESTART_PAUSE).await,
                Restart::Fenced => {
                    tracing::info!(log = %self.log.name(), "Another writer has this log; standing by");
                    tokio::select! {
                        quiet = self.stand_by() => quiet?,
                        () = stop.cancelled() => return Ok(()),
                    }
                }
            }
        }
    }

    async fn run_once(&mut self, stop: &CancellationToken) -> Result<Restart, Fault> {
        let caught_up = tokio::select! {
            caught_up = self.catch_up() => caught_up?,
            () = stop.cancelled() => return Ok(Restart::Stopped),
        };
        let Some((mut at, mut inputs)) = caught_up else { return Ok(Restart::Unsure) };
        tracing::info!(log = %self.log.name(), record = at.own.seq, "A service is up");
        self.snapshots.begin();
        loop {
            let batch = tokio::select! {
                batch = inputs.batch() => batch?,
                () = self.snapshots.due() => {
                    self.snapshot(&at, &inputs).await?;
                    continue;
                }
                () = stop.cancelled() => {
                    self.snapshot(&at, &inputs).await?;
                    return Ok(Restart::Stopped);
                }
            };
            let mut step = Step::new();
            let mut answers = false;
            for record in &batch {
                answers |= self.commands.contains(&record.log);
                self.service.decide(record, &mut step)?;
                self.rest_on(&mut at.cursor, record);
            }
            self.snapshots.count(batch.len());
            // A command is always answered, be it by a record without events: callers wait for the
            // cursor to pass their command.
            if !step.events.is_empty() || answers {
                match self.append(&step, &at).await? {
                    Ok(own) => at.own = own,
                    Err(restart) => return Ok(restart),
                }
            }
            if self.snapshots.is_full() {
                self.snapshot(&at, &inputs).await?;
            }
        }
    }

    /// Snapshots the state. Its inputs stand where they were taken, which for a read model that is
    /// still catching up is behind what the last record rests on.
    async fn snapshot(&mut self, at: &Checkpoint, inputs: &Inputs) -> Result<(), Fault> {
        let mut checkpoint = at.clone();
        self.inputs.iter().for_each(|log| checkpoint.cursor.set(log, inputs.taken().get(log)));
        self.snapshots.take(&mut self.service, &checkpoint).await
    }

    /// Restores the snapshot and folds the rest of the own log; none, where the server went away.
    async fn catch_up(&mut self) -> Result<Option<(Checkpoint, Inputs)>, Fault> {
        let Ok(info) = self.log.info().await else { return Ok(None) };
        let mut at = self.service.restore()?;
        let models = self.service.read_models();
        let kept = at.cursor.clone();
        let mut own = self.log.follow(at.own);
        if info.last < at.own.seq {
            return Err(Fault::LostTail { log: self.log.name().clone(), last: info.last, expected: at.own.seq });
        }
        while at.own.seq < info.last {
            let record = own.next().await?;
            self.fold(&record)?;
            at.cursor = record.cursor.clone();
            at.own = record.mark();
        }
        at.own.created = Some(info.created);
        let start = |log: &LogName| if models.contains(&log.base()) { kept.get(log) } else { at.cursor.get(log) };
        let marks = self.inputs.iter().map(|log| (log.clone(), Mark::at(start(log)))).collect();
        let inputs = Inputs::follow(&self.broker, marks, &at.cursor);
        // What is decided from here on rests on all of the read models, also on what they were ahead.
        at.cursor.merge(inputs.taken());
        Ok(Some((at, inputs)))
    }

    fn fold(&mut self, record: &Record) -> Result<(), Fault> {
        for event in &record.events::<S::Event>()? {
            self.service.evolve(event);
        }
        Ok(())
    }

    /// Notes that the next record rests on this input, and on what that rests on: of the other
    /// shards' logs only those that are read here, which is all that anyone can ask about.
    fn rest_on(&self, cursor: &mut Cursor, input: &Record) {
        let own = self.log.name();
        for (log, seq) in input.cursor.iter() {
            let near = log.shard().is_none() || log.shard() == own.shard();
            if log != own && (near || self.inputs.contains(log)) {
                cursor.advance(log, seq);
            }
        }
        cursor.advance(&input.log, input.seq);
    }

    async fn append(&self, step: &Step<S::Event>, at: &Checkpoint) -> Result<Result<Mark, Restart>, Fault> {
        let name = self.log.name();
        let concerns = step.concerns.iter().copied().collect();
        let draft = Draft::new(&step.events, &at.cursor, concerns)
            .map_err(|why| Fault::Unreadable { log: name.clone(), seq: at.own.seq + 1, why })?
            .chained(at.own.chain.unwrap_or_default());
        match self.log.append(&draft, Some(at.own.seq)).await {
            Ok(seq) => Ok(Ok(Mark { seq, chain: draft.chain, created: at.own.created })),
            Err(AppendError::Refused) => Ok(Err(Restart::Fenced)),
            Err(AppendError::TooLarge(bytes)) => Err(Fault::StepTooLarge { log: name.clone(), bytes }),
            Err(error @ (AppendError::Unavailable(_) | AppendError::Unknown(_))) => {
                tracing::warn!(log = %name, %error, "An append was not acknowledged; starting over from the log");
                Ok(Err(Restart::Unsure))
            }
        }
    }

    /// Waits until the log has been quiet for a while.
    async fn stand_by(&mut self) -> Result<(), Fault> {
        let Ok(info) = self.log.info().await else { return Ok(()) };
        let mut own: Follower = self.log.follow(Mark::at(info.last));
        while let Ok(record) = tokio::time::timeout(STANDBY_QUIET, own.next()).await {
            record?;
        }
        Ok(())
    }
}

/// When snapshots are taken, and the one being written, which goes on beside the steps.
#[derive(Default)]
struct Snapshots {
    records: u64,
    idle_since: Option<Instant>,
    writing: Option<JoinHandle<Result<(), Fault>>>,
}

impl Snapshots {
    fn begin(&mut self) {
        self.records = 0;
        self.idle_since = Some(Instant::now());
    }

    fn count(&mut self, records: usize) {
        self.records += records as u64;
    }

    fn is_full(&self) -> bool {
        self.records >= SNAPSHOT_RECORDS && self.writing.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Resolves when something came in and the interval is over.
    async fn due(&self) {
        match self.idle_since {
            Some(since) if self.records > 0 => tokio::time::sleep_until(since + SNAPSHOT_INTERVAL).await,
            Some(_) | None => std::future::pending().await,
        }
    }

    async fn take<S: Service>(&mut self, service: &mut S, at: &Checkpoint) -> Result<(), Fault> {
        self.wait().await?;
        if self.records > 0 {
            self.writing = Some(tokio::task::spawn_blocking(service.snapshot(at)));
        }
        self.begin();
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Fault> {
        match self.writing.take() {
            Some(writing) => {
                writing.await.unwrap_or_else(|panic| Err(Fault::Store { file: "snapshot".to_owned(), why: panic.to_string() }))
            }
            None => Ok(()),
        }
    }

    /// Waits for the snapshot being written: the next restore reads it.
    async fn finish(&mut self) -> Result<(), Fault> {
        self.idle_since = None;
        self.wait().await
    }
}
