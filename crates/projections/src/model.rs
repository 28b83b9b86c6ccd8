//! What all read models share: records are folded, then those who wait are told; rows and the progress
//! they make are written together. This module must never know what a model holds.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use streams::{Condition, Cursor, Fault, Host, LogName, Mark, Record};
use tokio::sync::watch;

use crate::{
    fold::{Fold, ends},
    layers::{Changes, Shelf},
    store::{self, StoreError},
};

/// How far a model has folded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Each log that it follows.
    pub marks: BTreeMap<LogName, Mark>,
    /// All that this rests on, logs of others included.
    pub cursor: Cursor,
    /// When the last batch was folded.
    pub folded_at: Option<domain::Timestamp>,
}

impl Progress {
    /// Whether it has come to where each of `logs` says.
    pub(crate) fn has_reached(&self, goal: &Cursor) -> bool {
        goal.iter().all(|(log, seq)| self.marks.get(log).map_or(0, |mark| mark.seq) >= seq)
    }

    /// The last record of each log that was folded.
    pub(crate) fn folded(&self) -> Cursor {
        self.marks.iter().map(|(log, mark)| (log.clone(), mark.seq)).collect()
    }
}

/// What a read model is made of.
pub trait Projection: Send + Sync + 'static {
    /// Its name as a reader in `streams.yaml`.
    const READER: &'static str;
    /// Changes with the layout of its rows or the meaning of its fold; then it is built again.
    const VERSION: u32;
    /// The oldest version whose files this code can read and fold on: such a one serves until the
    /// new one is level. Rows may have gained fields with defaults since then, and nothing else.
    const READABLE_SINCE: u32;
    /// Its rows that are not in the file yet.
    type Changes: Changes;
    /// What a batch touched.
    type Touched: Default + Send;

    /// Makes the tables, so that a model can be asked before it has folded anything.
    ///
    /// # Errors
    /// [`StoreError`].
    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError>;

    /// Folds a record, and notes what it touches.
    ///
    /// # Errors
    /// [`StoreError`], after which nothing is kept that was not written, and the model halts.
    fn fold(&self, rows: &Shelf<Self::Changes>, record: &Record, touched: &mut Self::Touched) -> Result<(), StoreError>;

    /// Tells those who watch what was touched.
    fn announce(&self, touched: Self::Touched);

    /// Tells everybody who watches to look again.
    fn announce_all(&self);
}

/// What a model's rows ever rested on at most, also while it is read from its file anew.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Cursor>);

impl Shown {
    /// To be said before the rows are changed: readers see the first of a batch before the last is folded.
    pub(crate) fn merge(&self, cursor: &Cursor) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(cursor);
    }

    fn get(&self, log: &LogName) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(log)
    }
}

/// A read model in its file.
pub struct ReadModel<P: Projection> {
    pub(crate) projection: P,
    name: LogName,
    path: PathBuf,
    progress: watch::Sender<Progress>,
    shown: Arc<Shown>,
    /// What is read, once it has come to where its logs ended when this process began to fold. Before
    /// that it may show less than was shown before a restart.
    serving: watch::Sender<Option<Arc<Shelf<P::Changes>>>>,
}

impl<P: Projection> fmt::Debug for ReadModel<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadModel({})", self.name)
    }
}

impl<P: Projection> ReadModel<P> {
    /// The model of `shard`, whose file lies in `folder`. It cannot be asked before it runs.
    #[must_use]
    pub fn new(folder: &Path, shard: Option<u16>, projection: P) -> Self {
        let name = LogName::new(P::READER, shard);
        let path = folder.join(format!("{name}.redb"));
        Self { projection, name, path, progress: watch::Sender::default(), shown: Arc::default(), serving: watch::Sender::default() }
    }

    /// Its name: the reader's in `streams.yaml`, with its shard.
    #[must_use]
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// Its shard, where it has one.
    #[must_use]
    pub fn shard(&self) -> Option<u16> {
        self.name.shard()
    }

    /// How far it has folded, to look at and to wait on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The last record of `log` that what can be read rests on.
    #[must_use]
    pub fn rests_on(&self, log: &LogName) -> u64 {
        self.progress.borrow().cursor.get(log)
    }

    /// The last record of `log` that anything which was ever read here may rest on: from before it could be read, where
    /// [`Self::rests_on`] follows once all of its batch can.
    #[must_use]
    pub fn shows(&self, log: &LogName) -> u64 {
        self.shown.get(log)
    }

    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }

    /// Waits until the model can be asked.
    pub async fn level(&self) {
        // The sender lives in the model.
        let _ = self.serving.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether it can be asked.
    pub fn is_level(&self) -> bool {
        self.serving.borrow().is_some()
    }

    /// Its rows, to be read.
    pub(crate) fn rows(&self) -> Result<Arc<Shelf<P::Changes>>, StoreError> {
        self.serving.borrow().clone().ok_or(StoreError::NotLevel)
    }

    /// Folds what the topology says that it reads, until the host stops.
    ///
    /// # Errors
    /// The [`Fault`] that makes going on wrong; after one in its store it may be run again.
    pub async fn run(&self, host: &Host) -> Result<(), Fault> {
        // The last run may have ended in a panic.
        self.close();
        let outcome = self.try_run(host).await;
        if let Err(fault) = &outcome {
            // Before anybody is told to look once more: who looks is then told at once.
            host.health.halted(&self.name, fault);
        }
        self.close();
        outcome
    }

    /// There is nothing to be read until it is level again; whoever watches looks once more, and hears so.
    fn close(&self) {
        self.serving.send_replace(None);
        self.projection.announce_all();
    }

    async fn try_run(&self, host: &Host) -> Result<(), Fault> {
        let host = &host.with_own_connection().await;
        let opened = tokio::task::block_in_place(|| store::open(&self.path, P::READABLE_SINCE..=P::VERSION))?;
        let is_current = opened.version == P::VERSION;
        host.health.note(&self.name, Condition::CatchingUp);
        let goal = ends(host, &self.name).await;
        if host.stop.is_cancelled() {
            // What was not asked of would count as reached.
            return Ok(());
        }
        let mut fold = Fold::begin(opened.db, &self.path, self, &goal, host)?;
        self.publish(&fold, &goal, host);
        if !is_current {
            match self.succeed(fold, host, &goal).await? {
                Some(successor) => fold = successor,
                None => return Ok(()),
            }
        }
        loop {
            let touched = tokio::select! {
                touched = fold.step(&self.projection) => touched?,
                () = host.stop.cancelled() => return fold.save().await,
            };
            self.publish(&fold, &goal, host);
            touched.into_iter().for_each(|touched| self.projection.announce(touched));
        }
    }

    /// Builds a file of this code's version beside the one that serves and folds on meanwhile; once
    /// it is level it takes that one's place. None where the host stopped before.
    async fn succeed(&self, mut old: Fold<P::Changes>, host: &Host, goal: &Cursor) -> Result<Option<Fold<P::Changes>>, Fault> {
        let path = self.path.with_extension("redb.next");
        tracing::info!(model = %self.name, "A read model is of an older version; it serves until a new one is built");
        let next = tokio::task::block_in_place(|| store::open(&path, P::VERSION..=P::VERSION))?;
        let mut next = Fold::begin(next.db, &path, self, goal, host)?;
        while !(next.progress().has_reached(goal) && next.progress().has_reached(&old.progress().folded())) {
            tokio::select! {
                touched = old.step(&self.projection) => {
                    let touched = touched?;
                    self.publish(&old, goal, host);
                    touched.into_iter().for_each(|touched| self.projection.announce(touched));
                }
                built = next.step(&self.projection) => drop(built?),
                () = host.stop.cancelled() => {
                    let (old, next) = (old.save().await, next.save().await);
                    return old.and(next).map(|()| None);
                }
            }
        }
        next.save().await?;
        std::fs::rename(&path, &self.path).map_err(|error| next.fault(error.to_string()))?;
        self.serving.send_replace(Some(next.shelf()));
        host.health.note(&self.name, Condition::Up);
        self.publish(&next, goal, host);
        self.projection.announce_all();
        tracing::info!(model = %self.name, "The new version of a read model serves now");
        Ok(Some(next))
    }

    /// Says how far it has come, and before that, whether it can be asked: who waits for a place in a
    /// log reads as soon as it is reached.
    fn publish(&self, fold: &Fold<P::Changes>, goal: &Cursor, host: &Host) {
        if !self.is_level() && fold.progress().has_reached(goal) {
            self.serving.send_replace(Some(fold.shelf()));
            host.health.note(&self.name, Condition::Up);
        }
        host.health.note_folded(&self.name, fold.progress().folded());
        self.progress.send_replace(fold.progress().clone());
    }
}
