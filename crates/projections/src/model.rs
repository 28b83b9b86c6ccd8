//! What all read models share: a batch of records and the progress it makes commit in one
//! transaction; then those who wait are told. This module must never know what a model holds.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use streams::{Broker, Cursor, Fault, Inputs, LogName, Mark, Record, Topology};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::store::{self, StoreError, pack, unpack};

/// How long commits may stay without an fsync. A crash loses them with the progress they made, and
/// the log refills both; an fsync stalls the fold for tens of milliseconds.
const DURABLE_INTERVAL: Duration = Duration::from_secs(5);
/// Pause before a server that did not say where a log ends is asked again.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(100);
const PROGRESS: TableDefinition<&str, &[u8]> = TableDefinition::new("progress");

/// How far a model has folded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Each log that it follows.
    pub marks: BTreeMap<LogName, Mark>,
    /// All that this rests on, logs of others included.
    pub cursor: Cursor,
    /// When the last batch was folded, in microseconds since 1970.
    pub folded_at: Option<domain::Timestamp>,
}

/// What a read model is made of.
pub trait Projection: Send + Sync + 'static {
    /// Its name as a reader in `streams.yaml`.
    const READER: &'static str;
    /// Changes with the layout of its rows or the meaning of its fold; then it is built again.
    const VERSION: u32;
    /// What a batch touched.
    type Touched: Send;

    /// Makes the tables, so that a model can be asked before it has folded anything.
    ///
    /// # Errors
    /// [`StoreError`].
    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError>;

    /// Folds a batch.
    ///
    /// # Errors
    /// [`StoreError`], after which nothing of the batch is kept and the model halts.
    fn fold(&self, tx: &WriteTransaction, batch: &VecDeque<Record>) -> Result<Self::Touched, StoreError>;

    /// Tells those who watch what was touched.
    fn announce(&self, touched: Self::Touched);
}

/// A read model in its file.
#[derive(Debug)]
pub struct ReadModel<P> {
    pub(crate) projection: P,
    db: Arc<Database>,
    shard: Option<u16>,
    file: String,
    progress: watch::Sender<Progress>,
    /// Whether it has come to where its logs ended when this process began to fold.
    caught_up: watch::Sender<bool>,
}

impl<P: Projection> ReadModel<P> {
    /// Opens or makes the file in `folder`.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub fn open(folder: &Path, shard: Option<u16>, projection: P) -> Result<Self, Fault> {
        let path = folder.join(format!("{}.redb", LogName::new(P::READER, shard)));
        let db = store::open(&path, P::VERSION)?;
        let file = path.display().to_string();
        let progress = prepare(&db, &projection).map_err(|error| error.into_fault(&file))?;
        Ok(Self { projection, db, shard, file, progress: watch::Sender::new(progress), caught_up: watch::Sender::new(false) })
    }

    /// Its shard, where it has one.
    #[must_use]
    pub const fn shard(&self) -> Option<u16> {
        self.shard
    }

    /// How far it has folded, to look at and to wait on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until the model has come to where its logs ended when this process began to fold. Before
    /// that it may show less than was shown before a restart.
    pub async fn caught_up(&self) {
        // The sender lives in the model.
        let _ = self.caught_up.subscribe().wait_for(|caught_up| *caught_up).await;
    }

    /// A consistent view; readers never wait for the fold.
    pub(crate) fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.db.begin_read()?)
    }

    /// Folds what `topology` says it reads, until `stop`.
    ///
    /// # Errors
    /// The [`Fault`] that makes going on wrong.
    pub async fn run(&self, broker: &Broker, topology: &Topology, stop: CancellationToken) -> Result<(), Fault> {
        let mut progress = self.progress.borrow().clone();
        let logs = topology.read_by(P::READER, self.shard);
        let marks = logs.iter().map(|log| (log.clone(), progress.marks.get(log).copied().unwrap_or_default())).collect();
        let goal = ends(broker, &logs, &stop).await;
        let mut inputs = Inputs::follow(broker, marks, &Cursor::default());
        let mut unsaved_since: Option<Instant> = None;
        loop {
            if !*self.caught_up.borrow() && goal.iter().all(|(log, seq)| inputs.taken().get(log) >= seq) {
                self.caught_up.send_replace(true);
            }
            let batch = tokio::select! {
                batch = inputs.batch() => batch?,
                () = due(unsaved_since) => {
                    self.blocking(|| store::make_durable(&self.db))?;
                    unsaved_since = None;
                    continue;
                }
                () = stop.cancelled() => return self.blocking(|| store::make_durable(&self.db)),
            };
            for record in &batch {
                progress.marks.insert(record.log.clone(), record.mark());
                progress.cursor.merge(&record.cursor);
                progress.cursor.advance(&record.log, record.seq);
            }
            progress.folded_at = Some(streams::now());
            let touched = self.blocking(|| self.commit(&batch, &progress))?;
            self.progress.send_replace(progress.clone());
            self.projection.announce(touched);
            unsaved_since.get_or_insert_with(Instant::now);
        }
    }

    fn commit(&self, batch: &VecDeque<Record>, progress: &Progress) -> Result<P::Touched, StoreError> {
        let mut tx = self.db.begin_write()?;
        tx.set_durability(Durability::None)?;
        let touched = self.projection.fold(&tx, batch)?;
        tx.open_table(PROGRESS)?.insert("at", pack(progress)?.as_slice())?;
        tx.commit()?;
        Ok(touched)
    }

    fn blocking<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, Fault> {
        tokio::task::block_in_place(work).map_err(|error| error.into_fault(&self.file))
    }
}

/// Where logs end now; asked until the server says so.
async fn ends(broker: &Broker, logs: &[LogName], stop: &CancellationToken) -> Cursor {
    let mut goal = Cursor::default();
    for log in logs {
        while !stop.is_cancelled() {
            match broker.log(log.clone()).info().await {
                Ok(info) => {
                    goal.advance(log, info.last);
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

async fn due(unsaved_since: Option<Instant>) {
    match unsaved_since {
        Some(since) => tokio::time::sleep_until(since + DURABLE_INTERVAL).await,
        None => std::future::pending().await,
    }
}

fn prepare<P: Projection>(db: &Database, projection: &P) -> Result<Progress, StoreError> {
    let tx = db.begin_write()?;
    projection.create_tables(&tx)?;
    let progress = tx.open_table(PROGRESS)?.get("at")?.map_or(Ok(Progress::default()), |bytes| unpack(bytes.value()))?;
    tx.commit()?;
    Ok(progress)
}
