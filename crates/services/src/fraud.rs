//! Fraud detection: reads the payments log (validated payments and operators' reviews), owns the fraud log of its shard.

use domain::{
    PaymentId,
    fraud::{Checked, Fraud, Limits},
    payments::PaymentEvent,
};
use projections::{Rows, SnapshotStore};
use streams::{Checkpoint, Fault, Record, Service, Snapshot, Step};

use crate::{
    metrics,
    run::{unexpected, write_table},
};

const SPENT: &str = "spent";
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
    type Event = Checked;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        self.state = Fraud::default();
        self.store.each(SPENT, |account, row| self.state.spent.load(account, row))?;
        self.store.each(HELD, |payment, row| self.state.held.load(payment, row))?;
        self.store.checkpoint()
    }

    fn evolve(&mut self, event: &Checked) {
        self.state.evolve(event);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<Checked>) -> Result<(), Fault> {
        match input.log.base() {
            "payments" => input.events()?.iter().for_each(|event| self.payment(event, step)),
            _ => return Err(unexpected(input)),
        }
        Ok(())
    }

    fn about(event: &Checked) -> Option<PaymentId> {
        Some(event.order.id)
    }

    fn appended(&self, events: &[Checked]) {
        metrics::count(events, metrics::checked);
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let mut rows = Rows::default();
        let changed =
            write_table(&mut rows, SPENT, &mut self.state.spent).and_then(|()| write_table(&mut rows, HELD, &mut self.state.held));
        crate::run::snapshot(self.store.clone(), rows, changed, checkpoint)
    }
}
