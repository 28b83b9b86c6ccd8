//! Scalars and money, as the contract has them. This module must never know fields.

use async_graphql::{InputObject, InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value};

/// An instant in UTC, RFC 3339 with microseconds.
pub(super) struct DateTime(pub(super) jiff::Timestamp);

/// An IBAN, check digits verified.
pub(super) struct Iban(pub(super) domain::Iban);

/// An ISO 4217 code.
#[derive(Clone, Copy)]
pub(super) struct Currency(pub(super) domain::Currency);

/// A decimal number as a string.
pub(super) struct Decimal(pub(super) String);

fn text<T: ScalarType + async_graphql::InputType>(value: Value) -> Result<String, InputValueError<T>> {
    if let Value::String(text) = value { Ok(text) } else { Err(InputValueError::expected_type(value)) }
}

#[Scalar]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        Ok(Self(text(value)?.parse().map_err(InputValueError::custom)?))
    }

    fn to_value(&self) -> Value {
        Value::String(format!("{:.6}", self.0))
    }
}

#[Scalar]
impl ScalarType for Iban {
    fn parse(value: Value) -> InputValueResult<Self> {
        domain::Iban::parse(&text(value)?).map(Self).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[Scalar]
impl ScalarType for Currency {
    fn parse(value: Value) -> InputValueResult<Self> {
        domain::Currency::parse(&text(value)?).map(Self).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.code().to_owned())
    }
}

#[Scalar]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        text(value).map(Self)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

#[derive(SimpleObject)]
pub(super) struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    pub(super) fn of(minor: i64, currency: domain::Currency) -> Self {
        Self { amount: Decimal(domain::Money::from_minor(minor, currency).decimal().to_string()), currency: Currency(currency) }
    }
}

#[derive(InputObject)]
pub(super) struct MoneyInput {
    pub(super) amount: Decimal,
    pub(super) currency: Currency,
}
