//! Accepting payments: store durably, answer at once, and recognise a repeat by its id.
//! This module must never know GraphQL types, nor decide whether a payment may be made.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{Debtor, IdempotencyKey, Initiator, Money, PaymentId, PaymentOrder, Reference, Review, Shard, payments::PaymentCommand};
use projections::{PaymentRow, PaymentStatus, StoreError};
use streams::{AppendError, LogName, Place};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Bank, errors::Failure, models::READ_WAIT, recent::Queued};

/// How long an answer with `waitFor: FINAL` waits; the contract's number.
const FINAL_WAIT: Duration = Duration::from_secs(10);
/// How long a payment with a key waits for the own read model to say who was first with the key.
/// It is there within a millisecond, unless it is being rebuilt; accepting must not wait for that.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A payment that stands in its command log.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    /// The payment as it was accepted.
    pub row: PaymentRow,
    /// Where it lives.
    pub shard: Shard,
}

/// An order with its place in the queue of the log of its shard.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    order: PaymentOrder,
    /// Whether its caller may ask for it again, under a key that they chose.
    is_keyed: bool,
    place: Place<'a, PaymentCommand>,
}

/// An order on its way into the log.
enum Storing {
    Queued {
        queued: Queued,
        is_keyed: bool,
    },
    /// It came no further, or had been there before.
    Known(Box<Result<Accepted, PayError>>),
}

/// An order that is in the log.
struct Stored {
    accepted: Accepted,
    /// Whether another gateway may have taken its key before.
    may_be_second: bool,
}

/// Why a payment was not accepted.
#[derive(Debug)]
pub(crate) enum PayError {
    /// Its idempotency key was used with another input.
    KeyReused,
    /// Not now; see inside what may have been stored.
    Failed(Failure),
}

impl<T: Into<Failure>> From<T> for PayError {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

/// How long it is waited for what is known of an initiator's keys.
const fn key_wait(by: Initiator) -> Duration {
    match by {
        Initiator::Customer(_) => FIRST_WAIT,
        Initiator::Bank => READ_WAIT,
    }
}

impl Bank {
    /// An order that was just asked for.
    pub(crate) fn order(
        by: Initiator,
        debtor: Debtor,
        creditor: domain::Iban,
        amount: Money,
        reference: Option<Reference>,
        key: Option<&IdempotencyKey>,
    ) -> PaymentOrder {
        let id = key.map_or_else(|| PaymentId::from_uuid(Uuid::now_v7()), |key| PaymentId::keyed(by.key_namespace(), key));
        PaymentOrder { id, by, debtor, creditor, amount, reference, at: streams::now() }
    }

    /// The log that takes orders of a shard's accounts.
    fn orders_of(&self, shard: Shard) -> &LogName {
        &self.order_logs[usize::from(shard.0)]
    }

    /// The order with a place in the queue of the log that takes it; without one, nothing of it is done.
    pub(crate) fn place(&self, order: PaymentOrder, is_keyed: bool) -> Result<Placed<'_>, Failure> {
        let shard = order.debtor.shard(self.host.topology.shards);
        let log = self.payments.get(usize::from(shard.0)).ok_or(Failure::UnknownAccount)?;
        Ok(Placed { order, is_keyed, place: log.reserve()? })
    }

    /// Stores an order durably, or finds that it was stored before.
    pub(crate) async fn accept(&self, placed: Placed<'_>) -> Result<Accepted, PayError> {
        self.accept_all(vec![placed]).await.remove(0)
    }

    /// The same for several orders of one customer, each on its own, in their order. One future waits for them, one after
    /// the other: to have one for each took half as much processor time again.
    pub(crate) async fn accept_all(&self, orders: Vec<Placed<'_>>) -> Vec<Result<Accepted, PayError>> {
        // Whether a key was used before is known once the model has come to where it was. While it is
        // built again no customer waits for that: the log knows who was first, and a repeat is one payment.
        let is_known = match orders.iter().find(|placed| placed.is_keyed).map(|placed| &placed.order) {
            Some(order) => tokio::time::timeout(key_wait(order.by), self.keys_of(order)).await.unwrap_or(false),
            None => false,
        };
        let storing: Vec<_> = orders.into_iter().map(|placed| self.begin(placed, is_known)).collect();
        let mut stored = Vec::with_capacity(storing.len());
        for storing in storing {
            stored.push(self.end(storing).await);
        }
        self.own_keys(&stored).await;
        let first = |Stored { accepted, may_be_second }| if may_be_second { self.first_with_key(accepted) } else { Ok(accepted) };
        stored.into_iter().map(|stored| stored.and_then(first)).collect()
    }

    /// Queues an order, unless it is known already.
    fn begin(&self, Placed { order, is_keyed, place }: Placed<'_>, is_known: bool) -> Storing {
        let order = Arc::new(order);
        let submit = |order: &PaymentOrder| place.about(order.id).submit(PaymentCommand::Initiated(order.clone()));
        if !is_keyed {
            let answer = submit(&order);
            return Storing::Queued { queued: Queued::new(order, answer), is_keyed };
        }
        if order.by == Initiator::Bank && !is_known {
            // A shard that cannot be asked may have the key, and its log does not know of this one's.
            return Storing::Known(Err(PayError::Failed(Failure::not_level())).into());
        }
        match if is_known { self.accepted_before(&order) } else { Ok(None) } {
            Ok(None) => {}
            Ok(Some(before)) => return Storing::Known(before.into()),
            Err(error) => return Storing::Known(Err(error.into()).into()),
        }
        let queued = self.recent.claim(Arc::clone(&order), submit);
        if queued.order.same_input(&order) { Storing::Queued { queued, is_keyed } } else { Storing::Known(Err(PayError::KeyReused).into()) }
    }

    /// Waits until an order is in the log.
    async fn end(&self, storing: Storing) -> Result<Stored, PayError> {
        let (Queued { order, outcome }, is_keyed) = match storing {
            Storing::Queued { queued, is_keyed } => (queued, is_keyed),
            Storing::Known(known) => return known.map(|accepted| Stored { accepted, may_be_second: false }),
        };
        let stopping = |_| Err(AppendError::Unknown("the gateway is stopping".to_owned()));
        let seq = outcome.await.unwrap_or_else(stopping)?;
        let shard = order.debtor.shard(self.host.topology.shards);
        Ok(Stored { accepted: self.accepted(shard, (*order).clone(), seq), may_be_second: is_keyed })
    }

    /// Waits, bounded, until this gateway's read models have every payment that it said was accepted;
    /// a caller that looks for one without a position finds it. After that, what is there is the answer.
    pub(crate) async fn own_payments(&self) {
        let all = async {
            for (shard, acknowledged) in (0..).map(Shard).zip(&*self.acknowledged) {
                let seq = acknowledged.load(Ordering::Relaxed);
                self.models.history_reaches(shard, self.orders_of(shard), seq, FIRST_WAIT).await;
            }
        };
        let _ = tokio::time::timeout(FIRST_WAIT, all).await;
    }

    /// The shards that know which keys an order's initiator has used: a customer's payments are on one, the bank's on all.
    fn key_shards(&self, order: &PaymentOrder) -> impl Iterator<Item = Shard> {
        let count = self.host.topology.shards;
        let Shard(own) = order.debtor.shard(count);
        match order.by {
            Initiator::Customer(_) => own..own + 1,
            Initiator::Bank => 0..count,
        }
        .map(Shard)
    }

    /// Waits until it is known which keys the order's initiator has used; false, where it cannot be. The bank's may have been taken a
    /// moment ago on another shard by another gateway, or without an answer: no log would know of both.
    async fn keys_of(&self, order: &PaymentOrder) -> bool {
        for shard in self.key_shards(order) {
            self.models.history(shard).level().await;
            if order.by == Initiator::Bank && !self.has_all_orders(shard).await {
                return false;
            }
        }
        true
    }

    /// Waits, bounded, until the model has what stands in the log of a shard's orders now.
    async fn has_all_orders(&self, shard: Shard) -> bool {
        let log = self.orders_of(shard);
        match self.host.broker.log(log.clone()).info().await {
            Ok(info) => self.models.history_reaches(shard, log, info.last, READ_WAIT).await,
            Err(_) => false,
        }
    }

    /// What is known of an id, if anything is.
    fn accepted_before(&self, order: &PaymentOrder) -> Result<Option<Result<Accepted, PayError>>, StoreError> {
        let mut missing = Ok(None);
        for shard in self.key_shards(order) {
            // The id is made of the initiator and the key, so what is there is the initiator's.
            let before = self.models.history(shard).look(order.id, |row| {
                let is_same = row.order.same_input(order);
                if is_same { Ok(self.accepted(shard, row.order.clone(), row.accepted_seq)) } else { Err(PayError::KeyReused) }
            });
            match before {
                Ok(Some(before)) => return Ok(Some(before)),
                Ok(None) | Err(StoreError::NotLevel) => {}
                Err(error) => missing = Err(error),
            }
        }
        missing
    }

    /// Waits, bounded, until the model has the orders that were stored under a key: a customer's are on one shard.
    async fn own_keys(&self, all: &[Result<Stored, PayError>]) {
        let keyed = all.iter().flatten().filter(|stored| stored.may_be_second);
        let last = keyed.map(|Stored { accepted, .. }| (accepted.shard, accepted.row.accepted_seq)).max();
        if let Some((shard, seq)) = last.filter(|(shard, _)| self.models.history(*shard).is_level()) {
            self.models.history_reaches(shard, self.orders_of(shard), seq, FIRST_WAIT).await;
        }
    }

    /// The log decides who was first with a key, should another gateway have taken it at the same moment.
    fn first_with_key(&self, mine: Accepted) -> Result<Accepted, PayError> {
        if !self.models.history(mine.shard).is_level() {
            return Ok(mine);
        }
        match self.accepted_before(&mine.row.order) {
            Ok(before) => before.unwrap_or(Ok(mine)),
            Err(error) => {
                // It is stored all the same: whoever is told of a failure would pay once more.
                tracing::error!(%error, "Who was first with a key could not be read");
                Ok(mine)
            }
        }
    }

    fn accepted(&self, shard: Shard, order: PaymentOrder, seq: u64) -> Accepted {
        Accepted { row: PaymentRow::accepted(order, self.orders_of(shard).clone(), seq), shard }
    }

    /// Waits until a payment is final or held, or ten seconds are over; answers with what is known of it then. That it was accepted
    /// is known in any case: whoever is told of a failure instead would pay once more.
    pub(crate) async fn settled(&self, accepted: Accepted, since: Instant) -> PaymentRow {
        let row = self.wait_until(accepted.shard, accepted.row.order.id, since + FINAL_WAIT, PaymentRow::is_settled).await;
        row.ok().flatten().unwrap_or(accepted.row)
    }

    /// Waits, bounded, until the payment behind an entry is shown as final, which it is: each model folds on its own.
    pub(crate) async fn booked(&self, by: Debtor, id: PaymentId) -> Result<(), Failure> {
        let shard = by.shard(self.host.topology.shards);
        self.wait_until(shard, id, Instant::now() + READ_WAIT, PaymentRow::is_final).await.map(|_| ())
    }

    async fn wait_until(
        &self,
        shard: Shard,
        id: PaymentId,
        deadline: Instant,
        done: impl Fn(&PaymentRow) -> bool,
    ) -> Result<Option<PaymentRow>, Failure> {
        let model = self.history(shard).await?;
        let mut watch = model.watch(id);
        loop {
            let row = model.payment(id)?;
            if row.as_ref().is_some_and(&done) || tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
                return Ok(row);
            }
        }
    }

    /// Stores a review of a held payment and waits until it has had its effect; none, where another
    /// review, or nothing at all, took effect first.
    pub(crate) async fn review(&self, shard: Shard, review: Review) -> Result<Option<PaymentRow>, Failure> {
        let (id, command) = (review.payment, review.command);
        self.payments[usize::from(shard.0)].reserve()?.about(id).append(PaymentCommand::Reviewed(review)).await?;
        let reviewed = |row: &PaymentRow| row.status() != PaymentStatus::Held;
        let is_stored =
            || Failure::Unavailable("The review is stored and will be done. What comes of it cannot be told now: look again.".to_owned());
        match self.wait_until(shard, id, Instant::now() + FINAL_WAIT, reviewed).await {
            Ok(Some(row)) if row.review == Some(command) => Ok(Some(row)),
            Ok(Some(row)) if row.status() == PaymentStatus::Held => Err(is_stored()),
            Ok(_) => Ok(None),
            Err(_) => Err(is_stored()),
        }
    }
}
