//! When the engine takes snapshots, and the one that is being written beside its steps. This module
//! must never know where they go.

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};

use crate::{Checkpoint, Fault, Service};

/// A snapshot is written after this many input records, so that a restart folds no more than about
/// a second's worth of its own log …
const SNAPSHOT_RECORDS: u64 = 2_000;
/// … or after this long, if anything came in at all.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
/// When snapshots are taken, and the one being written, which goes on beside the steps.
#[derive(Default)]
pub(crate) struct Snapshots {
    records: u64,
    idle_since: Option<Instant>,
    writing: Option<JoinHandle<Result<(), Fault>>>,
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
        self.records >= SNAPSHOT_RECORDS && self.writing.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Resolves when something came in and the interval is over.
    pub(crate) async fn due(&self) {
        match self.idle_since {
            Some(since) if self.records > 0 => tokio::time::sleep_until(since + SNAPSHOT_INTERVAL).await,
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

    async fn wait(&mut self) -> Result<(), Fault> {
        match self.writing.take() {
            Some(writing) => {
                writing.await.unwrap_or_else(|panic| Err(Fault::Store { file: "snapshot".to_owned(), why: panic.to_string() }))
            }
            None => Ok(()),
        }
    }

    /// Waits for the snapshot being written: the next restore reads it.
    pub(crate) async fn finish(&mut self) -> Result<(), Fault> {
        self.idle_since = None;
        self.wait().await
    }
}
