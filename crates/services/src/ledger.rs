//! The ledger: reads checked payments, the accounts log, and the other shards' ledgers; owns the
//! ledger log of its shard. This module must never know how an amount is booked: `domain::ledger` decides.

use domain::{
    AccountId, PaymentId, Shard,
    ledger::{Account, Customer, Ledger, LedgerEvent, Standing},
};
use projections::{Pairs, Rows, SnapshotStore, StoreError};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::{metrics, run::write_table};

const ACCOUNTS: &str = "accounts";
/// Customers': balance and version.
const STANDINGS: Pairs = Pairs::changing(["standings", "standing-heads", "standing-sizes", "standing-merges"]);
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

    fn write_customers(&mut self, rows: &mut Rows) -> Result<(), StoreError> {
        let Ledger { customers, changed_accounts, .. } = &mut self.state;
        for account in changed_accounts.drain(..) {
            rows.put(ACCOUNTS, &account, customers.get(&account).and_then(|customer| customer.account.as_ref()))?;
        }
        let mut standings = Vec::new();
        customers.drain_changed(|account, customer| {
            // No account is ever taken away; one that was never booked on has nothing to keep.
            if let Some(&Customer { standing: Standing { balance_minor, version: version @ 1.. }, .. }) = customer {
                standings.push((account.bytes(), [balance_minor.cast_unsigned(), version]));
            }
            Ok::<(), StoreError>(())
        })?;
        rows.put_pairs(STANDINGS, standings);
        Ok(())
    }

    fn continue_from(&mut self, input: &Record, step: &mut Step<LedgerEvent>) -> Result<(), Fault> {
        let from = Shard(input.log.shard().ok_or_else(|| input.unexpected("the ledger"))?);
        // Most of what other shards book does not concern this one, and is not even decoded.
        if input.concerns.contains(&self.shard.0) {
            for event in input.events()?.iter() {
                match event {
                    LedgerEvent::Booked(transaction) => {
                        let next = self.state.continue_from(from, transaction, step.at);
                        self.say(next.map_err(|overflow| input.unreadable(overflow.to_string()))?, step);
                    }
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
        let Ledger { customers, own, .. } = &mut self.state;
        self.store.each(OWN_STANDINGS, |account, row| own.load(account, row))?;
        self.store.each(ACCOUNTS, |account, row: Account| {
            customers.load(account, Customer { account: Some(row), ..Customer::default() });
        })?;
        self.store.each_pair(STANDINGS, |account, [balance, version]| {
            let (account, standing) = (AccountId::from_bytes(account), Standing { balance_minor: balance.cast_signed(), version });
            let known = customers.get(&account).copied().unwrap_or_default();
            customers.load(account, Customer { standing, ..known });
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
            _ => return Err(input.unexpected("the ledger")),
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

    fn has_room(&self) -> Result<(), Fault> {
        self.store.has_room()
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let mut rows = Rows::default();
        let changed = write_table(&mut rows, OWN_STANDINGS, &mut self.state.own).and_then(|()| self.write_customers(&mut rows));
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use domain::{
        Currency, Debtor, Money, Timestamp,
        accounts::AccountStatus,
        ledger::{LedgerAccount, Leg, Posting, Transaction},
    };
    use uuid::Uuid;

    use super::*;

    fn account(number: u128) -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(number))
    }

    fn activated(number: u128) -> LedgerEvent {
        let currency = Currency::parse("EUR").expect("in use");
        LedgerEvent::AccountActivated { account: account(number), currency, overdraft_limit_minor: 500, at: Timestamp::default() }
    }

    /// Money from the bank, or from another shard, to an account.
    fn booked(from: LedgerAccount, number: u128, version: u64) -> LedgerEvent {
        let currency = Currency::parse("EUR").expect("in use");
        let balance_after_minor = i64::try_from(version).expect("small") * 10;
        let posting =
            |account, sign| Posting { account, amount_minor: sign * 10, balance_after_minor: sign * balance_after_minor, version };
        LedgerEvent::Booked(Transaction {
            payment: PaymentId::from_uuid(Uuid::nil()),
            leg: Leg::Transfer,
            debtor: Debtor::Settlement(Shard(0)),
            creditor: account(number),
            amount: Money::from_minor(10, currency),
            reference: None,
            postings: [posting(from, -1), posting(LedgerAccount::Customer(account(number)), 1)],
            at: Timestamp::default(),
        })
    }

    fn books(service: &LedgerService) -> (BTreeMap<AccountId, Customer>, HashMap<LedgerAccount, Standing>) {
        let customers = service.state.customers.iter().map(|(account, customer)| (*account, *customer)).collect();
        (customers, service.state.own.iter().map(|(account, standing)| (*account, *standing)).collect())
    }

    #[test]
    fn what_changed_since_the_last_snapshot_comes_back_from_all_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SnapshotStore::open(&folder.path().join("ledger.redb")).expect("a store");
        let mut service = LedgerService::new(store.clone(), Shard(0), 1);
        let currency = Currency::parse("EUR").expect("in use");
        let (bank, clearing) = (LedgerAccount::Settlement(currency), LedgerAccount::Clearing { from: Shard(1), to: Shard(0), currency });
        let frozen = LedgerEvent::StatusApplied { account: account(1), status: AccountStatus::Frozen, at: Timestamp::default() };
        let steps: [&[LedgerEvent]; 4] = [
            &[activated(1), activated(2), activated(3), booked(bank, 1, 1)],
            &[frozen, booked(clearing, 2, 1), booked(clearing, 2, 2)],
            &[booked(bank, 1, 2)],
            &[],
        ];
        for events in steps {
            events.iter().for_each(|event| service.evolve(event));
            service.snapshot(&Checkpoint::default())().expect("written");
            let mut restored = LedgerService::new(store.clone(), Shard(0), 1);
            restored.restore().expect("read");
            assert_eq!(books(&restored), books(&service));
        }
        let (customers, _) = books(&service);
        assert_eq!(customers[&account(1)].account.expect("activated").status, AccountStatus::Frozen);
        assert_eq!(customers[&account(1)].standing, Standing { balance_minor: 20, version: 2 });
        assert_eq!(customers[&account(3)].standing, Standing::default());
    }
}
