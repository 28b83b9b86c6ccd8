//! Fraud detection: reads the payments log (validated payments and operators' reviews), owns the fraud log of its shard.
//! This module must never judge a payment: `domain::fraud` does, by the limits that it is given.

use domain::{
    AccountId, PaymentId,
    fraud::{Checked, Fraud, Limits, Spent},
    payments::PaymentEvent,
};
use projections::{Pairs, Rows, SnapshotStore};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::{metrics, run::write_table};

/// Day and sum.
const SPENT: Pairs = Pairs::changing(["spent", "spent-heads", "spent-sizes", "spent-merges"]);
const HELD: &str = "held";

pub(crate) struct FraudService {
    store: SnapshotStore,
    limits: Limits,
    state: Fraud,
}

impl FraudService {
    pub(crate) fn new(store: SnapshotStore, limits: Limits) -> Self {
        Self { store, limits, state: Fraud::default() }
    }

    fn say(&mut self, event: Checked, step: &mut Step<Checked>) {
        self.state.evolve(&event);
        step.say(event, None);
    }

    fn payment(&mut self, event: &PaymentEvent, step: &mut Step<Checked>) {
        match event {
            PaymentEvent::Validated { order, creditor, .. } => {
                let event = self.state.check(order.clone(), *creditor, &self.limits, step.at);
                self.say(event, step);
            }
            PaymentEvent::Reviewed(review) => {
                if let Some(event) = self.state.review(review, step.at) {
                    self.say(event, step);
                }
            }
            PaymentEvent::Rejected { .. } => {}
        }
    }
}

impl Service for FraudService {
    /// A review of 98 bytes brings back an order of up to 830.
    const MOST_GROWTH: usize = 10;

    type Event = Checked;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        self.state = Fraud::default();
        self.store.each_pair(SPENT, |account, [day, minor]| {
            let spent = Spent { day: day.cast_signed(), minor: minor.cast_signed() };
            self.state.spent.load(AccountId::from_bytes(account), spent);
        })?;
        self.store.each(HELD, |payment, row| self.state.held.load(payment, row))?;
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &Checked) {
        self.state.evolve(event);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<Checked>) -> Result<(), Fault> {
        match input.log.base() {
            "payments" => {
                let events = input.events()?;
                self.state.spent.look_ahead(events.iter().filter_map(debtor));
                events.iter().for_each(|event| self.payment(event, step));
            }
            _ => return Err(input.unexpected("the fraud check")),
        }
        Ok(())
    }

    fn about(event: &Checked) -> Option<PaymentId> {
        Some(event.order.id)
    }

    fn appended(&self, events: &[Checked]) {
        metrics::count(events, metrics::checked);
    }

    fn has_room(&self) -> Result<(), Fault> {
        self.store.has_room()
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let mut rows = Rows::default();
        let mut all_spent = Vec::new();
        let changed = self.state.spent.drain_changed(|account, spent| {
            // What was spent on a day is never taken away, it is overwritten.
            let numbers = spent.map(|Spent { day, minor }| [day.cast_unsigned(), minor.cast_unsigned()]);
            all_spent.extend(numbers.map(|numbers| (account.bytes(), numbers)));
            Ok(())
        });
        rows.put_pairs(SPENT, all_spent);
        let changed = changed.and_then(|()| write_table(&mut rows, HELD, &mut self.state.held));
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}

/// Whose limits a payment is about to be held against.
fn debtor(event: &PaymentEvent) -> Option<AccountId> {
    match event {
        PaymentEvent::Validated { order, .. } => order.debtor.account(),
        PaymentEvent::Reviewed(_) | PaymentEvent::Rejected { .. } => None,
    }
}
