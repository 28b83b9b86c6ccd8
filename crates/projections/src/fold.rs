//! Folds logs into one redb file, batch by batch. This module must never know who reads the file.

use std::{collections::VecDeque, path::Path, sync::Arc, time::Duration};

use domain::Timestamp;
use redb::{Database, Durability, ReadableTable as _, TableDefinition};
use streams::{Batches, Cursor, Fault, Host, Inputs, LogName, Record, TraceSpan};
use tokio::time::Instant;

use crate::{
    Progress, Projection, ReadModel,
    store::{self, StoreError, pack, unpack},
};

/// How long commits may stay without an fsync. A crash loses them with the progress they made, and
/// the log refills both; an fsync stalls the fold for tens of milliseconds.
const DURABLE_INTERVAL: Duration = Duration::from_secs(5);
/// Pause before a server that did not say where a log ends is asked again.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(100);
/// What waits is folded in batches up to this: large enough that rows touched more than once in a
/// backlog are written once, small enough for some dozens of megabytes of rows in memory.
const BATCHES: Batches = Batches { records: 2_048, bytes: 8 * 1024 * 1024 };
pub(crate) const PROGRESS: TableDefinition<&str, &[u8]> = TableDefinition::new("progress");

/// One file, and how far it has come.
pub(crate) struct Fold {
    db: Arc<Database>,
    file: String,
    model: LogName,
    progress: Progress,
    /// What its logs had when it began. That was traced when it happened, and is not again.
    backlog: Cursor,
    inputs: Inputs,
    unsaved_since: Option<Instant>,
}

impl Fold {
    /// Goes on from where the file stands; what its logs have until `goal` is its backlog.
    pub(crate) fn begin<P: Projection>(
        db: Arc<Database>,
        path: &Path,
        model: &ReadModel<P>,
        goal: &Cursor,
        host: &Host,
    ) -> Result<Self, Fault> {
        let file = path.display().to_string();
        let progress = prepare(&db, &model.projection).map_err(|error| error.into_fault(&file))?;
        let logs = host.topology.read_by(model.name().base(), model.shard());
        let marks = logs.iter().map(|log| (log.clone(), progress.marks.get(log).copied().unwrap_or_default())).collect();
        let inputs = Inputs::follow(&host.broker, marks, &Cursor::default(), BATCHES).with_backlog(goal.clone());
        Ok(Self { db, file, model: model.name().clone(), progress, backlog: goal.clone(), inputs, unsaved_since: None })
    }

    pub(crate) fn db(&self) -> Arc<Database> {
        Arc::clone(&self.db)
    }

    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Folds what waits, or saves what has waited for long enough; says what was touched. It may be
    /// dropped while it waits.
    pub(crate) async fn step<P: Projection>(&mut self, projection: &P) -> Result<Option<P::Touched>, Fault> {
        let mut batch = tokio::select! {
            batch = self.inputs.batch() => batch?,
            () = due(self.unsaved_since) => return self.save().map(|()| None),
        };
        let is_backlog = !self.progress.has_reached(&self.backlog);
        for record in &batch {
            self.progress.marks.insert(record.log.clone(), record.mark());
            self.progress.cursor.merge(&record.cursor);
            self.progress.cursor.advance(&record.log, record.seq);
        }
        let now = streams::now();
        self.progress.folded_at = Some(now);
        let _under_way = if is_backlog { Vec::new() } else { trace(&self.model, now, &mut batch) };
        let touched = tokio::task::block_in_place(|| self.commit(projection, &batch)).map_err(|error| error.into_fault(&self.file))?;
        self.unsaved_since.get_or_insert_with(Instant::now);
        Ok(Some(touched))
    }

    /// Makes durable what was folded.
    pub(crate) fn save(&mut self) -> Result<(), Fault> {
        self.unsaved_since = None;
        tokio::task::block_in_place(|| store::make_durable(&self.db)).map_err(|error| error.into_fault(&self.file))
    }

    /// What went wrong with the file.
    pub(crate) fn fault(&self, why: String) -> Fault {
        Fault::Store { file: self.file.clone(), why }
    }

    fn commit<P: Projection>(&self, projection: &P, batch: &VecDeque<Record>) -> Result<P::Touched, StoreError> {
        let mut tx = self.db.begin_write()?;
        tx.set_durability(Durability::None)?;
        let touched = projection.fold(&tx, batch)?;
        tx.open_table(PROGRESS)?.insert("at", pack(&self.progress)?.as_slice())?;
        tx.commit()?;
        Ok(touched)
    }
}

fn prepare<P: Projection>(db: &Database, projection: &P) -> Result<Progress, StoreError> {
    let tx = db.begin_write()?;
    projection.create_tables(&tx)?;
    let progress = tx.open_table(PROGRESS)?.get("at")?.map_or(Ok(Progress::default()), |bytes| unpack(bytes.value()))?;
    tx.commit()?;
    Ok(progress)
}

/// Where the logs of a reader end now; asked until the server says so.
pub(crate) async fn ends(host: &Host, reader: &LogName) -> Cursor {
    let mut goal = Cursor::default();
    for log in host.topology.read_by(reader.base(), reader.shard()) {
        while !host.stop.is_cancelled() {
            match host.broker.log(log.clone()).info().await {
                Ok(info) => {
                    goal.advance(&log, info.last);
                    break;
                }
                Err(why) => {
                    tracing::debug!(%log, why, "A log does not say where it ends");
                    tokio::time::sleep(ASK_AGAIN_PAUSE).await;
                }
            }
        }
    }
    goal
}

/// Goes on with the traces of the payments in a batch, as far as the model has to do with them; what
/// follows from a record then follows this.
fn trace(model: &LogName, since: Timestamp, batch: &mut VecDeque<Record>) -> Vec<TraceSpan> {
    let mut spans = Vec::new();
    for record in batch.iter_mut().filter(|record| !record.traces.is_empty()) {
        let is_own = record.log.shard() == model.shard() || model.shard().is_some_and(|shard| record.concerns.contains(&shard));
        let (next, under_way) = record.traces.go_on("fold", model, since, record.traces.payments().filter(|_| is_own));
        record.traces = next;
        spans.extend(under_way);
    }
    spans
}

async fn due(unsaved_since: Option<Instant>) {
    match unsaved_since {
        Some(since) => tokio::time::sleep_until(since + DURABLE_INTERVAL).await,
        None => std::future::pending().await,
    }
}
