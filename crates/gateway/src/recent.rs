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
