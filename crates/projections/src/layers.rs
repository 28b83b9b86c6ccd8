//! What a read model has folded and its file does not have yet, in memory in front of the file. A fold
//! changes memory only, and is seen at once; what gathered is written in one durable transaction beside it.
//! So neither a B-tree nor an fsync stands between a booking and its push, and a row that changed a
//! hundred times is written once. This module must never know what a row means.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadTransaction, ReadableDatabase as _, TableDefinition, WriteTransaction};

use crate::{
    Progress,
    store::{StoreError, pack},
};

/// One row: how far the file has come.
pub(crate) const PROGRESS: TableDefinition<&str, &[u8]> = TableDefinition::new("progress");

/// Rows of which more is known to come, in all layers; those of before a start are not counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnderWay {
    /// How many there are.
    pub rows: usize,
    /// How many have been finished.
    pub finished: u64,
}

impl UnderWay {
    /// One more, or one less.
    pub(crate) const fn count(&mut self, is_under_way: bool) {
        if is_under_way {
            self.rows += 1;
        } else {
            self.rows = self.rows.saturating_sub(1);
            self.finished += 1;
        }
    }
}

/// Rows of a model that changed since its file was written.
pub trait Changes: Send + Sync + Sized + 'static {
    /// The tables of the file, open to be read as they were when it was last written.
    type File: Send + Sync;

    /// Opens the tables, again where they were open `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn open(tx: &ReadTransaction, before: Option<&Self::File>) -> Result<Self::File, StoreError>;

    /// No changes yet, in front of a file.
    ///
    /// # Errors
    /// [`StoreError`].
    fn begin(file: &Self::File) -> Result<Self, StoreError>;

    /// No changes yet, in front of these, which keep what is to be written. What is kept for longer goes along; what these
    /// followed is written by now.
    #[must_use]
    fn next(&mut self) -> Self;

    /// About how many rows changed.
    fn rows(&self) -> usize;

    /// Rows that will soon change once more: written now, they are written again.
    fn under_way(&self) -> UnderWay {
        UnderWay::default()
    }

    /// Writes the rows that [`Self::next`] left here, in the order of their keys: what lies together is then written together.
    ///
    /// # Errors
    /// [`StoreError`].
    fn write(&self, tx: &WriteTransaction) -> Result<(), StoreError>;
}

/// A model's rows. The newest that has a row counts: `fresh`, then `aside`, then `file`. What is kept in a
/// [`crate::Recent`] goes along with `fresh`, in front of all.
pub struct Layers<C: Changes> {
    pub(crate) fresh: C,
    /// What was set aside last. It is being written to the file, or was: what is under way then changes again, and looking for it
    /// in the file took a twelfth of the processor time of payments between ten million accounts.
    pub(crate) aside: Option<Arc<C>>,
    pub(crate) file: Arc<C::File>,
}

impl<C: Changes> Layers<C> {
    /// What the newest of those in memory says that has something to say.
    pub(crate) fn recent<'a, T>(&'a self, look: impl Fn(&'a C) -> Option<T>) -> Option<T> {
        look(&self.fresh).or_else(|| self.aside.as_deref().and_then(look))
    }
}

/// A model's file with what is in front of it.
pub struct Shelf<C: Changes> {
    db: Database,
    layers: RwLock<Layers<C>>,
}

impl<C: Changes> Shelf<C> {
    pub(crate) fn open(db: Database) -> Result<Self, StoreError> {
        let file = Arc::new(C::open(&db.begin_read()?, None)?);
        let layers = Layers { fresh: C::begin(&file)?, aside: None, file };
        Ok(Self { db, layers: RwLock::new(layers) })
    }

    /// A consistent view. The fold waits for it: keep it for as long as a page of rows takes.
    pub(crate) fn read(&self) -> Result<RwLockReadGuard<'_, Layers<C>>, StoreError> {
        // A fold that panicked may have left half a change, and is about to begin anew.
        self.layers.read().map_err(|_| StoreError::NotLevel)
    }

    /// The rows, to be changed. Readers wait for it: keep it for as long as one record takes.
    pub(crate) fn change(&self) -> RwLockWriteGuard<'_, Layers<C>> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// About how many rows have gathered to be written, and those of which more is to come.
    pub(crate) fn gathered(&self) -> (usize, UnderWay) {
        // Readers need not wait for what changes nothing.
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        (layers.fresh.rows(), layers.fresh.under_way())
    }

    /// Sets aside what gathered, to be written; also gives back what was set aside before, to be dropped where nobody waits.
    /// There is nothing being written at that time.
    pub(crate) fn set_aside(&self) -> (Arc<C>, Option<Arc<C>>) {
        let mut layers = self.change();
        let next = layers.fresh.next();
        let changes = Arc::new(std::mem::replace(&mut layers.fresh, next));
        let before = layers.aside.replace(Arc::clone(&changes));
        (changes, before)
    }

    /// Writes what was set aside and the progress that it makes, durably and together.
    pub(crate) fn write(&self, changes: &C, progress: &Progress) -> Result<(), StoreError> {
        let tx = self.db.begin_write()?;
        changes.write(&tx)?;
        tx.open_table(PROGRESS)?.insert("at", pack(progress)?.as_slice())?;
        tx.commit()?;
        let tx = self.db.begin_read()?;
        let before = Arc::clone(&self.read()?.file);
        let file = Arc::new(C::open(&tx, Some(&before))?);
        self.change().file = file;
        Ok(())
    }
}
