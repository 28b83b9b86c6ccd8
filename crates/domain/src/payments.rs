//! The payments service: whether an order names two accounts that may deal with each other.
//! This module must never know balances or limits.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Currency, CustomerId, Debtor, Initiator, MAX_AMOUNT_MINOR, PaymentId, PaymentOrder, RejectionCode, Review, Timestamp,
    accounts::AccountStatus,
};

/// What gateways ask of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentCommand {
    /// A payment was accepted.
    Initiated(PaymentOrder),
    /// A held payment was reviewed.
    Reviewed(Review),
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentEvent {
    /// The order names two accounts that may deal with each other.
    Validated {
        /// The order.
        order: PaymentOrder,
        /// The account behind the creditor's IBAN.
        creditor: AccountId,
        /// When.
        at: Timestamp,
    },
    /// It does not; the payment ends here.
    Rejected {
        /// Which.
        payment: PaymentId,
        /// Why.
        code: RejectionCode,
        /// When.
        at: Timestamp,
    },
    /// An operator's review of a held payment, for fraud detection to act on.
    Reviewed(Review),
}

/// What the service's own read model of the accounts log says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFacts {
    /// Which.
    pub account: AccountId,
    /// Whose.
    pub holder: CustomerId,
    /// In which currency.
    pub currency: Currency,
    /// Its status.
    pub status: AccountStatus,
}

/// What is known when an order is decided on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// An order with this id was decided on before.
    pub known: bool,
    /// The account to debit, where it is a customer's.
    pub debtor: Option<AccountFacts>,
    /// The account behind the creditor's IBAN.
    pub creditor: Option<AccountFacts>,
}

/// What follows from an order; nothing where it is a repeat.
#[must_use]
pub fn decide(order: PaymentOrder, facts: &Facts, at: Timestamp) -> Option<PaymentEvent> {
    if facts.known {
        return None;
    }
    let payment = order.id;
    Some(match validate(&order, facts) {
        Ok(creditor) => PaymentEvent::Validated { order, creditor, at },
        Err(code) => PaymentEvent::Rejected { payment, code, at },
    })
}

fn validate(order: &PaymentOrder, facts: &Facts) -> Result<AccountId, RejectionCode> {
    // A gateway sends no other: a negative one would take from who is to be paid.
    if !(1..=MAX_AMOUNT_MINOR).contains(&order.amount.minor()) {
        return Err(RejectionCode::LimitExceeded);
    }
    let creditor = facts.creditor.ok_or(RejectionCode::UnknownCreditor)?;
    if order.debtor == Debtor::Account(creditor.account) {
        return Err(RejectionCode::SameAccount);
    }
    let debtor = match (order.debtor, order.by) {
        (Debtor::Account(_), Initiator::Customer(customer)) => {
            // A gateway sends orders of the debtor's holder only; anything else finds nothing to debit.
            Some(facts.debtor.filter(|debtor| debtor.holder == customer).ok_or(RejectionCode::AccountClosed)?)
        }
        (Debtor::Settlement(_), Initiator::Bank) => None,
        (Debtor::Account(_), Initiator::Bank) | (Debtor::Settlement(_), Initiator::Customer(_)) => {
            return Err(RejectionCode::AccountClosed);
        }
    };
    let parties = debtor.into_iter().chain([creditor]);
    if parties.clone().any(|party| party.currency != order.amount.currency()) {
        return Err(RejectionCode::CurrencyMismatch);
    }
    parties.clone().try_for_each(|party| may_deal(party.status))?;
    Ok(creditor.account)
}

/// Whether an account of this status may be debited or credited.
///
/// # Errors
/// The code with which a payment ends that meets it.
pub const fn may_deal(status: AccountStatus) -> Result<(), RejectionCode> {
    match status {
        AccountStatus::Open => Ok(()),
        AccountStatus::Frozen => Err(RejectionCode::AccountFrozen),
        AccountStatus::Closed => Err(RejectionCode::AccountClosed),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Money, Shard, account_iban};

    fn facts(n: u128, currency: &str, status: AccountStatus) -> AccountFacts {
        AccountFacts {
            account: AccountId::from_uuid(Uuid::from_u128(n)),
            holder: CustomerId::from_uuid(Uuid::from_u128(n)),
            currency: Currency::parse(currency).expect("in use"),
            status,
        }
    }

    fn order() -> PaymentOrder {
        PaymentOrder {
            id: PaymentId::from_uuid(Uuid::from_u128(9)),
            by: Initiator::Customer(CustomerId::from_uuid(Uuid::from_u128(1))),
            debtor: Debtor::Account(AccountId::from_uuid(Uuid::from_u128(1))),
            creditor: account_iban(0).expect("a number"),
            amount: Money::from_minor(2_000, Currency::parse("EUR").expect("in use")),
            reference: None,
            at: Timestamp::default(),
        }
    }

    fn code(order: PaymentOrder, facts: Facts) -> Option<RejectionCode> {
        match decide(order, &facts, Timestamp::default()) {
            Some(PaymentEvent::Rejected { code, .. }) => Some(code),
            Some(PaymentEvent::Validated { .. } | PaymentEvent::Reviewed(_)) | None => None,
        }
    }

    fn pair() -> Facts {
        Facts { known: false, debtor: Some(facts(1, "EUR", AccountStatus::Open)), creditor: Some(facts(2, "EUR", AccountStatus::Open)) }
    }

    #[test]
    fn two_open_accounts_of_one_currency_may_deal() {
        assert!(matches!(decide(order(), &pair(), Timestamp::default()), Some(PaymentEvent::Validated { .. })));
    }

    #[test]
    fn a_repeated_order_says_nothing() {
        assert_eq!(decide(order(), &Facts { known: true, ..pair() }, Timestamp::default()), None);
    }

    #[test]
    fn what_may_not_be_is_refused_with_its_reason() {
        let creditor = |facts| Facts { creditor: facts, ..pair() };
        let debtor = |facts| Facts { debtor: facts, ..pair() };
        let cases = [
            (creditor(None), RejectionCode::UnknownCreditor),
            (creditor(Some(facts(1, "EUR", AccountStatus::Open))), RejectionCode::SameAccount),
            (creditor(Some(facts(2, "USD", AccountStatus::Open))), RejectionCode::CurrencyMismatch),
            (debtor(Some(facts(1, "USD", AccountStatus::Open))), RejectionCode::CurrencyMismatch),
            (creditor(Some(facts(2, "EUR", AccountStatus::Frozen))), RejectionCode::AccountFrozen),
            (debtor(Some(facts(1, "EUR", AccountStatus::Closed))), RejectionCode::AccountClosed),
            (debtor(Some(facts(3, "EUR", AccountStatus::Open))), RejectionCode::AccountClosed),
            (debtor(None), RejectionCode::AccountClosed),
        ];
        for (facts, expected) in cases {
            assert_eq!(code(order(), facts), Some(expected), "{facts:?}");
        }
    }

    #[test]
    fn what_is_no_amount_of_a_payment_is_refused() {
        let of = |minor| code(PaymentOrder { amount: Money::from_minor(minor, order().amount.currency()), ..order() }, pair());
        for minor in [i64::MIN, -2_000, 0, MAX_AMOUNT_MINOR + 1, i64::MAX] {
            assert_eq!(of(minor), Some(RejectionCode::LimitExceeded), "{minor}");
        }
        assert_eq!((of(1), of(MAX_AMOUNT_MINOR)), (None, None));
    }

    #[test]
    fn only_the_bank_pays_from_settlement() {
        let deposit = PaymentOrder { debtor: Debtor::Settlement(Shard(0)), by: Initiator::Bank, ..order() };
        assert_eq!(code(deposit.clone(), Facts { debtor: None, ..pair() }), None);
        assert_eq!(code(PaymentOrder { by: order().by, ..deposit }, pair()), Some(RejectionCode::AccountClosed));
    }
}
