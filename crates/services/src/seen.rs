//! The ids that were ever seen. Those of the last snapshots are looked up in their file; those since are kept
//! until they stand in it. This module must never know what an id is of.

use domain::PaymentId;
use foldhash::{HashSet, HashSetExt as _};
use projections::{Rows, Seen, SnapshotStore};
use streams::Fault;

pub(crate) struct SeenIds {
    /// Not in any snapshot yet.
    new: HashSet<PaymentId>,
    /// In the snapshot that is being written, or in the last one.
    written: HashSet<PaymentId>,
    /// In snapshots, as far as they were looked at.
    before: Option<Seen>,
    /// A snapshot was begun since, so that the one before it is complete.
    is_behind: bool,
}

impl SeenIds {
    pub(crate) fn new() -> Self {
        Self { new: HashSet::new(), written: HashSet::new(), before: None, is_behind: true }
    }

    pub(crate) fn has(&mut self, store: &SnapshotStore, id: PaymentId) -> Result<bool, Fault> {
        if self.new.contains(&id) || self.written.contains(&id) {
            return Ok(true);
        }
        if self.is_behind {
            self.before = Some(store.seen(self.before.as_ref())?);
            self.is_behind = false;
        }
        self.before.as_ref().map_or(Ok(false), |before| store.faulted(before.has(id.bytes())))
    }

    pub(crate) fn insert(&mut self, id: PaymentId) {
        self.new.insert(id);
    }

    /// Hands out those that are new. The snapshot before is complete by now, so what it has can be forgotten.
    pub(crate) fn drain_into(&mut self, rows: &mut Rows) {
        // As many are to be expected again, and growing would copy them.
        let next = HashSet::with_capacity(self.new.len());
        self.written = std::mem::replace(&mut self.new, next);
        self.is_behind = true;
        if let Some(before) = &mut self.before {
            before.let_go();
        }
        rows.see(self.written.iter().map(|id| id.bytes()));
    }
}
