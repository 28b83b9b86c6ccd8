//! Idempotency keys that this gateway took a moment ago, before its read model has them: a second
//! request with the same key joins the first. It must never be the only guard: the payments service
//! holds every id for ever.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{PaymentId, PaymentOrder};
use futures_util::{FutureExt as _, future::Shared};
use streams::AppendError;
use tokio::sync::oneshot;

/// Keys kept in each of two generations; when the younger is full, the elder is forgotten. By then
/// the read model has had time for a hundred thousand payments.
const GENERATION_KEYS: usize = 100_000;

/// How an append ended: with its record's sequence, or not.
pub(crate) type Appended = Result<u64, AppendError>;
/// The same once it is known, for everybody who waits for it, also after the request that came first went away.
pub(crate) type Outcome = Shared<oneshot::Receiver<Appended>>;

/// An order that is in the queue of its log.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub order: Arc<PaymentOrder>,
    pub outcome: Outcome,
}

impl Queued {
    pub(crate) fn new(order: Arc<PaymentOrder>, answer: oneshot::Receiver<Appended>) -> Self {
        Self { order, outcome: answer.shared() }
    }

    /// Whether somebody heard that it did not get into the log.
    fn has_failed(&self) -> bool {
        matches!(self.outcome.peek(), Some(Err(_) | Ok(Err(_))))
    }
}

/// Keys of two generations.
#[derive(Debug, Default)]
pub(crate) struct RecentKeys(Mutex<[HashMap<PaymentId, Queued>; 2]>);

impl RecentKeys {
    /// The order that is in the queue under the id of `order`: an earlier one, or this, which is then submitted. Where
    /// an earlier one is known to have failed, it is tried again.
    pub(crate) fn claim(&self, order: Arc<PaymentOrder>, submit: impl FnOnce(&PaymentOrder) -> oneshot::Receiver<Appended>) -> Queued {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *guard;
        if let Some(earlier) = young.get(&order.id).or_else(|| old.get(&order.id)).filter(|earlier| !earlier.has_failed()) {
            return earlier.clone();
        }
        if young.len() >= GENERATION_KEYS {
            *old = std::mem::take(young);
        }
        let answer = submit(&order);
        let queued = Queued::new(order, answer);
        young.insert(queued.order.id, queued.clone());
        queued
    }
}

#[cfg(test)]
mod tests {
    use domain::{AccountId, Currency, Debtor, Iban, Initiator, Money};

    use super::*;

    fn order() -> PaymentOrder {
        let creditor = Iban::parse("DE75999999991000000000").expect("an IBAN");
        let amount = Money::parse_positive("1", Currency::parse("EUR").expect("a currency")).expect("money");
        let debtor = Debtor::Account(AccountId::from_bytes([1; 16]));
        PaymentOrder {
            id: PaymentId::from_bytes([2; 16]),
            by: Initiator::Bank,
            debtor,
            creditor,
            amount,
            reference: None,
            at: streams::now(),
        }
    }

    /// Claims the order's id; what is in the queue, and who answers it if that is this order.
    fn claim(keys: &RecentKeys) -> (Queued, Option<oneshot::Sender<Appended>>) {
        let mut sender = None;
        let queued = keys.claim(Arc::new(order()), |_| {
            let (answers, answer) = oneshot::channel();
            sender = Some(answers);
            answer
        });
        (queued, sender)
    }

    #[tokio::test]
    async fn who_joins_ends_as_the_first_did_whenever_they_joined_and_whoever_went_away() {
        let keys = RecentKeys::default();
        let (first, sender) = claim(&keys);
        let (early, left) = (claim(&keys), claim(&keys));
        assert!(early.1.is_none() && left.1.is_none(), "it was claimed before");
        let waiting = tokio::spawn(early.0.outcome);
        drop((first, left));
        sender.expect("nobody claimed it before").send(Ok(7)).expect("it is listened to");
        assert!(matches!(waiting.await, Ok(Ok(Ok(7)))));
        for _ in 0..2 {
            assert!(matches!(claim(&keys).0.outcome.await, Ok(Ok(7))), "also after it ended");
        }
    }

    #[tokio::test]
    async fn what_failed_may_be_tried_again_once_somebody_heard_of_it() {
        let keys = RecentKeys::default();
        for unanswered in [true, false] {
            let (first, sender) = claim(&keys);
            let sender = sender.expect("it may be tried");
            if unanswered {
                drop(sender);
            } else {
                sender.send(Err(AppendError::Overloaded)).expect("it is listened to");
            }
            // The request that came first went away before it heard.
            drop(first);
            let (joined, sender) = claim(&keys);
            assert!(sender.is_none(), "nobody knows yet");
            assert!(matches!(joined.outcome.await, Err(_) | Ok(Err(_))));
        }
        assert!(claim(&keys).1.is_some());
    }
}
