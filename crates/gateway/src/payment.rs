//! Payments and their history. This module must never change one.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject, parser::types::Field};
use domain::PaymentId;
use projections::PaymentRow;

use crate::{
    Bank, Caller,
    account::Money,
    customer::Payee,
    errors::Failure,
    plain::{Json, Plain},
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
    message: &'static str,
}

impl Plain for Rejection {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "code" => json.choice(self.code)?,
            "message" => json.text(Some(self.message)),
            _ => return None,
        }
        Some(())
    }
}

#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PaymentStep {
    status: PaymentStatus,
    at: DateTime,
}

impl Plain for PaymentStep {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "status" => json.choice(self.status)?,
            "at" => json.shown(self.at.0),
            _ => return None,
        }
        Some(())
    }
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

    fn rejected(&self) -> Option<Rejection> {
        self.row.rejection.map(|code| Rejection { code: code.into(), message: code.message() })
    }

    fn steps(&self) -> Vec<PaymentStep> {
        self.row.history.iter().map(|(status, at)| PaymentStep { status: (*status).into(), at: DateTime(*at) }).collect()
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
        self.rejected()
    }

    /// Every status reached, oldest first.
    async fn history(&self) -> Vec<PaymentStep> {
        self.steps()
    }

    async fn initiated_at(&self) -> DateTime {
        DateTime(self.row.order.at)
    }

    async fn position(&self) -> Position {
        Position(self.row.position())
    }
}

impl Plain for Payment {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        let (order, selected) = (&self.row.order, &field.selection_set.node);
        match field.name.node.as_str() {
            "id" => json.shown(order.id),
            "status" => json.choice(PaymentStatus::from(self.row.status()))?,
            "amount" => json.object(&Money::from(order.amount), selected)?,
            "reference" => json.text(order.reference.as_ref().map(domain::Reference::as_str)),
            "rejection" => json.optional(self.rejected().as_ref(), selected)?,
            "history" => json.list(&self.steps(), |step, json| json.object(step, selected))?,
            "initiatedAt" => json.shown(order.at),
            "position" => json.shown(self.row.position()),
            _ => return None,
        }
        Some(())
    }
}
