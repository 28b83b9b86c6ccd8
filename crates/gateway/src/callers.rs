//! How much each caller asks for: operations a second, and connections that stay open. This module
//! must never know what is asked.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::{Caller, limits::Limits};

/// Callers that asked for nothing lately are forgotten after this many operations.
const FORGET_EVERY: u64 = 100_000;

/// What all callers take at the moment.
#[derive(Debug)]
pub(crate) struct Callers {
    signed_in: DefaultKeyedRateLimiter<Caller>,
    anonymous: DefaultDirectRateLimiter,
    operations: AtomicU64,
    sockets: Arc<Mutex<HashMap<Caller, usize>>>,
    most_sockets: usize,
    most_caller_sockets: usize,
}

/// A caller's open connection; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Seat {
    sockets: Arc<Mutex<HashMap<Caller, usize>>>,
    caller: Caller,
}

impl Callers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let quota = |rate| Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN));
        Self {
            signed_in: RateLimiter::keyed(quota(limits.caller_rate)),
            anonymous: RateLimiter::direct(quota(limits.anonymous_rate)),
            operations: AtomicU64::new(0),
            sockets: Arc::default(),
            most_sockets: limits.sockets,
            most_caller_sockets: limits.caller_sockets,
        }
    }

    /// Whether the caller may ask for one more operation now.
    pub(crate) fn may_ask(&self, caller: Caller) -> bool {
        if self.operations.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.signed_in.retain_recent();
        }
        match caller {
            Caller::Anonymous => self.anonymous.check().is_ok(),
            Caller::Customer(_) | Caller::Operator => self.signed_in.check_key(&caller).is_ok(),
        }
    }

    /// A seat for one more connection of the caller; none where all are taken.
    pub(crate) fn sit(&self, caller: Caller) -> Option<Seat> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.values().sum::<usize>() >= self.most_sockets {
            return None;
        }
        let taken = sockets.entry(caller).or_default();
        if *taken >= self.most_caller_sockets {
            return None;
        }
        *taken += 1;
        Some(Seat { sockets: Arc::clone(&self.sockets), caller })
    }

    /// Gives the seat to whoever turned out to sit there; says whether they may have one more.
    pub(crate) fn is_of(&self, seat: &mut Seat, caller: Caller) -> bool {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if seat.caller == caller {
            return true;
        }
        let taken = sockets.entry(caller).or_default();
        if *taken >= self.most_caller_sockets {
            return false;
        }
        *taken += 1;
        leave(&mut sockets, seat.caller);
        seat.caller = caller;
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        leave(&mut self.sockets.lock().unwrap_or_else(PoisonError::into_inner), self.caller);
    }
}

fn leave(sockets: &mut HashMap<Caller, usize>, caller: Caller) {
    if let Some(taken) = sockets.get_mut(&caller) {
        *taken -= 1;
        if *taken == 0 {
            sockets.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_by_caller_and_in_all_and_come_back() {
        let callers = Callers::new(&Limits { sockets: 3, caller_sockets: 2, ..Limits::default() });
        let operators = [callers.sit(Caller::Operator), callers.sit(Caller::Operator)];
        assert!(operators.iter().all(Option::is_some));
        assert!(callers.sit(Caller::Operator).is_none(), "two of one caller");
        let anonymous = callers.sit(Caller::Anonymous);
        assert!(anonymous.is_some());
        assert!(callers.sit(Caller::Anonymous).is_none(), "three in all");
        drop(operators);
        let mut seats: Vec<_> = (0..2).filter_map(|_| callers.sit(Caller::Operator)).collect();
        let mut last = anonymous.expect("a seat");
        assert!(!callers.is_of(&mut last, Caller::Operator), "a third of one caller");
        seats.pop();
        assert!(callers.is_of(&mut last, Caller::Operator), "no seat more in all");
        assert!(callers.sit(Caller::Anonymous).is_some());
    }

    #[test]
    fn operations_above_the_rate_are_refused_and_those_of_others_are_not() {
        let callers = Callers::new(&Limits { caller_rate: 3, anonymous_rate: 2, ..Limits::default() });
        let may = |caller, times: usize| (0..times).filter(|_| callers.may_ask(caller)).count();
        assert_eq!(may(Caller::Operator, 5), 3);
        assert_eq!(may(Caller::Anonymous, 5), 2);
    }
}
