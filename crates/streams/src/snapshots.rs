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
    /// Records since the last one that was begun, where its disk has had no room for the next.
    kept: Option<u64>,
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
        if self.records > 0 && self.has_room(service) {
            self.writing = Some(tokio::task::spawn_blocking(service.snapshot(at)));
        }
        self.begin();
        Ok(())
    }

    /// Whether one is to be begun: without room for it the service goes on, and what changed stays in memory, up to a bound.
    fn has_room<S: Service>(&mut self, service: &S) -> bool {
        let kept = self.kept.unwrap_or_default() + self.records;
        match service.has_room() {
            Err(why) if kept < MOST_UNWRITTEN => {
                if self.kept.replace(kept).is_none() {
                    tracing::warn!(%why, "There is no room for snapshots: free some space. Until then a restart takes longer");
                }
                false
            }
            Err(_) => {
                self.kept = Some(0);
                true
            }
            Ok(()) => {
                if self.kept.take().is_some() {
                    tracing::info!("There is room for snapshots again");
                }
                true
            }
        }
    }

    /// The same while a long log is folded. One that fails is not tried again on the way: it is heard of once the service works,
    /// which it would never do otherwise while its disk is full.
    pub(crate) async fn take_on_the_way<S: Service>(&mut self, service: &mut S, at: &Checkpoint) {
        self.settle().await;
        if self.failed.is_none() && self.has_room(service) {
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
    use crate::{Record, Snapshot, Step};

    /// Counts what it hands out.
    #[derive(Default)]
    struct Counting {
        has_full_disk: bool,
        handed_out: usize,
    }

    impl Service for Counting {
        type Event = ();

        fn restore(&mut self) -> Result<Checkpoint, Fault> {
            Ok(Checkpoint::default())
        }

        fn evolve(&mut self, (): &()) {}

        fn decide(&mut self, _: &Record, _: &mut Step<()>) -> Result<(), Fault> {
            Ok(())
        }

        fn has_room(&self) -> Result<(), Fault> {
            let why = || Fault::Store { file: "shelf".to_owned(), why: "the disk is full".to_owned() };
            if self.has_full_disk { Err(why()) } else { Ok(()) }
        }

        fn snapshot(&mut self, _: &Checkpoint) -> Snapshot {
            self.handed_out += 1;
            Box::new(|| Ok(()))
        }
    }

    #[tokio::test]
    async fn nothing_is_handed_out_without_room_for_it_up_to_a_bound() {
        let mut snapshots = Snapshots::default();
        let mut service = Counting { has_full_disk: true, ..Counting::default() };
        let mut take = async |service: &mut Counting, records| {
            snapshots.count(records);
            snapshots.take(service, &Checkpoint::default()).await.expect("it goes on");
            service.handed_out
        };
        let most = usize::try_from(MOST_UNWRITTEN).expect("small");
        assert_eq!(take(&mut service, most / 2).await, 0);
        assert_eq!(take(&mut service, most / 2 - 1).await, 0);
        assert_eq!(take(&mut service, 1).await, 1, "memory has its bound");
        service.has_full_disk = false;
        assert_eq!(take(&mut service, 1).await, 2);
        service.has_full_disk = true;
        assert_eq!(take(&mut service, most - 1).await, 2, "it is counted from the last one on");
    }

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
