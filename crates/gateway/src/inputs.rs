//! The contract's inputs, and what is wrong with one. This module must never know what an input does.

use std::{borrow::Cow, marker::PhantomData};

use async_graphql::{
    Context, Enum, ID, InputObject, InputType, InputValueError, InputValueResult, SimpleObject, Value, parser::types::Field,
    registry::Registry,
};
use domain::{IdempotencyKey, Money, MoneyError, Reference, TextError};
use projections::{RejectedBy, count_rejects};

use crate::{
    plain::{Json, Plain},
    scalars::{Currency, Decimal, Iban},
    set_aside::SetAside,
};

/// What was wrong with an input: `path` names the field, `code` is stable, `message` is for people.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
pub(crate) struct UserError {
    pub code: UserErrorCode,
    pub path: Vec<String>,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum UserErrorCode {
    InvalidName,
    InvalidEmail,
    EmailTaken,
    InvalidAmount,
    InvalidReference,
    UnknownAccount,
    UnknownPayment,
    NotHeld,
    CurrencyNotSupported,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    TooManyInputs,
}

impl UserError {
    pub(crate) fn new(code: UserErrorCode, path: &[&str], message: impl Into<String>) -> Self {
        count_rejects(RejectedBy::Input, name(code), 1);
        Self { code, path: path.iter().map(|part| (*part).to_owned()).collect(), message: message.into() }
    }

    pub(crate) fn unknown_account(path: &[&str]) -> Self {
        Self::new(UserErrorCode::UnknownAccount, path, "There is no such account.")
    }

    pub(crate) fn key_reused() -> Self {
        let message = "This key was used before, with another input.";
        Self::new(UserErrorCode::IdempotencyKeyReused, &["input", "idempotencyKey"], message)
    }
}

impl Plain for UserError {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "code" => json.choice(self.code)?,
            "path" => json.list(&self.path, |part, json| {
                json.text(Some(part));
                Some(())
            })?,
            "message" => json.text(Some(&self.message)),
            _ => return None,
        }
        Some(())
    }
}

/// A code's name in the schema.
fn name(code: UserErrorCode) -> String {
    code.to_value().to_string()
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct MoneyInput {
    amount: Decimal,
    currency: Currency,
}

impl MoneyInput {
    pub(crate) fn money(&self, errors: &mut Vec<UserError>) -> Option<Money> {
        if !self.currency.0.is_supported() {
            let message = format!("This bank does not move {}.", self.currency.0);
            errors.push(UserError::new(UserErrorCode::CurrencyNotSupported, &["input", "amount", "currency"], message));
            return None;
        }
        let path = ["input", "amount", "amount"];
        let parsed = Money::parse_positive(&self.amount.0, self.currency.0);
        parsed.map_err(|error| errors.push(invalid_amount(&path, error))).ok()
    }
}

pub(crate) fn invalid_amount(path: &[&str], error: MoneyError) -> UserError {
    UserError::new(UserErrorCode::InvalidAmount, path, format!("The amount {error}."))
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct RegisterCustomerInput {
    pub name: String,
    pub email: String,
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct ChangeCustomerInput {
    pub name: Option<String>,
    pub email: Option<String>,
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct OpenAccountInput {
    pub currency: Currency,
    /// Operators only: open it for this customer, with this overdraft.
    pub customer_id: Option<ID>,
    pub overdraft_limit: Option<Decimal>,
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct InitiatePaymentInput {
    pub debtor_account_id: ID,
    pub creditor_iban: Iban,
    pub amount: MoneyInput,
    /// At most 140 characters.
    pub reference: Option<String>,
    /// Chosen by the client, at most 64 printable ASCII characters, unique per customer, for ever. The same key with the same input is the same payment, and answers as it did; with another input it is refused.
    pub idempotency_key: Option<String>,
}

/// A list of inputs that is not read yet. Its length is all that an operation's complexity needs, which is
/// computed before it runs, from arguments that the library reads for that alone. The items may lie elsewhere, see `set_aside.rs`.
#[derive(Debug, Clone)]
pub(crate) struct Unread<T> {
    items: Vec<Value>,
    of: PhantomData<T>,
}

impl<T: InputType> Unread<T> {
    pub(crate) const fn len(&self) -> usize {
        self.items.len()
    }

    /// The inputs, which stand in this argument of the field that is resolved.
    pub(crate) fn read(self, ctx: &Context<'_>, argument: &str) -> InputValueResult<Vec<T>> {
        let aside = ctx.data_opt::<SetAside>().and_then(|aside| aside.take(&ctx.item.node, argument));
        aside.unwrap_or(self.items).into_iter().map(|item| T::parse(Some(item)).map_err(InputValueError::propagate)).collect()
    }
}

impl<T: InputType> InputType for Unread<T> {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn qualified_type_name() -> String {
        Vec::<T>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let items = match value {
            None | Some(Value::Null) => return Err(InputValueError::expected_type(Value::Null)),
            Some(Value::List(items)) => items,
            // One stands for a list of one (GraphQL §3.12).
            Some(one) => vec![one],
        };
        Ok(Self { items, of: PhantomData })
    }

    fn to_value(&self) -> Value {
        Value::List(self.items.clone())
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct DepositInput {
    pub account_id: ID,
    pub amount: MoneyInput,
    pub reference: Option<String>,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum ReviewDecision {
    Release,
    Decline,
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct ReviewPaymentInput {
    pub payment_id: ID,
    pub decision: ReviewDecision,
    pub note: Option<String>,
}

#[derive(Debug, Clone, InputObject)]
pub(crate) struct SetAccountStatusInput {
    pub account_id: ID,
    pub status: crate::account::AccountStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum PaymentWait {
    Accepted,
    Final,
}

/// A reference, where one is given and good.
pub(crate) fn reference(field: &str, text: Option<&str>, errors: &mut Vec<UserError>) -> Option<Reference> {
    let invalid = |error: TextError| UserError::new(UserErrorCode::InvalidReference, &["input", field], format!("The {field} {error}."));
    text.and_then(|text| Reference::parse(text).map_err(|error| errors.push(invalid(error))).ok())
}

/// An idempotency key, where one is given and good.
pub(crate) fn idempotency_key(text: Option<&str>, errors: &mut Vec<UserError>) -> Option<IdempotencyKey> {
    let invalid = |error: TextError| {
        UserError::new(UserErrorCode::InvalidIdempotencyKey, &["input", "idempotencyKey"], format!("The idempotency key {error}."))
    };
    text.and_then(|text| IdempotencyKey::parse(text).map_err(|error| errors.push(invalid(error))).ok())
}
