//! The step engine: runs a service over its inputs and appends what it decides to its own log.
//!
//! A step takes all that waits (bounded), decides on each record, and appends one record with all
//! events and the cursor. While that append is in flight the next inputs gather. Whatever goes wrong
//! with an append, the engine drops all state and starts over from the log, which knows.
//! This module must never know what a service decides.

mod standby;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    AppendError, Batches, Chain, Checkpoint, Condition, Cursor, Draft, Fault, Host, Inputs, Link, Log, LogName, Mark, Record, Service,
    Step, feed::Writer, metrics::WriterMetrics, snapshots::Snapshots,
};

/// What one step takes, where the server's limit of a message lets it. What a first record alone may exceed this by is bounded by the
/// gateway's command records.
const STEP: Batches = Batches { records: 256, bytes: 256 * 1024 };
/// Pause before starting over after an append without an answer, so that an outage is not polled hot …
const RESTART_PAUSE: Duration = Duration::from_millis(50);
/// … and the longest, where none is acknowledged again and again: each time a snapshot is read, and the log after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    /// The logs of those who read this one: their last records say how far it had come.
    readers: Vec<Log>,
    host: Host,
    service: S,
    snapshots: Snapshots,
    metrics: WriterMetrics,
    /// The last record of the own log that this process knows of.
    known: Mark,
    /// The connection on which an append was not acknowledged, and the record that it was to follow, until one is again.
    stalled: Option<(Link, u64)>,
    /// What the next pause is to be.
    pause: Duration,
}

impl<S: Service> Engine<S> {
    /// The engine of the service that owns `log` and reads what the topology declares for `owner`.
    pub fn new(host: &Host, owner: &str, log: LogName, service: S) -> Self {
        let inputs = host.topology.read_by(owner, log.shard());
        let commands = inputs.iter().filter(|input| host.topology.is_command_log(input)).cloned().collect();
        Self {
            metrics: WriterMetrics::new(&log),
            readers: host.topology.logs_of_readers(&log).into_iter().map(|reader| host.broker.log(reader)).collect(),
            log: host.broker.log(log),
            inputs,
            commands,
            host: host.clone(),
            service,
            snapshots: Snapshots::default(),
            known: Mark::default(),
            stalled: None,
            pause: RESTART_PAUSE,
        }
    }

    /// Runs until the host stops.
    ///
    /// # Errors
    /// The [`Fault`] that makes going on wrong.
    pub async fn run(mut self) -> Result<(), Fault> {
        let ended = self.run_on().await;
        if let Err(fault) = &ended {
            // Before it is waited for what is still being written, which may hang as well.
            self.host.health.halted(self.log.name(), fault);
            // Whoever runs it again opens that file. What becomes of it is not what ended this.
            let _ = self.snapshots.finish().await;
        }
        ended
    }

    async fn run_on(&mut self) -> Result<(), Fault> {
        let stop = self.host.stop.clone();
        let mut folded = None;
        loop {
            let restart = self.run_once(folded.take(), &stop).await?;
            if matches!(restart, Restart::Unsure) {
                // Until its log can be read again, which may be for long where only this connection leads to no leader.
                let condition = if self.stalled.is_some() { Condition::Stalled } else { Condition::Starting };
                self.host.health.note(self.log.name(), condition);
            }
            self.snapshots.finish().await?;
            match restart {
                Restart::Stopped => return Ok(()),
                Restart::Unsure => tokio::time::sleep(self.pause).await,
                Restart::Fenced => {
                    tracing::info!(log = %self.log.name(), "Another writer has this log; standing by");
                    self.host.health.note(self.log.name(), Condition::StandingBy);
                    folded = tokio::select! {
                        folded = self.stand_by() => folded?,
                        () = stop.cancelled() => return self.snapshots.finish().await,
                    };
                }
            }
        }
    }

    /// Goes on from what was `folded` of the own log, or from the snapshot.
    async fn run_once(&mut self, folded: Option<Checkpoint>, stop: &CancellationToken) -> Result<Restart, Fault> {
        let caught_up = tokio::select! {
            caught_up = self.catch_up(folded) => caught_up?,
            () = stop.cancelled() => return Ok(Restart::Stopped),
        };
        let Some((mut at, mut inputs)) = caught_up else { return Ok(Restart::Unsure) };
        if self.stalled.is_none() {
            tracing::info!(log = %self.log.name(), record = at.own.seq, "A service is up");
        }
        // Where a record follows, that append was stored, or another writer's was, and there may be nothing left to append whose answer
        // would tell that the log takes records.
        let is_stalled = self.stalled == Some((*self.host.broker.link().borrow(), at.own.seq));
        self.host.health.note(self.log.name(), if is_stalled { Condition::Stalled } else { Condition::Up });
        self.snapshots.begin();
        let writer = self.host.broker.feeds.writer(self.log.name());
        // As many events are to be expected of the next step.
        let mut said = 0;
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
            let step = self.decide(&batch, said, &mut at.cursor)?;
            said = step.as_ref().map_or(0, |step| step.events.len());
            if let Some(step) = step {
                match self.append(step, &at, &inputs, &writer).await? {
                    Ok(own) => at.own = own,
                    Err(restart) => return Ok(restart),
                }
            }
            if self.snapshots.is_full() {
                tokio::select! {
                    taken = self.snapshot(&at, &inputs) => taken?,
                    () = stop.cancelled() => return Ok(Restart::Stopped),
                }
            }
        }
    }

    /// Decides on inputs, which are expected to come to so many events; no step, where there is nothing to append.
    fn decide(&mut self, batch: &VecDeque<Record>, expected: usize, cursor: &mut Cursor) -> Result<Option<Step<S::Event>>, Fault> {
        let mut step = Step::with_room(expected);
        let mut answers = false;
        for record in batch {
            let is_command = self.commands.contains(&record.log);
            record.belongs(is_command)?;
            answers |= is_command;
            self.service.decide(record, &mut step)?;
            step.traces.extend(&record.traces);
            self.rest_on(cursor, record);
        }
        self.snapshots.count(batch.len());
        // A command is always answered, be it by a record without events: callers wait for the
        // cursor to pass their command.
        Ok(Some(step).filter(|step| answers || !step.events.is_empty()))
    }

    /// Snapshots the state. Its inputs stand where they were taken, which for a read model that is
    /// still catching up is behind the cursor: what the last record rests on stays the least to decide by.
    async fn snapshot(&mut self, at: &Checkpoint, inputs: &Inputs) -> Result<(), Fault> {
        let checkpoint = Checkpoint { inputs: inputs.marks(), ..at.clone() };
        self.snapshots.take(&mut self.service, &checkpoint).await
    }

    /// Folds the own log to its end, from where it was `folded` or from the snapshot; none, where the server went away.
    async fn catch_up(&mut self, folded: Option<Checkpoint>) -> Result<Option<(Checkpoint, Inputs)>, Fault> {
        let folded = match folded {
            Some(at) => Some(at),
            None => self.restore().await?,
        };
        let Some(mut at) = folded else { return Ok(None) };
        let Some(info) = self.recognise(&self.known).await? else { return Ok(None) };
        let mut own = self.log.follow(at.own);
        while at.own.seq < info.last {
            let record = own.next().await?;
            self.fold(&mut at, &record).await?;
        }
        let marks = self.inputs.iter().map(|log| (log.clone(), at.inputs.get(log).copied().unwrap_or_default())).collect();
        let inputs = Inputs::follow(&self.host.broker, marks, &at.cursor, step_of(self.host.broker.max_payload(), S::MOST_GROWTH));
        // What is decided from here on rests on all of the read models, also on what they were ahead.
        at.cursor.merge(inputs.taken());
        Ok(Some((at, inputs)))
    }

    /// Moves on to where the service stood when it appended `record` of its own log. Its read models
    /// stay where the snapshot has them.
    fn take_up(&self, at: &mut Checkpoint, record: &Record) {
        let models = self.service.read_models();
        for log in self.inputs.iter().filter(|log| !models.contains(&log.base())) {
            let created = at.inputs.get(log).and_then(|mark| mark.created);
            let mark = Mark { seq: record.cursor.get(log), chain: record.inputs.get(log).copied(), created };
            at.inputs.insert(log.clone(), mark);
        }
        at.cursor = record.cursor.clone();
        at.own = record.mark();
    }

    /// Takes over a record of the own log. Snapshots are taken on the way: a long log is folded once, however often that is
    /// interrupted, and what changed since the last one takes little memory, as long as they can be written.
    async fn fold(&mut self, at: &mut Checkpoint, record: &Record) -> Result<(), Fault> {
        // No service's says of the inputs what would have them decided once more.
        record.belongs(false)?;
        for event in record.events::<S::Event>()?.iter() {
            self.service.evolve(event);
        }
        self.take_up(at, record);
        if at.own.seq > self.known.seq {
            self.known = at.own;
        }
        self.snapshots.count(1);
        if self.snapshots.is_full() {
            self.snapshots.take_on_the_way(&mut self.service, at).await;
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

    /// Appends a step, and says which record it became.
    async fn append(
        &mut self,
        step: Step<S::Event>,
        at: &Checkpoint,
        inputs: &Inputs,
        writer: &Writer,
    ) -> Result<Result<Mark, Restart>, Fault> {
        let name = self.log.name();
        let concerns = step.concerns.iter().copied().collect();
        let decided_on: BTreeMap<LogName, Chain> = inputs.marks().into_iter().filter_map(|(log, mark)| Some((log, mark.chain?))).collect();
        let (traces, _under_way) = step.trace(name, S::about);
        let draft = Draft::new(&step.events, &at.cursor, concerns)
            .map_err(|why| Fault::Unreadable { log: name.clone(), seq: at.own.seq + 1, why })?
            .decided_on(decided_on)
            .traced(traces)
            .chained(at.own.chain.unwrap_or_default());
        match self.metrics.measure(step.events.len(), self.log.append(&draft, Some(at.own.seq))).await {
            Ok(seq) => {
                self.service.appended(&step.events);
                let own = Mark { seq, chain: draft.chain, created: at.own.created };
                writer.offer(seq, draft, Arc::new(step.events));
                self.acknowledged(own);
                Ok(Ok(own))
            }
            Err(AppendError::Refused) => Ok(Err(Restart::Fenced)),
            Err(AppendError::TooLarge(bytes)) => Err(Fault::StepTooLarge { log: name.clone(), bytes }),
            Err(error @ (AppendError::Unavailable(_) | AppendError::Overloaded | AppendError::Unknown(_))) => {
                let link = *self.host.broker.link().borrow();
                if self.stalled.replace((link, at.own.seq)).is_some_and(|(before, _)| before == link) {
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                } else {
                    tracing::warn!(log = %name, %error, "An append was not acknowledged; starting over from the log, until one is");
                    self.pause = RESTART_PAUSE;
                }
                Ok(Err(Restart::Unsure))
            }
        }
    }

    fn acknowledged(&mut self, own: Mark) {
        self.known = own;
        if self.stalled.take().is_some() {
            self.pause = RESTART_PAUSE;
            tracing::info!(log = %self.log.name(), record = own.seq, "Appends are acknowledged again");
            self.host.health.note(self.log.name(), Condition::Up);
        }
    }
}

/// What one step takes where a message has at most `payload` bytes, and events so many times the bytes of what they follow from.
fn step_of(payload: usize, growth: usize) -> Batches {
    Batches { bytes: STEP.bytes.min(payload / growth), ..STEP }
}
