//! Payments. They are booked, or rejected, when the answer is there: this bank has one database and needs no other status.
//! This module must never decide about money; the database does, where the rows are locked.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::{IdempotencyKey, Reference};

use super::{
    auth::caller,
    ids::{account_number, payment_id},
    query::internal,
    scalars::{DateTime, Iban, Money, MoneyInput},
    store::{Order, Outcome, Shared},
};

/// Most payments of one call; the contract's number.
const MOST_PAYMENTS: usize = 1_000;

#[derive(InputObject)]
struct InitiatePaymentInput {
    debtor_account_id: ID,
    creditor_iban: Iban,
    amount: MoneyInput,
    reference: Option<String>,
    idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum PaymentWait {
    Accepted,
    Final,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum PaymentStatus {
    Booked,
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum UserErrorCode {
    InvalidAmount,
    InvalidReference,
    InvalidIdempotencyKey,
    UnknownAccount,
    CurrencyNotSupported,
    IdempotencyKeyReused,
    TooManyInputs,
}

#[derive(SimpleObject)]
struct UserError {
    code: UserErrorCode,
    path: Vec<String>,
    message: String,
}

impl UserError {
    fn new(code: UserErrorCode, path: &[&str], message: impl Into<String>) -> Self {
        Self { code, path: path.iter().map(|part| (*part).to_owned()).collect(), message: message.into() }
    }

    fn unknown_account() -> Self {
        Self::new(UserErrorCode::UnknownAccount, &["input", "debtorAccountId"], "There is no such account.")
    }

    fn key_reused() -> Self {
        let message = "This key was used before, with another input.";
        Self::new(UserErrorCode::IdempotencyKeyReused, &["input", "idempotencyKey"], message)
    }
}

#[derive(SimpleObject)]
struct Payment {
    id: ID,
    status: PaymentStatus,
    amount: Money,
    reference: Option<String>,
    initiated_at: DateTime,
}

#[derive(SimpleObject)]
struct InitiatePaymentPayload {
    payment: Option<Payment>,
    errors: Vec<UserError>,
}

impl InitiatePaymentPayload {
    fn refused(errors: Vec<UserError>) -> Self {
        Self { payment: None, errors }
    }

    fn of(order: &Order, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::UnknownAccount => Self::refused(vec![UserError::unknown_account()]),
            Outcome::KeyReused => Self::refused(vec![UserError::key_reused()]),
            Outcome::Stored { payment, is_booked, initiated_at } => {
                let payment = Payment {
                    id: payment_id(*payment).into(),
                    status: if *is_booked { PaymentStatus::Booked } else { PaymentStatus::Rejected },
                    amount: Money::of(order.amount.minor(), order.amount.currency()),
                    reference: order.reference.clone(),
                    initiated_at: DateTime(*initiated_at),
                };
                Self { payment: Some(payment), errors: Vec::new() }
            }
        }
    }
}

pub(super) struct Mutation;

#[Object]
impl Mutation {
    async fn initiate_payment(
        &self,
        ctx: &Context<'_>,
        input: InitiatePaymentInput,
        // It is final whichever is asked for.
        #[graphql(name = "waitFor", default_with = "Some(PaymentWait::Accepted)")] _wait_for: Option<PaymentWait>,
    ) -> Result<InitiatePaymentPayload> {
        let customer = caller(ctx)?;
        let order = match order(input) {
            Ok(order) => order,
            Err(errors) => return Ok(InitiatePaymentPayload::refused(errors)),
        };
        let outcome = ctx.data_unchecked::<Shared>().transfer(customer.0, &order).await.map_err(internal)?;
        Ok(InitiatePaymentPayload::of(&order, &outcome))
    }

    /// Up to 1,000 payments in one call, each accepted or refused on its own; results in the order of the input.
    async fn initiate_payments(&self, ctx: &Context<'_>, inputs: Vec<InitiatePaymentInput>) -> Result<Vec<InitiatePaymentPayload>> {
        let customer = caller(ctx)?;
        if inputs.len() > MOST_PAYMENTS {
            let message = format!("One call takes at most {MOST_PAYMENTS} payments.");
            return Ok(vec![InitiatePaymentPayload::refused(vec![UserError::new(UserErrorCode::TooManyInputs, &["inputs"], message)])]);
        }
        let (mut orders, mut payloads) = (Vec::new(), Vec::new());
        for input in inputs {
            match order(input) {
                Ok(order) => {
                    orders.push(order);
                    payloads.push(None);
                }
                Err(errors) => payloads.push(Some(InitiatePaymentPayload::refused(errors))),
            }
        }
        let outcomes = ctx.data_unchecked::<Shared>().transfers(customer.0, &orders).await.map_err(internal)?;
        let mut stored = orders.iter().zip(&outcomes).map(|(order, outcome)| InitiatePaymentPayload::of(order, outcome));
        Ok(payloads.into_iter().filter_map(|refused| refused.or_else(|| stored.next())).collect())
    }
}

/// What is asked for, or what is wrong with it.
fn order(input: InitiatePaymentInput) -> Result<Order, Vec<UserError>> {
    let mut errors = Vec::new();
    let debtor = account_number(&input.debtor_account_id);
    if debtor.is_none() {
        errors.push(UserError::unknown_account());
    }
    let currency = input.amount.currency.0;
    if !currency.is_supported() {
        let path = ["input", "amount", "currency"];
        errors.push(UserError::new(UserErrorCode::CurrencyNotSupported, &path, format!("This bank does not move {currency}.")));
    }
    let amount = domain::Money::parse_positive(&input.amount.amount.0, currency);
    if let Err(error) = &amount {
        errors.push(UserError::new(UserErrorCode::InvalidAmount, &["input", "amount", "amount"], format!("The amount {error}.")));
    }
    if let Some(Err(error)) = input.reference.as_deref().map(Reference::parse) {
        errors.push(UserError::new(UserErrorCode::InvalidReference, &["input", "reference"], format!("The reference {error}.")));
    }
    if let Some(Err(error)) = input.idempotency_key.as_deref().map(IdempotencyKey::parse) {
        let path = ["input", "idempotencyKey"];
        errors.push(UserError::new(UserErrorCode::InvalidIdempotencyKey, &path, format!("The idempotency key {error}.")));
    }
    match (debtor, amount) {
        (Some(debtor), Ok(amount)) if errors.is_empty() => {
            Ok(Order { debtor, creditor_iban: input.creditor_iban.0, amount, reference: input.reference, key: input.idempotency_key })
        }
        (_, _) => Err(errors),
    }
}
