//! Several logs followed together, in causal order: a record is taken only after everything that it
//! rests on, as far as it stands in the other logs followed here. So whoever reads a payment has
//! read the opening of its accounts before. This module must never interpret a record.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    task::{Context, Poll},
};

use crate::{Broker, Cursor, Fault, Follower, LogName, Mark, Record};

/// How much of what waits is taken at once.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// Most records.
    pub records: usize,
    /// Most bytes of several records; a first one alone may have more.
    pub bytes: usize,
}

#[derive(Debug)]
struct Input {
    name: LogName,
    follower: Follower,
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
    batches: Batches,
}

impl Inputs {
    /// Follows `logs`, each from behind its mark. Nothing of a log is taken while another is behind
    /// `floor`, which is what a log rests on that is to be continued.
    #[must_use]
    pub fn follow(broker: &Broker, logs: Vec<(LogName, Mark)>, floor: &Cursor, batches: Batches) -> Self {
        let taken: Cursor = logs.iter().map(|(name, mark)| (name.clone(), mark.seq)).collect();
        let floor = floor.iter().filter(|(log, seq)| logs.iter().any(|(name, _)| name == *log) && taken.get(log) < *seq);
        let floor = floor.map(|(log, seq)| (log.clone(), seq)).collect();
        let start = |(name, mark): (LogName, Mark)| Input { follower: broker.log(name.clone()).follow(mark), name, mark, head: None };
        Self { inputs: logs.into_iter().map(start).collect(), taken, floor, batches }
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
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<VecDeque<Record>, Fault>> {
        let mut batch = VecDeque::new();
        let mut bytes = 0;
        loop {
            let mut progress = false;
            for index in 0..self.inputs.len() {
                while batch.len() < self.batches.records {
                    let room = if batch.is_empty() { usize::MAX } else { self.batches.bytes.saturating_sub(bytes) };
                    match self.poll_one(index, room, cx) {
                        Poll::Ready(Ok(record)) => {
                            bytes += record.len();
                            batch.push_back(record);
                            progress = true;
                        }
                        Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                        Poll::Pending => break,
                    }
                }
            }
            // What was taken may have set another log's head free, so they are asked until none gives.
            if !progress || batch.len() >= self.batches.records {
                return if batch.is_empty() { Poll::Pending } else { Poll::Ready(Ok(batch)) };
            }
        }
    }

    /// Takes the next record of one log, if it may be taken yet and has no more bytes than `room`.
    fn poll_one(&mut self, index: usize, room: usize, cx: &mut Context<'_>) -> Poll<Result<Record, Fault>> {
        let input = &mut self.inputs[index];
        let record = match input.head.take() {
            Some(record) => record,
            None => match input.follower.poll_next(cx) {
                Poll::Ready(Ok(record)) => record,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            },
        };
        if record.len() <= room && self.may_take(&record) {
            self.taken.advance(&record.log, record.seq);
            self.inputs[index].mark = record.mark();
            Poll::Ready(Ok(record))
        } else {
            // No waker is needed: it waits for another log, which is polled too, or for the next batch.
            self.inputs[index].head = Some(record);
            Poll::Pending
        }
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
