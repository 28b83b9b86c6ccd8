//! What an engine does before it writes: it takes up its snapshot, makes sure that its log is whole, and folds along while
//! another process writes that. This module must never append.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{
    task::block_in_place,
    time::{Instant, sleep, timeout},
};

use super::{Engine, RESTART_PAUSE};
use crate::{
    Checkpoint, Fault, Log, LogInfo, Mark, Service,
    follower::{Interrupted, recognise},
};

/// A writer that was fenced stands by until its log was quiet for this long although inputs wait:
/// then the other writer is gone or stalled, and whoever appends first has the log.
const STANDBY_QUIET: Duration = Duration::from_millis(500);
/// How long it is waited for the last record of somebody who reads the log: a stream without a leader has a new one by then.
const READER_WAIT: Duration = Duration::from_secs(5);

impl<S: Service> Engine<S> {
    /// Takes up the state of the last snapshot, once it is certain that the own log still has what that, this process, and
    /// whoever reads the log have seen of it; none, where the server went away.
    pub(super) async fn restore(&mut self) -> Result<Option<Checkpoint>, Fault> {
        // While the server is away nothing is loaded: with millions of accounts that takes seconds.
        if self.recognise(&self.known).await?.is_none() {
            return Ok(None);
        }
        let mut at = block_in_place(|| self.service.restore())?;
        self.snapshots.begin();
        let Some(info) = self.recognise(&at.own).await? else { return Ok(None) };
        at.own.created = Some(info.created);
        let seen = join_all(self.readers.iter().map(|reader| self.seen_by(reader))).await.into_iter().max();
        Ok(self.recognise(&Mark::at(seen.unwrap_or(0))).await?.map(|_| at))
    }

    /// Makes sure that the own log is the one that was known up to `mark`; none, where the server went away.
    pub(super) async fn recognise(&self, mark: &Mark) -> Result<Option<LogInfo>, Fault> {
        match recognise(&self.log, mark).await {
            Ok(info) => Ok(Some(info)),
            Err(Interrupted::Fault(fault)) => Err(fault),
            Err(Interrupted::Retry(_) | Interrupted::Dropped) => Ok(None),
        }
    }

    /// How far the own log had come by the last record in the log of somebody who reads it, 0 where that cannot be said.
    async fn seen_by(&self, reader: &Log) -> u64 {
        let since = Instant::now();
        loop {
            match reader.last_seen(self.log.name()).await {
                Ok(seq) => return seq,
                Err(why) if since.elapsed() > READER_WAIT => {
                    tracing::warn!(log = %self.log.name(), reader = %reader.name(), why, "What a reader has seen of this log cannot be asked; going on without");
                    return 0;
                }
                Err(_) => sleep(RESTART_PAUSE).await,
            }
        }
    }

    /// Folds along, until the log is quiet although inputs wait: then its writer is gone, or stalled, or nothing follows from those
    /// inputs, and whoever appends first has the log. None, where the server went away.
    pub(super) async fn stand_by(&mut self) -> Result<Option<Checkpoint>, Fault> {
        let Some(mut at) = self.restore().await? else { return Ok(None) };
        let mut own = self.log.follow(at.own);
        loop {
            match timeout(STANDBY_QUIET, own.next()).await {
                Ok(record) => self.fold(&mut at, &record?).await?,
                Err(_) if self.is_behind(&at).await => return Ok(Some(at)),
                Err(_) => {}
            }
            if self.snapshots.is_to_be_tried_again() {
                if let Err(why) = self.snapshots.finish().await {
                    tracing::warn!(log = %self.log.name(), %why, "A snapshot could not be written; going on from the one before");
                }
                let Some(restored) = self.restore().await? else { return Ok(None) };
                at = restored;
                own = self.log.follow(at.own);
            }
        }
    }

    /// Whether all of the own log was folded, and an input has more records than it rests on. What cannot be asked now may be
    /// otherwise: then it is not.
    async fn is_behind(&self, at: &Checkpoint) -> bool {
        if !self.log.info().await.is_ok_and(|info| info.last == at.own.seq) {
            return false;
        }
        for log in &self.inputs {
            if self.host.broker.log(log.clone()).info().await.is_ok_and(|info| info.last > at.cursor.get(log)) {
                return true;
            }
        }
        false
    }
}
