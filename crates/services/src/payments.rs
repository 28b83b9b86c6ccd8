//! The payments service: reads payment commands, owns the payments log of its shard. It holds every
//! payment id it has ever seen, and an own read model of the accounts log to decide by. This module must never know why
//! a payment is rejected: `domain::payments` decides.

use domain::{
    AccountId, Iban, PaymentId, PaymentOrder,
    accounts::AccountEvent,
    payments::{self, AccountFacts, Facts, PaymentCommand, PaymentEvent},
};
use projections::{Rows, SnapshotStore};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::{lazy::LazyTable, metrics, seen::SeenIds};

pub(crate) struct PaymentsService {
    store: SnapshotStore,
    seen: SeenIds,
    accounts: LazyTable<AccountId, AccountFacts>,
    ibans: LazyTable<Iban, AccountId>,
}

impl PaymentsService {
    pub(crate) fn new(store: SnapshotStore) -> Self {
        Self { store, seen: SeenIds::new(), accounts: LazyTable::new("accounts"), ibans: LazyTable::new("ibans") }
    }

    fn facts(&mut self, order: &PaymentOrder) -> Result<Facts, Fault> {
        let known = self.seen.has(&self.store, order.id)?;
        let debtor = order.debtor.account().map_or(Ok(None), |account| self.accounts.get(&self.store, account))?;
        let creditor = self.ibans.get(&self.store, order.creditor)?;
        let creditor = creditor.map_or(Ok(None), |account| self.accounts.get(&self.store, account))?;
        Ok(Facts { known, debtor, creditor })
    }

    /// Looks up the accounts of orders that are about to be decided on.
    fn look_ahead(&self, commands: &[PaymentCommand]) {
        let orders = || commands.iter().filter_map(order);
        self.ibans.look_ahead(orders().map(|order| order.creditor));
        let creditors = orders().filter_map(|order| self.ibans.peek(&order.creditor)).copied();
        self.accounts.look_ahead(orders().filter_map(|order| order.debtor.account()).chain(creditors));
    }

    fn note(&mut self, event: &AccountEvent) -> Result<(), Fault> {
        match *event {
            AccountEvent::Opened { account, holder, iban, currency, .. } => {
                let status = domain::accounts::AccountStatus::Open;
                self.accounts.insert(account, AccountFacts { account, holder, currency, status });
                self.ibans.insert(iban, account);
            }
            AccountEvent::StatusChanged { account, status, .. } => {
                if let Some(facts) = self.accounts.get(&self.store, account)? {
                    self.accounts.insert(account, AccountFacts { status, ..facts });
                }
            }
            AccountEvent::Refused { .. } => {}
        }
        Ok(())
    }

    fn command(&mut self, command: &PaymentCommand, step: &mut Step<PaymentEvent>) -> Result<(), Fault> {
        match command {
            PaymentCommand::Initiated(order) => {
                let facts = self.facts(order)?;
                if let Some(event) = payments::decide(order.clone(), &facts, step.at) {
                    self.evolve(&event);
                    step.say(event, None);
                }
            }
            PaymentCommand::Reviewed(review) => step.say(PaymentEvent::Reviewed(review.clone()), None),
        }
        Ok(())
    }
}

impl Service for PaymentsService {
    /// As the fraud check's, which takes a record of this log as a whole: a review that is passed on brings back its order there.
    const MOST_GROWTH: usize = 10;

    type Event = PaymentEvent;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        *self = Self::new(self.store.clone());
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &PaymentEvent) {
        match event {
            PaymentEvent::Validated { order: PaymentOrder { id, .. }, .. } | PaymentEvent::Rejected { payment: id, .. } => {
                self.seen.insert(*id);
            }
            PaymentEvent::Reviewed(_) => {}
        }
    }

    fn decide(&mut self, input: &Record, step: &mut Step<PaymentEvent>) -> Result<(), Fault> {
        match input.log.base() {
            "payment-commands" => {
                let commands = input.events()?;
                self.look_ahead(&commands);
                commands.iter().try_for_each(|command| self.command(command, step))
            }
            "accounts" => input.events()?.iter().try_for_each(|event| self.note(event)),
            _ => Err(input.unexpected("the payments service")),
        }
    }

    fn about(event: &PaymentEvent) -> Option<PaymentId> {
        match event {
            PaymentEvent::Validated { order, .. } => Some(order.id),
            PaymentEvent::Rejected { payment, .. } => Some(*payment),
            PaymentEvent::Reviewed(review) => Some(review.payment),
        }
    }

    fn appended(&self, events: &[PaymentEvent]) {
        metrics::count(events, metrics::validated);
    }

    fn has_room(&self) -> Result<(), Fault> {
        self.store.has_room()
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let mut rows = Rows::default();
        self.seen.drain_into(&mut rows);
        let changed = self.accounts.drain_into(&mut rows).and_then(|()| self.ibans.drain_into(&mut rows));
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }

    fn read_models(&self) -> &'static [&'static str] {
        &["accounts"]
    }
}

const fn order(command: &PaymentCommand) -> Option<&PaymentOrder> {
    match command {
        PaymentCommand::Initiated(order) => Some(order),
        PaymentCommand::Reviewed(_) => None,
    }
}
