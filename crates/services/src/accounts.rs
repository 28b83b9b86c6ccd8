//! The accounts service: reads account commands, owns the accounts log. This module must never know a rule of
//! accounts: `domain::accounts` decides.

use domain::accounts::{AccountEvent, Accounts};
use projections::{Rows, SnapshotStore};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::run::write_table;

const STATUSES: &str = "statuses";

pub(crate) struct AccountsService {
    store: SnapshotStore,
    state: Accounts,
}

impl AccountsService {
    pub(crate) fn new(store: SnapshotStore) -> Self {
        Self { store, state: Accounts::default() }
    }
}

impl Service for AccountsService {
    type Event = AccountEvent;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        self.state = Accounts::default();
        self.store.each(STATUSES, |account, status| self.state.load(account, status))?;
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &AccountEvent) {
        self.state.evolve(event);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<AccountEvent>) -> Result<(), Fault> {
        for command in input.events()?.iter().cloned() {
            if let Some(event) = self.state.decide(command) {
                self.state.evolve(&event);
                step.say(event, None);
            }
        }
        Ok(())
    }

    fn has_room(&self) -> Result<(), Fault> {
        self.store.has_room()
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let mut rows = Rows::default();
        let changed = write_table(&mut rows, STATUSES, self.state.rows());
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}
