//! Accepting payments: store durably, answer at once, and recognise a repeat by its id.
//! This module must never know GraphQL types, nor decide whether a payment may be made.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{Debtor, IdempotencyKey, Initiator, Money, PaymentId, PaymentOrder, Reference, Review, Shard, payments::PaymentCommand};
use projections::{PaymentRow, PaymentStatus, StoreError, count_payments};
use streams::{AppendError, LogName, Place};
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use crate::{
    Bank,
    errors::Failure,
    recent::{Claim, Outcome},
};

/// How long an answer with `waitFor: FINAL` waits; the contract's number.
const FINAL_WAIT: Duration = Duration::from_secs(10);
/// How long a payment with a key waits for the own read model to say who was first with the key.
/// It is there within a millisecond, unless it is being rebuilt; accepting must not wait for that.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A payment that stands in its command log.
#[derive(Debug, Clone)]
pub struct Accepted {
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
    shard: Shard,
    place: Place<'a, PaymentCommand>,
}

/// An order on its way into the log.
enum Storing {
    /// It is in the queue; where it has a key, those who join are told how that ends.
    Queued { order: PaymentOrder, shard: Shard, answer: oneshot::Receiver<Appended>, tell: Option<oneshot::Sender<Appended>> },
    /// Another request with the same key has it in the queue.
    Joined(Arc<PaymentOrder>, Outcome),
    /// It came no further, or had been there before.
    Known(Result<Accepted, PayError>),
}

/// An order that is in the log.
struct Stored {
    accepted: Accepted,
    /// Whether that is under a key, which another gateway may have taken before.
    is_keyed: bool,
}

type Appended = Result<u64, AppendError>;

/// Why a payment was not accepted.
#[derive(Debug)]
pub enum PayError {
    /// Its idempotency key was used with another input.
    KeyReused,
    /// Not now; see inside what may have been stored.
    Failed(Failed),
}

/// A failure on the way.
#[derive(Debug)]
pub struct Failed(pub(crate) Failure);

impl<T: Into<Failure>> From<T> for Failed {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

impl From<Failed> for PayError {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<StoreError> for PayError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
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
        Ok(Placed { order, is_keyed, shard, place: log.reserve()? })
    }

    /// Stores an order durably, or finds that it was stored before.
    pub(crate) async fn accept(&self, placed: Placed<'_>) -> Result<Accepted, PayError> {
        self.accept_all(vec![placed]).await.remove(0)
    }

    /// The same for several orders of one initiator, each on its own, in their order. They are waited for together: to have
    /// a future for each took half as much processor time again.
    pub(crate) async fn accept_all(&self, orders: Vec<Placed<'_>>) -> Vec<Result<Accepted, PayError>> {
        // Whether a key was used before is known once the model has come to where it was. While it is
        // built again nobody waits for that: the log knows who was first, and a repeat is one payment.
        let is_known = match orders.iter().find(|placed| placed.is_keyed) {
            Some(keyed) => tokio::time::timeout(FIRST_WAIT, self.keys_of(&keyed.order)).await.is_ok(),
            None => false,
        };
        let storing: Vec<_> = orders.into_iter().map(|placed| self.begin(placed, is_known)).collect();
        let mut stored = Vec::with_capacity(storing.len());
        // One that was joined had been begun before, and so had all that its request waits for before it: never in a circle.
        for storing in storing {
            stored.push(self.end(storing).await);
        }
        self.own_keys(&stored).await;
        let first = |Stored { accepted, is_keyed }| if is_keyed { self.first_with_key(accepted) } else { Ok(accepted) };
        stored.into_iter().map(|stored| stored.and_then(first)).collect()
    }

    /// Queues an order, unless it is known already.
    fn begin(&self, Placed { order, is_keyed, shard, place }: Placed<'_>, is_known: bool) -> Storing {
        let mut tell = None;
        if is_keyed {
            match if is_known { self.accepted_before(&order) } else { Ok(None) } {
                Ok(None) => {}
                Ok(Some(before)) => return Storing::Known(before),
                Err(error) => return Storing::Known(Err(error.into())),
            }
            match self.recent.claim(&order) {
                Claim::First(sender) => tell = Some(sender),
                Claim::Joined(first, _) if !first.same_input(&order) => return Storing::Known(Err(PayError::KeyReused)),
                Claim::Joined(first, outcome) => return Storing::Joined(first, outcome),
            }
        }
        let answer = place.about(order.id).submit(PaymentCommand::Initiated(order.clone()));
        Storing::Queued { order, shard, answer, tell }
    }

    /// Waits until an order is in the log, whoever has it in the queue.
    async fn end(&self, storing: Storing) -> Result<Stored, PayError> {
        let (accepted, is_keyed) = match storing {
            Storing::Queued { order, shard, answer, tell } => {
                let appended = answer.await.unwrap_or_else(|_| Err(AppendError::Unknown("the gateway is stopping".to_owned())));
                let is_keyed = tell.is_some();
                if let Some(tell) = tell {
                    if appended.is_err() {
                        self.recent.forget(order.id);
                    }
                    // Where the key was forgotten meanwhile, nobody can have joined.
                    let _ = tell.send(appended.clone());
                }
                let seq = appended.map_err(Failed::from)?;
                self.acknowledged[usize::from(shard.0)].fetch_max(seq, Ordering::Relaxed);
                count_payments(PaymentStatus::Accepted, 1);
                (self.accepted(shard, order, seq), is_keyed)
            }
            Storing::Joined(first, outcome) => {
                let gone = |_| Err(AppendError::Unknown("the first request with this key went away".to_owned()));
                let seq = outcome.await.unwrap_or_else(gone).map_err(Failed::from)?;
                (self.accepted(first.debtor.shard(self.host.topology.shards), (*first).clone(), seq), true)
            }
            Storing::Known(known) => (known?, false),
        };
        Ok(Stored { accepted, is_keyed })
    }

    /// Waits, bounded, until this gateway's read models have every payment that it said was accepted;
    /// a caller that looks for one without a position finds it. After that, what is there is the answer.
    pub(crate) async fn own_payments(&self) {
        let all = async {
            for (shard, acknowledged) in (0..).map(Shard).zip(&self.acknowledged) {
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

    /// Waits until it is known which keys the order's initiator has used.
    async fn keys_of(&self, order: &PaymentOrder) {
        for shard in self.key_shards(order) {
            self.models.history(shard).level().await;
        }
    }

    /// What is known of an id, if anything is.
    fn accepted_before(&self, order: &PaymentOrder) -> Result<Option<Result<Accepted, PayError>>, StoreError> {
        for shard in self.key_shards(order) {
            // The id is made of the initiator and the key, so what is there is the initiator's.
            let before = self.models.history(shard).look(order.id, |row| {
                let is_same = row.order.same_input(order);
                if is_same { Ok(self.accepted(shard, row.order.clone(), row.accepted_seq)) } else { Err(PayError::KeyReused) }
            });
            match before {
                Ok(Some(before)) => return Ok(Some(before)),
                Ok(None) | Err(StoreError::NotLevel) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Waits, bounded, until the models of their shards have the orders that were stored under a key.
    async fn own_keys(&self, all: &[Result<Stored, PayError>]) {
        let mut last = BTreeMap::new();
        for Stored { accepted, .. } in all.iter().flatten().filter(|stored| stored.is_keyed) {
            let seq = last.entry(accepted.shard).or_insert(0);
            *seq = accepted.row.accepted_seq.max(*seq);
        }
        let reached = async {
            for (shard, seq) in last {
                if self.models.history(shard).is_level() {
                    self.models.history_reaches(shard, self.orders_of(shard), seq, FIRST_WAIT).await;
                }
            }
        };
        let _ = tokio::time::timeout(FIRST_WAIT, reached).await;
    }

    /// The log decides who was first with a key, should another gateway have taken it at the same moment.
    fn first_with_key(&self, mine: Accepted) -> Result<Accepted, PayError> {
        if !self.models.history(mine.shard).is_level() {
            return Ok(mine);
        }
        self.accepted_before(&mine.row.order)?.unwrap_or(Ok(mine))
    }

    fn accepted(&self, shard: Shard, order: PaymentOrder, seq: u64) -> Accepted {
        Accepted { row: PaymentRow::accepted(order, self.orders_of(shard).clone(), seq), shard }
    }

    /// Waits until a payment is final or held, or ten seconds are over; answers with what it is then.
    pub(crate) async fn settled(&self, accepted: Accepted, since: Instant) -> Result<PaymentRow, Failure> {
        let is_settled = |row: &PaymentRow| row.is_settled();
        let row = self.wait_until(accepted.shard, accepted.row.order.id, since + FINAL_WAIT, is_settled).await?;
        Ok(row.unwrap_or(accepted.row))
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
        let row = self.wait_until(shard, id, Instant::now() + FINAL_WAIT, reviewed).await?;
        match row {
            Some(row) if row.review == Some(command) => Ok(Some(row)),
            Some(row) if row.status() == PaymentStatus::Held => {
                Err(Failure::Unavailable("The review is stored and will be done, but fraud detection does not answer now.".to_owned()))
            }
            Some(_) | None => Ok(None),
        }
    }
}
