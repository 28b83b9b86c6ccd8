//! Several logs followed together, in causal order: a record is taken only after everything that it
//! rests on, as far as it stands in the other logs followed here. So whoever reads a payment has
//! read the opening of its accounts before. This module must never interpret a record.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
};

use crate::{Broker, Cursor, Fault, Follower, LogName, Mark, Record};

/// Most records that one batch takes.
pub const BATCH_RECORDS: usize = 256;
/// A batch of several records has at most this many bytes. The largest growth from one log to the
/// next is the ledger's, below 1.7; so steps stay below a server's usual limit of one mebibyte, and
/// what a first record alone may exceed this by is bounded by the gateway's command records.
pub const BATCH_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Input {
    name: LogName,
    follower: Follower,
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
}

impl Inputs {
    /// Follows `logs`, each from behind its mark. Nothing of a log is taken while another is behind
    /// `floor`, which is what a log rests on that is to be continued.
    #[must_use]
    pub fn follow(broker: &Broker, logs: Vec<(LogName, Mark)>, floor: &Cursor) -> Self {
        let taken: Cursor = logs.iter().map(|(name, mark)| (name.clone(), mark.seq)).collect();
        let floor = floor.iter().filter(|(log, seq)| logs.iter().any(|(name, _)| name == *log) && taken.get(log) < *seq);
        let floor = floor.map(|(log, seq)| (log.clone(), seq)).collect();
        let start = |(name, mark): (LogName, Mark)| Input { follower: broker.log(name.clone()).follow(mark), name, head: None };
        Self { inputs: logs.into_iter().map(start).collect(), taken, floor }
    }

    /// How far each log was taken.
    #[must_use]
    pub const fn taken(&self) -> &Cursor {
        &self.taken
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
                while batch.len() < BATCH_RECORDS {
                    let room = if batch.is_empty() { usize::MAX } else { BATCH_BYTES.saturating_sub(bytes) };
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
            if !progress || batch.len() >= BATCH_RECORDS {
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
