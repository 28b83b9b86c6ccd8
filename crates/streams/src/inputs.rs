//! Several logs followed together, in causal order: a record is taken only after everything that it
//! rests on, as far as it stands in the other logs followed here. So whoever reads a payment has
//! read the opening of its accounts before. This module must never interpret a record.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::time::{Instant, sleep_until};

use crate::{Broker, Cursor, Fault, LogName, Mark, Record, feed::Tap};

/// How much of what waits is taken at once.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// Most records.
    pub records: usize,
    /// Most bytes of several records; a first one alone may have more.
    pub bytes: usize,
}

/// What was taken and not yet handed out.
#[derive(Debug, Default)]
struct Gathered {
    records: VecDeque<Record>,
    bytes: usize,
    /// Something that may be taken does not fit any more.
    is_full: bool,
}

#[derive(Debug)]
struct Input {
    name: LogName,
    tap: Tap,
    /// The last record taken.
    mark: Mark,
    /// Read, but not taken yet: what it rests on is still to come.
    head: Option<Record>,
}

/// Logs followed together.
#[derive(Debug)]
pub struct Inputs {
    inputs: Vec<Input>,
    taken: Cursor,
    /// Nothing is taken before the logs here have come so far, except what brings them there.
    floor: Cursor,
    /// Until the logs here have come so far, they are a backlog.
    backlog: Cursor,
    batches: Batches,
    gathered: Gathered,
    /// Nothing of the first log is taken before.
    held_until: Option<Instant>,
}

impl Inputs {
    /// Follows `logs`, each from behind its mark. Nothing of a log is taken while another is behind
    /// `floor`, which is what a log rests on that is to be continued.
    #[must_use]
    pub fn follow(broker: &Broker, logs: Vec<(LogName, Mark)>, floor: &Cursor, batches: Batches) -> Self {
        let taken: Cursor = logs.iter().map(|(name, mark)| (name.clone(), mark.seq)).collect();
        let floor = floor.iter().filter(|(log, seq)| logs.iter().any(|(name, _)| name == *log) && taken.get(log) < *seq);
        let floor = floor.map(|(log, seq)| (log.clone(), seq)).collect();
        let start = |(name, mark): (LogName, Mark)| Input { tap: Tap::new(broker.log(name.clone()), mark), name, mark, head: None };
        Self {
            inputs: logs.into_iter().map(start).collect(),
            taken,
            floor,
            backlog: Cursor::default(),
            batches,
            gathered: Gathered::default(),
            held_until: None,
        }
    }

    /// Logs are known to go on at least to `ends`. Until there, they are taken in step with each
    /// other and in full batches: so what happened to one payment comes together and is written once.
    #[must_use]
    pub fn with_backlog(self, ends: Cursor) -> Self {
        Self { backlog: ends, ..self }
    }

    /// Until then nothing of the first log is taken, so that the others catch up with it. In a backlog they are in step
    /// anyway.
    pub fn hold_first(&mut self, until: Option<Instant>) {
        self.held_until = until.filter(|until| !self.has_backlog() && Instant::now() < *until);
    }

    /// How far each log was taken.
    #[must_use]
    pub const fn taken(&self) -> &Cursor {
        &self.taken
    }

    /// The last record of each log that was taken.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<LogName, Mark> {
        self.inputs.iter().map(|input| (input.name.clone(), input.mark)).collect()
    }

    /// All that waits, at least one record and at most a bounded batch; waits while there is none.
    ///
    /// # Errors
    /// The [`Fault`] in one of the logs.
    pub async fn batch(&mut self) -> Result<VecDeque<Record>, Fault> {
        if let Some(until) = self.held_until {
            tokio::select! {
                batch = poll_fn(|cx| self.poll_batch(cx)) => return batch,
                () = sleep_until(until) => self.held_until = None,
            }
        }
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<VecDeque<Record>, Fault>> {
        if !self.has_backlog() {
            // One of each first, so that none waits for what another has without end.
            for index in 0..self.inputs.len() {
                if let Poll::Ready(record) = self.poll_one(index, cx) {
                    self.gather(record?);
                }
            }
        }
        while let Poll::Ready(record) = self.poll_furthest(cx) {
            self.gather(record?);
        }
        if self.gathered.records.is_empty() || (self.has_backlog() && !self.gathered.is_full) {
            Poll::Pending
        } else {
            Poll::Ready(Ok(std::mem::take(&mut self.gathered).records))
        }
    }

    fn has_backlog(&self) -> bool {
        self.inputs.iter().any(|input| self.is_behind(&input.name))
    }

    fn is_behind(&self, log: &LogName) -> bool {
        self.taken.get(log) < self.backlog.get(log)
    }

    fn gather(&mut self, record: Record) {
        self.gathered.bytes += record.len();
        self.gathered.records.push_back(record);
    }

    /// Topologies declare logs in the order in which they rest on each other: the last goes first.
    fn poll_furthest(&mut self, cx: &mut Context<'_>) -> Poll<Result<Record, Fault>> {
        for index in (0..self.inputs.len()).rev() {
            let polled = self.poll_one(index, cx);
            let input = &self.inputs[index];
            let is_on_its_way = input.head.is_none() && self.is_behind(&input.name);
            if polled.is_ready() || is_on_its_way {
                return polled;
            }
        }
        Poll::Pending
    }

    /// Takes the next record of one log, if it may be taken yet and fits into the batch.
    fn poll_one(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<Result<Record, Fault>> {
        if index == 0 && self.held_until.is_some() {
            return Poll::Pending;
        }
        let input = &mut self.inputs[index];
        let record = match input.head.take() {
            Some(record) => record,
            None => match input.tap.poll_next(cx) {
                Poll::Ready(Ok(record)) => record,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            },
        };
        let may_take = self.may_take(&record);
        if may_take && self.fits(&record) {
            self.taken.advance(&record.log, record.seq);
            self.inputs[index].mark = record.mark();
            Poll::Ready(Ok(record))
        } else {
            // No waker is needed: it waits for another log, which is polled too, or for the next batch.
            self.gathered.is_full |= may_take;
            self.inputs[index].head = Some(record);
            Poll::Pending
        }
    }

    fn fits(&self, record: &Record) -> bool {
        let Gathered { records, bytes, .. } = &self.gathered;
        records.is_empty() || (records.len() < self.batches.records && bytes + record.len() <= self.batches.bytes)
    }

    fn may_take(&self, record: &Record) -> bool {
        let reached = |(log, seq): (&LogName, u64)| *log == record.log || !self.follows(log) || self.taken.get(log) >= seq;
        let raises_floor = self.floor.get(&record.log) > self.taken.get(&record.log);
        record.cursor.iter().all(reached) && (raises_floor || self.floor.iter().all(reached))
    }

    fn follows(&self, log: &LogName) -> bool {
        self.inputs.iter().any(|input| input.name == *log)
    }
}
