//! The customers service: reads customer commands, owns the customers log. This module must never know a rule of
//! customers: `domain::customers` decides.

use domain::customers::{CustomerEvent, Customers};
use projections::{Rows, SnapshotStore};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::run::write_table;

const CUSTOMERS: &str = "customers";

pub(crate) struct CustomersService {
    store: SnapshotStore,
    state: Customers,
}

impl CustomersService {
    pub(crate) fn new(store: SnapshotStore) -> Self {
        Self { store, state: Customers::default() }
    }
}

impl Service for CustomersService {
    /// A new e-mail address, of 93 bytes, brings back a customer of up to 630.
    const MOST_GROWTH: usize = 10;

    type Event = CustomerEvent;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        self.state = Customers::default();
        self.store.each(CUSTOMERS, |id, row| self.state.load(id, row))?;
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &CustomerEvent) {
        self.state.evolve(event);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<CustomerEvent>) -> Result<(), Fault> {
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
        let changed = write_table(&mut rows, CUSTOMERS, self.state.rows());
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}
