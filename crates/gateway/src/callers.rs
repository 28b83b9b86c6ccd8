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
    sockets: Sockets,
    most_sockets: usize,
    most_caller_sockets: usize,
}

/// Open connections by caller; by none those whose caller has not been named yet.
type Sockets = Arc<Mutex<HashMap<Option<Caller>, usize>>>;

/// An open connection; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Seat {
    sockets: Sockets,
    caller: Option<Caller>,
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

    /// A seat for one more connection of the caller, or of one who is yet to be named, of whom there may be as many as there are seats
    /// for a moment; none where all are taken.
    pub(crate) fn sit(&self, caller: Option<Caller>) -> Option<Seat> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.values().sum::<usize>() >= self.most_sockets {
            return None;
        }
        let taken = sockets.entry(caller).or_default();
        if caller.is_some() && *taken >= self.most_caller_sockets {
            return None;
        }
        *taken += 1;
        Some(Seat { sockets: Arc::clone(&self.sockets), caller })
    }

    /// Gives the seat to whoever turned out to sit there; says whether they may have one more.
    pub(crate) fn hand_over(&self, seat: &mut Seat, caller: Caller) -> bool {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = Some(caller);
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

fn leave(sockets: &mut HashMap<Option<Caller>, usize>, caller: Option<Caller>) {
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
        let sit = |caller| callers.sit(Some(caller));
        let operators = [sit(Caller::Operator), sit(Caller::Operator)];
        assert!(operators.iter().all(Option::is_some));
        assert!(sit(Caller::Operator).is_none(), "two of one caller");
        let anonymous = sit(Caller::Anonymous);
        assert!(anonymous.is_some());
        assert!(sit(Caller::Anonymous).is_none() && callers.sit(None).is_none(), "three in all");
        drop((operators, anonymous));
        let unnamed: Vec<_> = (0..4).map_while(|_| callers.sit(None)).collect();
        let [mut first, mut second, mut third] = <[Seat; 3]>::try_from(unnamed).expect("as many as there are seats");
        assert!(callers.hand_over(&mut first, Caller::Operator) && callers.hand_over(&mut second, Caller::Operator));
        assert!(!callers.hand_over(&mut third, Caller::Operator), "a third of one caller");
        drop(second);
        assert!(callers.hand_over(&mut third, Caller::Operator), "no seat more in all");
        assert!(sit(Caller::Anonymous).is_some());
    }

    #[test]
    fn operations_above_the_rate_are_refused_and_those_of_others_are_not() {
        let callers = Callers::new(&Limits { caller_rate: 3, anonymous_rate: 2, ..Limits::default() });
        let may = |caller, times: usize| (0..times).filter(|_| callers.may_ask(caller)).count();
        assert_eq!(may(Caller::Operator, 5), 3);
        assert_eq!(may(Caller::Anonymous, 5), 2);
    }
}
