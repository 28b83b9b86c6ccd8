//! Accepting payments: store durably, answer at once, and recognise a repeat by its id.
//! This module must never know GraphQL types, nor decide whether a payment may be made.

use std::{sync::atomic::Ordering, time::Duration};

use domain::{Debtor, IdempotencyKey, Initiator, Money, PaymentId, PaymentOrder, Reference, Review, Shard, payments::PaymentCommand};
use projections::{PaymentRow, PaymentStatus, StoreError, count_payments};
use streams::{LogName, Place};
use tokio::time::Instant;
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

/// A place in the queue of the log of a shard.
#[derive(Debug)]
pub(crate) struct OrderPlace<'a> {
    shard: Shard,
    place: Place<'a, PaymentCommand>,
}

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

    /// A place in the queue of the log that takes an order; without one, nothing of it is done.
    pub(crate) fn place(&self, order: &PaymentOrder) -> Result<OrderPlace<'_>, Failure> {
        let shard = order.debtor.shard(self.host.topology.shards);
        let log = self.payments.get(usize::from(shard.0)).ok_or(Failure::UnknownAccount)?;
        Ok(OrderPlace { shard, place: log.reserve()? })
    }

    /// Stores an order durably, or finds that it was stored before.
    pub(crate) async fn accept(&self, order: PaymentOrder, keyed: bool, place: OrderPlace<'_>) -> Result<Accepted, PayError> {
        let shard = place.shard;
        if !keyed {
            let seq = self.append_order(place, order.clone()).await?;
            return Ok(self.accepted(shard, order, seq));
        }
        // Whether a key was used before is known once the model has come to where it was. While it is
        // built again nobody waits for that: the log knows who was first, and a repeat is one payment.
        let is_known = tokio::time::timeout(FIRST_WAIT, self.keys_of(&order)).await.is_ok();
        if is_known && let Some(before) = self.accepted_before(&order)? {
            return before;
        }
        match self.recent.claim(&order) {
            Claim::First(tell) => {
                let outcome = self.append_order(place, order.clone()).await;
                if outcome.is_err() {
                    self.recent.forget(order.id);
                }
                // Where the key was forgotten meanwhile, nobody can have joined.
                let _ = tell.send(outcome.clone());
                self.first_with_key(self.accepted(shard, order, outcome?)).await
            }
            Claim::Joined(first, _) if !first.same_input(&order) => Err(PayError::KeyReused),
            Claim::Joined(first, outcome) => {
                let shard = first.debtor.shard(self.host.topology.shards);
                let seq = joined(outcome).await?;
                self.first_with_key(self.accepted(shard, (*first).clone(), seq)).await
            }
        }
    }

    async fn append_order(&self, OrderPlace { shard, place }: OrderPlace<'_>, order: PaymentOrder) -> Result<u64, streams::AppendError> {
        let seq = place.about(order.id).append(PaymentCommand::Initiated(order)).await?;
        self.acknowledged[usize::from(shard.0)].fetch_max(seq, Ordering::Relaxed);
        count_payments(PaymentStatus::Accepted, 1);
        Ok(seq)
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

    /// Waits until it is known which keys the order's initiator has used: a customer's payments are on
    /// one shard, the bank's on all.
    async fn keys_of(&self, order: &PaymentOrder) {
        match order.by {
            Initiator::Customer(_) => self.models.history(order.debtor.shard(self.host.topology.shards)).level().await,
            Initiator::Bank => self.models.histories_level().await,
        }
    }

    /// What is known of an id, if anything is.
    fn accepted_before(&self, order: &PaymentOrder) -> Result<Option<Result<Accepted, PayError>>, StoreError> {
        // The id is made of the initiator and the key, so what is there is the initiator's.
        let (shard, row) = match self.models.payment(order.id, |_| Ok(true)) {
            Ok(Some(found)) => found,
            // Other shards do not matter, see `keys_of`.
            Ok(None) | Err(StoreError::NotLevel) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(if row.order.same_input(order) { Ok(self.accepted(shard, row.order, row.accepted_seq)) } else { Err(PayError::KeyReused) }))
    }

    /// The log decides who was first with a key, should another gateway have taken it at the same moment.
    async fn first_with_key(&self, mine: Accepted) -> Result<Accepted, PayError> {
        if !self.models.history(mine.shard).is_level() {
            return Ok(mine);
        }
        self.models.history_reaches(mine.shard, self.orders_of(mine.shard), mine.row.accepted_seq, FIRST_WAIT).await;
        match self.accepted_before(&mine.row.order)? {
            Some(first) => first,
            None => Ok(mine),
        }
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

async fn joined(outcome: Outcome) -> Result<u64, streams::AppendError> {
    let gone = |_| streams::AppendError::Unknown("the first request with this key went away".to_owned());
    outcome.await.map_err(gone)?
}
