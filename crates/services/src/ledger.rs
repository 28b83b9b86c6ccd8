//! The ledger: reads checked payments, the accounts log, and the other shards' ledgers; owns the
//! ledger log of its shard.

use domain::{
    AccountId, PaymentId, Shard,
    ledger::{Ledger, LedgerAccount, LedgerEvent, Standing},
};
use projections::{Pairs, Rows, SnapshotStore, StoreError};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::{
    metrics,
    run::{unexpected, write_table},
};

const ACCOUNTS: &str = "accounts";
/// Customers': balance and version.
const STANDINGS: Pairs = Pairs::changing("standings", "standing-heads", "standing-sizes");
/// The bank's own.
const OWN_STANDINGS: &str = "own-standings";

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

    fn write_standings(&mut self, rows: &mut Rows) -> Result<(), StoreError> {
        let mut customers = Vec::new();
        self.state.standings.drain_changed(|account, standing| match (account, standing) {
            (LedgerAccount::Customer(account), Some(Standing { balance_minor, version })) => {
                customers.push((account.bytes(), [balance_minor.cast_unsigned(), *version]));
                Ok(())
            }
            // No account is ever taken away.
            (LedgerAccount::Customer(_), None) => Ok(()),
            (LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. }, standing) => rows.put(OWN_STANDINGS, &account, standing),
        })?;
        rows.put_pairs(STANDINGS, customers);
        Ok(())
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
        self.store.each(OWN_STANDINGS, |account, row| self.state.standings.load(account, row))?;
        self.store.each_pair(STANDINGS, |account, [balance, version]| {
            let account = LedgerAccount::Customer(AccountId::from_bytes(account));
            self.state.standings.load(account, Standing { balance_minor: balance.cast_signed(), version });
        })?;
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &LedgerEvent) {
        self.state.evolve(event);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<LedgerEvent>) -> Result<(), Fault> {
        match input.log.base() {
            "fraud" => {
                let checked = input.events()?;
                self.state.look_ahead(&checked);
                checked.iter().for_each(|checked| self.say(self.state.book(checked, step.at), step));
            }
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
        let changed = write_table(&mut rows, ACCOUNTS, &mut self.state.accounts).and_then(|()| self.write_standings(&mut rows));
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}
