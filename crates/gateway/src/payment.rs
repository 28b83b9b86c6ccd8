//! Payments and their history. This module must never change one.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use domain::PaymentId;
use projections::PaymentRow;

use crate::{
    Bank, Caller,
    account::Money,
    customer::Payee,
    errors::Failure,
    scalars::{DateTime, Position},
    schema::bank,
};

/// ACCEPTED: durably stored. VALIDATED: names two accounts that may deal with each other. HELD: waits for an
/// operator's review. CHECKED: passed fraud detection. BOOKED (final): debited; the credit is booked too, or
/// follows without condition. REJECTED (final): no money moved. RETURNED (final): debited, but the creditor's
/// account could no longer take the credit, so the amount was booked back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "projections::PaymentStatus")]
pub(crate) enum PaymentStatus {
    Accepted,
    Validated,
    Held,
    Checked,
    Booked,
    Rejected,
    Returned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::RejectionCode")]
pub(crate) enum RejectionCode {
    UnknownCreditor,
    SameAccount,
    CurrencyMismatch,
    AccountFrozen,
    AccountClosed,
    InsufficientFunds,
    LimitExceeded,
    SuspectedFraud,
    DeclinedInReview,
}

#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct Rejection {
    code: RejectionCode,
    message: String,
}

#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PaymentStep {
    status: PaymentStatus,
    at: DateTime,
}

/// A payment from one account to another.
pub(crate) struct Payment {
    pub row: PaymentRow,
}

impl Payment {
    /// The payment, if it exists and the caller may see it: the same answer for both.
    pub(crate) async fn find(bank: &Bank, caller: Caller, id: PaymentId) -> Result<Option<Self>, Failure> {
        Ok(bank.payment(caller, id).await?.map(|(_, row)| Self { row }))
    }
}

#[Object]
impl Payment {
    pub(crate) async fn id(&self) -> ID {
        self.row.order.id.to_string().into()
    }

    async fn status(&self) -> PaymentStatus {
        self.row.status().into()
    }

    async fn debtor(&self, ctx: &Context<'_>) -> Result<Payee> {
        let order = &self.row.order;
        let payee = Payee::of_debtor(bank(ctx), order.debtor, order.amount.currency()).map_err(Failure::from)?;
        Ok(payee.ok_or(Failure::StaleRead)?)
    }

    async fn creditor(&self, ctx: &Context<'_>) -> Result<Payee> {
        let order = &self.row.order;
        match Payee::find(bank(ctx), order.creditor).map_err(Failure::from)? {
            Some(payee) => Ok(payee),
            // It was found, by a service that knows of it sooner than the directory here.
            None if self.row.creditor.is_some() => Err(Failure::StaleRead.into()),
            None => Ok(Payee::unknown(order.creditor, order.amount.currency())),
        }
    }

    async fn amount(&self) -> Money {
        self.row.order.amount.into()
    }

    async fn reference(&self) -> Option<&str> {
        self.row.order.reference.as_ref().map(domain::Reference::as_str)
    }

    /// Set when status is REJECTED or RETURNED.
    async fn rejection(&self) -> Option<Rejection> {
        self.row.rejection.map(|code| Rejection { code: code.into(), message: code.message().to_owned() })
    }

    /// Every status reached, oldest first.
    async fn history(&self) -> Vec<PaymentStep> {
        self.row.history.iter().map(|(status, at)| PaymentStep { status: (*status).into(), at: DateTime(*at) }).collect()
    }

    async fn initiated_at(&self) -> DateTime {
        DateTime(self.row.order.at)
    }

    async fn position(&self) -> Position {
        Position(self.row.position())
    }
}
