//! The ledger: reads checked payments, the accounts log, and the other shards' ledgers; owns the
//! ledger log of its shard.

use domain::{
    PaymentId, Shard,
    ledger::{Ledger, LedgerEvent},
};
use projections::{Rows, SnapshotStore};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::{
    metrics,
    run::{unexpected, write_table},
};

const ACCOUNTS: &str = "accounts";
const STANDINGS: &str = "standings";

pub(crate) struct LedgerService {
    store: SnapshotStore,
    shard: Shard,
    shards: u16,
    state: Ledger,
}

impl LedgerService {
    pub(crate) fn new(store: SnapshotStore, shard: Shard, shards: u16) -> Self {
        Self { store, shard, shards, state: Ledger::new(shard, shards) }
    }

    fn say(&mut self, event: Option<LedgerEvent>, step: &mut Step<LedgerEvent>) {
        if let Some(event) = event {
            self.state.evolve(&event);
            let concerns = event.concerns().map(|Shard(shard)| shard);
            step.say(event, concerns);
        }
    }

    fn continue_from(&mut self, input: &Record, step: &mut Step<LedgerEvent>) -> Result<(), Fault> {
        let from = Shard(input.log.shard().ok_or_else(|| unexpected(input))?);
        // Most of what other shards book does not concern this one, and is not even decoded.
        if input.concerns.contains(&self.shard.0) {
            for event in input.events()?.iter() {
                match event {
                    LedgerEvent::Booked(transaction) => self.say(self.state.continue_from(from, transaction, step.at), step),
                    LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } | LedgerEvent::Rejected { .. } => {}
                }
            }
        }
        Ok(())
    }
}

impl Service for LedgerService {
    type Event = LedgerEvent;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        self.state = Ledger::new(self.shard, self.shards);
        self.store.each(ACCOUNTS, |account, row| self.state.accounts.load(account, row))?;
        self.store.each(STANDINGS, |account, row| self.state.standings.load(account, row))?;
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &LedgerEvent) {
        self.state.evolve(event);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<LedgerEvent>) -> Result<(), Fault> {
        match input.log.base() {
            "fraud" => input.events()?.iter().for_each(|checked| self.say(self.state.book(checked, step.at), step)),
            "accounts" => input.events()?.iter().for_each(|event| self.say(self.state.apply(event, step.at), step)),
            "ledger" => self.continue_from(input, step)?,
            _ => return Err(unexpected(input)),
        }
        Ok(())
    }

    fn about(event: &LedgerEvent) -> Option<PaymentId> {
        match event {
            LedgerEvent::Booked(transaction) => Some(transaction.payment),
            LedgerEvent::Rejected { payment, .. } => Some(*payment),
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => None,
        }
    }

    fn appended(&self, events: &[LedgerEvent]) {
        metrics::count(events, metrics::booked);
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let mut rows = Rows::default();
        let changed = write_table(&mut rows, ACCOUNTS, &mut self.state.accounts)
            .and_then(|()| write_table(&mut rows, STANDINGS, &mut self.state.standings));
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}
