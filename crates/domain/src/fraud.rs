//! Fraud detection: limits of one payment and of one day per account, and which payments wait for a
//! person. Days are those of its own events, so folding the log again decides alike, whatever clocks
//! gateways have. This module must never know balances.

use serde::{Deserialize, Serialize};

use crate::{AccountId, CommandId, PaymentId, PaymentOrder, RejectionCode, Review, ReviewDecision, Table, Timestamp};

/// The limits, in minor units of whatever currency a payment has. Deposits are exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most that one payment may move.
    pub single_minor: i64,
    /// The most that may be ordered from an account in a day (UTC), of what passes.
    pub daily_minor: i64,
    /// From here on a payment waits for an operator.
    pub hold_from_minor: i64,
}

impl Default for Limits {
    /// 250,000.00 a payment, 1,000,000.00 a day, held from 50,000.00 on.
    fn default() -> Self {
        Self { single_minor: 25_000_000, daily_minor: 100_000_000, hold_from_minor: 5_000_000 }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It goes on to the ledger.
    Passed,
    /// It waits for an operator.
    Held,
    /// It ends here.
    Declined(RejectionCode),
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The order.
    pub order: PaymentOrder,
    /// The account to credit.
    pub creditor: AccountId,
    /// The verdict.
    pub verdict: Verdict,
    /// The operator's review that led to it, where one did.
    pub review: Option<CommandId>,
    /// When.
    pub at: Timestamp,
}

/// What passed of an account's orders on a day, whatever the ledger made of them later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The day, in days since 1970 (UTC).
    pub day: i64,
    /// How much, in minor units.
    pub minor: i64,
}

impl Spent {
    /// Whether what leaves on `day` counts to this sum: that of the day, or of the next, which another process may have begun already
    /// around midnight, before this one took its shard over. A day further ahead comes of a clock that was wrong, and binds
    /// nobody once that is right.
    const fn counts_for(&self, day: i64) -> bool {
        self.day == day || self.day == day + 1
    }
}

/// A payment that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The order.
    pub order: PaymentOrder,
    /// The account to credit.
    pub creditor: AccountId,
    /// The day to whose sum it counts, in days since 1970 (UTC), where its debtor has one.
    pub day: Option<i64>,
}

/// What fraud detection remembers.
#[derive(Debug, Clone, Default)]
pub struct Fraud {
    /// Per account.
    pub spent: Table<AccountId, Spent>,
    /// Per payment.
    pub held: Table<PaymentId, Held>,
}

impl Fraud {
    /// The verdict on a validated order.
    #[must_use]
    pub fn check(&self, order: PaymentOrder, creditor: AccountId, limits: &Limits, at: Timestamp) -> Checked {
        let minor = order.amount.minor();
        let verdict = match order.debtor.account() {
            None => Verdict::Passed,
            Some(_) if minor > limits.single_minor => Verdict::Declined(RejectionCode::LimitExceeded),
            Some(account) if self.spent_after(account, minor, at.day()) > limits.daily_minor => {
                Verdict::Declined(RejectionCode::LimitExceeded)
            }
            Some(_) if minor >= limits.hold_from_minor => Verdict::Held,
            Some(_) => Verdict::Passed,
        };
        Checked { order, creditor, verdict, review: None, at }
    }

    /// What follows from an operator's review; nothing where the payment is not held.
    #[must_use]
    pub fn review(&self, review: &Review, at: Timestamp) -> Option<Checked> {
        let Held { order, creditor, .. } = self.held.get(&review.payment)?.clone();
        let verdict = match review.decision {
            ReviewDecision::Release => Verdict::Passed,
            ReviewDecision::Decline => Verdict::Declined(RejectionCode::DeclinedInReview),
        };
        Some(Checked { order, creditor, verdict, review: Some(review.command), at })
    }

    /// Takes over what the log says.
    pub fn evolve(&mut self, event: &Checked) {
        let Checked { order, creditor, verdict, review, at } = event;
        let held = self.held.remove(order.id);
        match verdict {
            Verdict::Held => {
                let day = self.spend(order, at.day());
                self.held.insert(order.id, Held { order: order.clone(), creditor: *creditor, day });
            }
            Verdict::Passed if review.is_none() => {
                self.spend(order, at.day());
            }
            Verdict::Declined(_) => held.into_iter().for_each(|held| self.give_back(&held)),
            Verdict::Passed => {}
        }
    }

    /// What will have left the account on the day.
    fn spent_after(&self, account: AccountId, minor: i64, day: i64) -> i64 {
        let before = self.spent.get(&account).filter(|spent| spent.counts_for(day)).map_or(0, |spent| spent.minor);
        before.saturating_add(minor)
    }

    /// Counts what leaves, and says to which day.
    fn spend(&mut self, order: &PaymentOrder, day: i64) -> Option<i64> {
        let account = order.debtor.account()?;
        let spent = self.spent.get_or_insert_with(account, || Spent { day, minor: 0 });
        if !spent.counts_for(day) {
            *spent = Spent { day, minor: 0 };
        }
        spent.minor = spent.minor.saturating_add(order.amount.minor());
        Some(spent.day)
    }

    /// What was declined did not leave on the day that it counted to; of another day's sum it was no part.
    fn give_back(&mut self, Held { order, day, .. }: &Held) {
        let spent = order.debtor.account().and_then(|account| self.spent.get_mut(account));
        if let Some(spent) = spent.filter(|spent| Some(spent.day) == *day) {
            spent.minor = (spent.minor - order.amount.minor()).max(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Currency, CustomerId, Debtor, Initiator, Money, Shard, account_iban};

    const LIMITS: Limits = Limits { single_minor: 100, daily_minor: 150, hold_from_minor: 90 };
    const DAY_MICROS: i64 = 86_400_000_000;

    fn order(id: u128, minor: i64, day: i64) -> PaymentOrder {
        PaymentOrder {
            id: PaymentId::from_uuid(Uuid::from_u128(id)),
            by: Initiator::Customer(CustomerId::from_uuid(Uuid::nil())),
            debtor: Debtor::Account(AccountId::from_uuid(Uuid::nil())),
            creditor: account_iban(0).expect("a number"),
            amount: Money::from_minor(minor, Currency::parse("EUR").expect("in use")),
            reference: None,
            at: Timestamp::from_micros(day * DAY_MICROS),
        }
    }

    fn pay(state: &mut Fraud, order: PaymentOrder) -> Verdict {
        let at = order.at;
        check(state, order, at)
    }

    fn check(state: &mut Fraud, order: PaymentOrder, at: Timestamp) -> Verdict {
        let event = state.check(order, AccountId::from_uuid(Uuid::from_u128(2)), &LIMITS, at);
        state.evolve(&event);
        event.verdict
    }

    fn review(state: &mut Fraud, id: u128, decision: ReviewDecision) -> Option<Verdict> {
        let command = CommandId::from_uuid(Uuid::nil());
        let review = Review { command, payment: PaymentId::from_uuid(Uuid::from_u128(id)), decision, note: None, at: Timestamp::default() };
        let event = state.review(&review, Timestamp::default())?;
        state.evolve(&event);
        Some(event.verdict)
    }

    const OVER: Verdict = Verdict::Declined(RejectionCode::LimitExceeded);

    #[test]
    fn one_payment_has_a_limit_and_waits_below_it() {
        let mut state = Fraud::default();
        assert_eq!(pay(&mut state, order(1, 101, 0)), OVER);
        assert_eq!(pay(&mut state, order(2, 100, 0)), Verdict::Held);
        assert_eq!(pay(&mut state, order(3, 50, 0)), Verdict::Passed);
    }

    #[test]
    fn a_day_has_a_limit() {
        let mut state = Fraud::default();
        assert_eq!(pay(&mut state, order(1, 80, 5)), Verdict::Passed);
        assert_eq!(pay(&mut state, order(2, 71, 5)), OVER);
        assert_eq!(pay(&mut state, order(3, 70, 5)), Verdict::Passed);
        assert_eq!(pay(&mut state, order(4, 1, 4)), OVER, "a clock that is a little behind begins no day anew");
        assert_eq!(pay(&mut state, order(5, 80, 6)), Verdict::Passed);
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_for_a_moment_leaves_each_day_its_limit() {
        let mut state = Fraud::default();
        assert_eq!(pay(&mut state, order(1, 80, 400)), Verdict::Passed);
        for (day, id) in [(5, 10), (6, 20), (400, 30)] {
            assert_eq!(pay(&mut state, order(id, 80, day)), Verdict::Passed, "day {day}");
            assert_eq!(pay(&mut state, order(id + 1, 71, day)), OVER, "day {day}");
        }
    }

    #[test]
    fn what_is_declined_a_day_later_gives_that_day_nothing() {
        let mut state = Fraud::default();
        assert_eq!(pay(&mut state, order(1, 95, 0)), Verdict::Held);
        assert_eq!(pay(&mut state, order(2, 80, 1)), Verdict::Passed);
        assert!(review(&mut state, 1, ReviewDecision::Decline).is_some());
        assert_eq!(pay(&mut state, order(3, 71, 1)), OVER);
        assert_eq!(pay(&mut state, order(4, 70, 1)), Verdict::Passed);
    }

    #[test]
    fn days_are_those_of_the_check_whatever_an_order_says() {
        for ordered in [-400, 4, 6, 400] {
            let today = Timestamp::from_micros(5 * DAY_MICROS);
            let mut state = Fraud::default();
            assert_eq!(check(&mut state, order(1, 95, ordered), today), Verdict::Held);
            assert_eq!(check(&mut state, order(2, 60, ordered), today), OVER, "ordered on day {ordered}");
            assert!(review(&mut state, 1, ReviewDecision::Decline).is_some());
            assert_eq!(check(&mut state, order(3, 95, ordered), today), Verdict::Held, "given back, ordered on day {ordered}");
            assert_eq!(check(&mut state, order(4, 80, 6), Timestamp::from_micros(6 * DAY_MICROS)), Verdict::Passed);
            assert!(review(&mut state, 3, ReviewDecision::Decline).is_some());
            assert_eq!(check(&mut state, order(5, 71, 6), Timestamp::from_micros(6 * DAY_MICROS)), OVER, "ordered on day {ordered}");
        }
    }

    #[test]
    fn a_held_payment_is_decided_on_once() {
        let mut state = Fraud::default();
        pay(&mut state, order(1, 95, 0));
        assert_eq!(review(&mut state, 1, ReviewDecision::Decline), Some(Verdict::Declined(RejectionCode::DeclinedInReview)));
        assert_eq!(review(&mut state, 1, ReviewDecision::Release), None);
        assert_eq!(pay(&mut state, order(2, 95, 0)), Verdict::Held, "what was declined left nothing spent");
        assert_eq!(review(&mut state, 2, ReviewDecision::Release), Some(Verdict::Passed));
        assert_eq!(pay(&mut state, order(3, 60, 0)), OVER, "what was released stays spent");
    }

    #[test]
    fn deposits_are_exempt() {
        let mut state = Fraud::default();
        let deposit = PaymentOrder { debtor: Debtor::Settlement(Shard(0)), by: Initiator::Bank, ..order(1, 1_000_000, 0) };
        assert_eq!(pay(&mut state, deposit), Verdict::Passed);
    }
}
