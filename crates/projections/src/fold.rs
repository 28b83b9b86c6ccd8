//! Folds logs into one redb file, batch by batch. This module must never know who reads the file.

use std::{collections::VecDeque, path::Path, sync::Arc, time::Duration};

use domain::Timestamp;
use redb::{Database, ReadableTable as _};
use streams::{Batches, Cursor, Fault, Host, Inputs, LogName, Record, TraceSpan};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    Progress, Projection, ReadModel,
    layers::{Changes, PROGRESS, Shelf},
    model::Shown,
    store::{StoreError, unpack},
};

/// How long what was folded may stay in memory only. A crash loses it with the progress it made, and the
/// log refills both …
const WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// … and how many rows may: some sixty megabytes. As many again were set aside; while they are being written, the fold waits.
pub(crate) const GATHERED_ROWS: usize = 150_000;
/// While so many rows will soon change once more, what makes more of them waits. Where orders came in faster than
/// they were booked, each was written to the file several times: 20 instead of 10 µs of processor time a payment …
const UNFINISHED_ROWS: usize = 32_768;
/// … but no longer than this after the last one was finished: whoever does that may have come to a halt.
const STANDSTILL: Duration = Duration::from_millis(250);
/// Pause before a server that did not say where a log ends is asked again.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(100);
/// What waits is folded in batches up to this; only then those who wait are told.
const BATCHES: Batches = Batches { records: 2_048, bytes: 8 * 1024 * 1024 };

/// A batch of at most this, some dozens of events, is folded on the spot; for a longer one, the thread's other tasks go
/// elsewhere first. That took an eighth of the processor time of single payments.
const SHORT_BYTES: usize = 16 * 1024;

type Writing = JoinHandle<Result<(), StoreError>>;

/// One file, what is in front of it, and how far both have come.
pub(crate) struct Fold<C: Changes> {
    shelf: Arc<Shelf<C>>,
    file: String,
    model: LogName,
    progress: Progress,
    shown: Arc<Shown>,
    /// What its logs had when it began. That was traced when it happened, and is not again.
    backlog: Cursor,
    inputs: Inputs,
    /// Those of its logs that gateways write.
    commands: Vec<LogName>,
    unwritten_since: Option<Instant>,
    writing: Option<Writing>,
    /// How many rows were finished when that was last looked at, and when there was last another one.
    finished: u64,
    finished_at: Instant,
}

impl<C: Changes> Fold<C> {
    /// Goes on from where the file stands; what its logs have until `goal` is its backlog.
    pub(crate) fn begin<P: Projection<Changes = C>>(
        db: Database,
        path: &Path,
        model: &ReadModel<P>,
        goal: &Cursor,
        host: &Host,
    ) -> Result<Self, Fault> {
        let file = path.display().to_string();
        let (shelf, progress) = prepare(db, &model.projection).map_err(|error| error.into_fault(&file))?;
        let shown = model.shown();
        shown.merge(&progress.cursor);
        let logs = host.topology.read_by(model.name().base(), model.shard());
        let marks = logs.iter().map(|log| (log.clone(), progress.marks.get(log).copied().unwrap_or_default())).collect();
        let inputs = Inputs::follow(&host.broker, marks, &Cursor::default(), BATCHES).with_backlog(goal.clone());
        let commands = logs.into_iter().filter(|log| host.topology.is_command_log(log)).collect();
        let (model, backlog) = (model.name().clone(), goal.clone());
        let (shelf, finished_at) = (Arc::new(shelf), Instant::now());
        let (unwritten_since, writing, finished) = (None, None, 0);
        Ok(Self { shelf, file, model, progress, shown, backlog, inputs, commands, unwritten_since, writing, finished, finished_at })
    }

    pub(crate) fn shelf(&self) -> Arc<Shelf<C>> {
        Arc::clone(&self.shelf)
    }

    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Folds what waits, or writes what has gathered; says what was touched. It may be dropped while it waits.
    pub(crate) async fn step<P: Projection<Changes = C>>(&mut self, projection: &P) -> Result<Option<P::Touched>, Fault> {
        let (rows, under_way) = self.shelf.gathered();
        let mut is_full = rows >= GATHERED_ROWS;
        if self.finished != under_way.finished {
            (self.finished, self.finished_at) = (under_way.finished, Instant::now());
        }
        self.inputs.hold_first((under_way.rows >= UNFINISHED_ROWS).then_some(self.finished_at + STANDSTILL));
        if is_full && self.writing.is_none() {
            self.begin_write();
            is_full = false;
        }
        tokio::select! {
            written = end_of(&mut self.writing) => self.end_write(written).map(|()| None),
            () = due(self.unwritten_since), if self.writing.is_none() => {
                self.begin_write();
                Ok(None)
            }
            batch = self.inputs.batch(), if !is_full => {
                let batch = batch?;
                batch.iter().try_for_each(|record| record.belongs(self.commands.contains(&record.log)))?;
                let is_short = batch.iter().map(Record::len).sum::<usize>() <= SHORT_BYTES;
                let touched = if is_short { self.fold(projection, batch) } else { tokio::task::block_in_place(|| self.fold(projection, batch)) };
                touched.map(Some).map_err(|error| error.into_fault(&self.file))
            }
        }
    }

    fn fold<P: Projection<Changes = C>>(&mut self, projection: &P, mut batch: VecDeque<Record>) -> Result<P::Touched, StoreError> {
        let is_backlog = !self.progress.has_reached(&self.backlog);
        let now = streams::now();
        let _under_way = if is_backlog { Vec::new() } else { trace(&self.model, now, &mut batch) };
        for record in &batch {
            self.progress.cursor.merge(&record.cursor);
            self.progress.cursor.advance(&record.log, record.seq);
        }
        self.shown.merge(&self.progress.cursor);
        let mut touched = P::Touched::default();
        for record in &batch {
            projection.fold(&self.shelf, record, &mut touched)?;
            self.progress.marks.insert(record.log.clone(), record.mark());
        }
        self.progress.folded_at = Some(now);
        self.unwritten_since.get_or_insert_with(Instant::now);
        Ok(touched)
    }

    /// Writes all that was folded.
    pub(crate) async fn save(&mut self) -> Result<(), Fault> {
        if self.writing.is_some() {
            let written = end_of(&mut self.writing).await;
            self.end_write(written)?;
        }
        if self.unwritten_since.is_some() {
            self.begin_write();
            let written = end_of(&mut self.writing).await;
            self.end_write(written)?;
        }
        Ok(())
    }

    fn begin_write(&mut self) {
        self.unwritten_since = None;
        let (shelf, progress, (changes, before)) = (self.shelf(), self.progress.clone(), self.shelf.set_aside());
        self.writing = Some(tokio::task::spawn_blocking(move || {
            drop(before);
            shelf.write(&changes, &progress)
        }));
    }

    fn end_write(&mut self, written: Result<(), StoreError>) -> Result<(), Fault> {
        self.writing = None;
        written.map_err(|error| error.into_fault(&self.file))
    }

    /// What went wrong with the file.
    pub(crate) fn fault(&self, why: String) -> Fault {
        Fault::Store { file: self.file.clone(), why }
    }
}

/// How the write ended that is under way; waits for ever while there is none.
async fn end_of(writing: &mut Option<Writing>) -> Result<(), StoreError> {
    match writing {
        Some(writing) => writing.await.unwrap_or_else(|error| Err(StoreError::Panicked(error.to_string()))),
        None => std::future::pending().await,
    }
}

fn prepare<P: Projection>(db: Database, projection: &P) -> Result<(Shelf<P::Changes>, Progress), StoreError> {
    let tx = db.begin_write()?;
    projection.create_tables(&tx)?;
    let progress = tx.open_table(PROGRESS)?.get("at")?.map_or(Ok(Progress::default()), |bytes| unpack(bytes.value()))?;
    tx.commit()?;
    Ok((Shelf::open(db)?, progress))
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

async fn due(unwritten_since: Option<Instant>) {
    match unwritten_since {
        Some(since) => tokio::time::sleep_until(since + WRITE_INTERVAL).await,
        None => std::future::pending().await,
    }
}
