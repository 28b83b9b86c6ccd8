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

/// How the append of the first request ended, once it has.
pub(crate) type Outcome = Shared<oneshot::Receiver<Result<u64, AppendError>>>;

#[derive(Debug, Clone)]
struct Entry {
    order: Arc<PaymentOrder>,
    outcome: Outcome,
}

/// Keys of two generations.
#[derive(Debug, Default)]
pub(crate) struct RecentKeys(Mutex<[HashMap<PaymentId, Entry>; 2]>);

/// What a request with a key has to do.
pub(crate) enum Claim {
    /// It is the first: append, and tell the others.
    First(oneshot::Sender<Result<u64, AppendError>>),
    /// Another one asked for this order already, and ends like this.
    Joined(Arc<PaymentOrder>, Outcome),
}

impl RecentKeys {
    /// Claims the id of `order`.
    pub(crate) fn claim(&self, order: &PaymentOrder) -> Claim {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *guard;
        if let Some(entry) = young.get(&order.id).or_else(|| old.get(&order.id)) {
            return Claim::Joined(Arc::clone(&entry.order), entry.outcome.clone());
        }
        if young.len() >= GENERATION_KEYS {
            *old = std::mem::take(young);
        }
        let (sender, outcome) = oneshot::channel();
        young.insert(order.id, Entry { order: Arc::new(order.clone()), outcome: outcome.shared() });
        Claim::First(sender)
    }

    /// Forgets an id whose append was not acknowledged, so that it can be tried again.
    pub(crate) fn forget(&self, id: PaymentId) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.iter_mut().for_each(|generation| drop(generation.remove(&id)));
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

    fn first(keys: &RecentKeys) -> oneshot::Sender<Result<u64, AppendError>> {
        match keys.claim(&order()) {
            Claim::First(tell) => tell,
            Claim::Joined(..) => panic!("nobody claimed it before"),
        }
    }

    fn joined(keys: &RecentKeys) -> Outcome {
        match keys.claim(&order()) {
            Claim::Joined(_, outcome) => outcome,
            Claim::First(_) => panic!("it was claimed before"),
        }
    }

    #[tokio::test]
    async fn who_joins_ends_as_the_first_did_whenever_they_joined() {
        let keys = RecentKeys::default();
        let tell = first(&keys);
        let (early, left) = (joined(&keys), joined(&keys));
        let waiting = tokio::spawn(early);
        drop(left);
        tell.send(Ok(7)).expect("it is listened to");
        assert!(matches!(waiting.await, Ok(Ok(Ok(7)))));
        for _ in 0..2 {
            assert!(matches!(joined(&keys).await, Ok(Ok(7))), "also after it ended");
        }
    }

    #[tokio::test]
    async fn a_first_one_that_goes_away_is_told_to_those_who_joined_and_may_be_forgotten() {
        let keys = RecentKeys::default();
        drop(first(&keys));
        assert!(joined(&keys).await.is_err());
        keys.forget(order().id);
        first(&keys);
    }
}
