//! What a payment is while it travels: the order, who asked for it, and how it can be refused.
//! This module must never know how far a payment has come; each service says that in its own log.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AccountId, CommandId, CustomerId, Iban, Money, PaymentId, Reference, Shard, Timestamp};

/// Who asked for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Initiator {
    /// A customer, from an own account.
    Customer(CustomerId),
    /// An operator of the bank, who deposits.
    Bank,
}

impl Initiator {
    /// The namespace of the initiator's idempotency keys: keys are unique per customer, and the
    /// bank's operators share one.
    #[must_use]
    pub fn key_namespace(self) -> Uuid {
        match self {
            Self::Customer(id) => id.uuid(),
            Self::Bank => Uuid::NAMESPACE_OID,
        }
    }
}

/// The account that a payment debits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Debtor {
    /// A customer's account.
    Account(AccountId),
    /// The bank's settlement account on this shard, in the payment's currency.
    Settlement(Shard),
}

impl Debtor {
    /// The shard on which a payment of this debtor lives, among `count`.
    #[must_use]
    pub fn shard(self, count: u16) -> Shard {
        match self {
            Self::Account(account) => Shard::of(account, count),
            Self::Settlement(shard) => shard,
        }
    }

    /// The customer's account, where it is one.
    #[must_use]
    pub const fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) => Some(account),
            Self::Settlement(_) => None,
        }
    }
}

/// An order to pay, as accepted by a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOrder {
    /// The payment's id, permanent: a second order with it is a repeat.
    pub id: PaymentId,
    /// Who asked for it.
    pub by: Initiator,
    /// The account to debit.
    pub debtor: Debtor,
    /// The account to credit.
    pub creditor: Iban,
    /// How much, more than zero.
    pub amount: Money,
    /// What for.
    pub reference: Option<Reference>,
    /// When the gateway accepted it.
    pub at: Timestamp,
}

impl PaymentOrder {
    /// Whether `other` asks for the same as this: all that the client chose is equal.
    #[must_use]
    pub fn same_input(&self, other: &Self) -> bool {
        (self.debtor, self.creditor, self.amount, &self.reference) == (other.debtor, other.creditor, other.amount, &other.reference)
    }
}

/// Why a payment was refused or booked back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RejectionCode {
    /// No account of this bank has the IBAN.
    UnknownCreditor,
    /// Debtor and creditor are one account.
    SameAccount,
    /// The accounts and the amount are not all in one currency.
    CurrencyMismatch,
    /// One of the accounts is frozen: it takes part in no payment.
    AccountFrozen,
    /// One of the accounts is closed.
    AccountClosed,
    /// The debit would pass the overdraft limit.
    InsufficientFunds,
    /// Over the limit of one payment or of one day.
    LimitExceeded,
    /// Fraud detection says no. Kept for a rule to come: nothing says it now.
    SuspectedFraud,
    /// An operator said no.
    DeclinedInReview,
}

impl RejectionCode {
    /// Its name, as customers and operators see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCreditor => "UNKNOWN_CREDITOR",
            Self::SameAccount => "SAME_ACCOUNT",
            Self::CurrencyMismatch => "CURRENCY_MISMATCH",
            Self::AccountFrozen => "ACCOUNT_FROZEN",
            Self::AccountClosed => "ACCOUNT_CLOSED",
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::SuspectedFraud => "SUSPECTED_FRAUD",
            Self::DeclinedInReview => "DECLINED_IN_REVIEW",
        }
    }

    /// The sentence for people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownCreditor => "No account of this bank has the creditor's IBAN.",
            Self::SameAccount => "The payment would debit and credit the same account.",
            Self::CurrencyMismatch => "The amount and both accounts must be in one currency.",
            Self::AccountFrozen => "One of the accounts is frozen.",
            Self::AccountClosed => "One of the accounts is closed.",
            Self::InsufficientFunds => "The account does not have enough money.",
            Self::LimitExceeded => "The payment exceeds a limit of the account.",
            Self::SuspectedFraud => "The payment looks like fraud.",
            Self::DeclinedInReview => "The payment was declined in review.",
        }
    }
}

/// What an operator decided on a held payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReviewDecision {
    /// Let it go on.
    Release,
    /// Refuse it.
    Decline,
}

/// An operator's review of a held payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// This review, so that its effect can be told from another's.
    pub command: CommandId,
    /// The payment.
    pub payment: PaymentId,
    /// The decision.
    pub decision: ReviewDecision,
    /// The operator's words.
    pub note: Option<Reference>,
    /// When.
    pub at: Timestamp,
}
