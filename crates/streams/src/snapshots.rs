//! When the engine takes snapshots, and the one that is being written beside its steps. This module
//! must never know where they go.

use std::time::Duration;

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use crate::{Checkpoint, Fault, Service};

/// A snapshot is written after this many records, of inputs, or of the own log while that is folded: so a restart folds no
/// more than about a second's worth of its own log …
const SNAPSHOT_RECORDS: u64 = 2_000;
/// … or after this long, if anything came in at all.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
/// So many records are gathered at most while one is being written: then steps wait for it, since what changed takes memory, and
/// a disk may hang for ever. At a thousand records a second it is some three minutes.
const MOST_UNWRITTEN: u64 = 100 * SNAPSHOT_RECORDS;
/// How long after one failed a process that stands by begins anew from the last: what changed since then is in memory.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// When snapshots are taken, and the one being written, which goes on beside the steps.
#[derive(Default)]
pub(crate) struct Snapshots {
    records: u64,
    idle_since: Option<Instant>,
    writing: Option<JoinHandle<Result<(), Fault>>>,
    /// Why one could not be written, until somebody heard of it, and since when.
    failed: Option<(Fault, Instant)>,
}

impl Snapshots {
    pub(crate) fn begin(&mut self) {
        self.records = 0;
        self.idle_since = Some(Instant::now());
    }

    pub(crate) fn count(&mut self, records: usize) {
        self.records += records as u64;
    }

    pub(crate) fn is_full(&self) -> bool {
        let is_writing = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        self.records >= if is_writing { MOST_UNWRITTEN } else { SNAPSHOT_RECORDS }
    }

    /// Whether one failed so long ago that it is worth to fold once more what came since the last.
    pub(crate) fn is_to_be_tried_again(&self) -> bool {
        self.failed.as_ref().is_some_and(|(_, since)| since.elapsed() > RETRY_AFTER)
    }

    /// Resolves when something came in, the interval is over, and none is being written: steps do not wait for a slow disk.
    pub(crate) async fn due(&mut self) {
        match self.idle_since {
            Some(since) if self.records > 0 => {
                tokio::time::sleep_until(since + SNAPSHOT_INTERVAL).await;
                self.settle().await;
            }
            Some(_) | None => std::future::pending().await,
        }
    }

    pub(crate) async fn take<S: Service>(&mut self, service: &mut S, at: &Checkpoint) -> Result<(), Fault> {
        self.wait().await?;
        if self.records > 0 {
            self.writing = Some(tokio::task::spawn_blocking(service.snapshot(at)));
        }
        self.begin();
        Ok(())
    }

    /// The same while a long log is folded. One that fails is not tried again on the way: it is heard of once the service works,
    /// which it would never do otherwise while its disk is full.
    pub(crate) async fn take_on_the_way<S: Service>(&mut self, service: &mut S, at: &Checkpoint) {
        self.settle().await;
        if self.failed.is_none() {
            self.writing = Some(tokio::task::spawn_blocking(service.snapshot(at)));
        }
        self.begin();
    }

    async fn wait(&mut self) -> Result<(), Fault> {
        if self.records >= MOST_UNWRITTEN {
            tracing::warn!(records = self.records, "A snapshot takes so long to be written that its service waits; look at its disk");
        }
        self.settle().await;
        self.failed.take().map_or(Ok(()), |(fault, _)| Err(fault))
    }

    /// Waits for the one being written, which stays the one being written where nobody waits to the end.
    async fn settle(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let written = writing.await;
        self.writing = None;
        let panicked = |panic: JoinError| Fault::Store { file: "snapshot".to_owned(), why: panic.to_string() };
        self.failed = written.map_err(panicked).and_then(|written| written).err().map(|fault| (fault, Instant::now()));
    }

    /// Waits for the snapshot being written: the next restore reads it.
    pub(crate) async fn finish(&mut self) -> Result<(), Fault> {
        self.idle_since = None;
        self.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_is_tried_again_after_a_while_and_heard_of_once() {
        let why = || Fault::Store { file: "shelf".to_owned(), why: "the disk is full".to_owned() };
        let mut snapshots = Snapshots { failed: Some((why(), Instant::now())), ..Snapshots::default() };
        assert!(!snapshots.is_to_be_tried_again());
        tokio::time::advance(RETRY_AFTER + Duration::from_secs(1)).await;
        assert!(snapshots.is_to_be_tried_again());
        assert!(snapshots.finish().await.is_err());
        assert!(!snapshots.is_to_be_tried_again() && snapshots.finish().await.is_ok());
    }

    #[tokio::test]
    async fn steps_go_on_beside_one_that_is_written_but_not_for_ever() {
        let mut snapshots = Snapshots { records: SNAPSHOT_RECORDS, ..Snapshots::default() };
        assert!(snapshots.is_full());
        snapshots.writing = Some(tokio::spawn(std::future::pending()));
        assert!(!snapshots.is_full());
        snapshots.records = MOST_UNWRITTEN;
        assert!(snapshots.is_full());
    }
}
