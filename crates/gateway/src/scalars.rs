//! The contract's scalars. This module must never know fields.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use domain::Timestamp;

/// Longest decimal that is taken up; whether it is an amount is said by the field that it came in.
const MAX_DECIMAL_BYTES: usize = 64;

/// An instant in UTC, RFC 3339 with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTime(pub Timestamp);

/// International Bank Account Number, ISO 13616: electronic form, no spaces, check digits verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iban(pub domain::Iban);

/// ISO 4217 alphabetic code of a currency in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Currency(pub domain::Currency);

/// A decimal number as a string, never a float. An amount has at most the currency's minor-unit places on input, exactly those on output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal(pub String);

/// Opaque token of how far the logs had come. Pass it as `atLeast` to read at least as new a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position(pub projections::Position);

fn text<T: ScalarType + async_graphql::InputType>(value: Value) -> Result<String, InputValueError<T>> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Number(_) | Value::Boolean(_) | Value::Binary(_) | Value::Enum(_) | Value::List(_) | Value::Object(_) => {
            Err(InputValueError::expected_type(value))
        }
    }
}

fn refused<T: async_graphql::InputType>(why: impl std::fmt::Display) -> InputValueError<T> {
    InputValueError::custom(why)
}

/// An instant in UTC, RFC 3339 with microseconds.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let instant: jiff::Timestamp = text(value)?.parse().map_err(refused)?;
        Ok(Self(instant.into()))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// International Bank Account Number, ISO 13616: electronic form, no spaces, check digits verified.
#[Scalar(specified_by_url = "https://www.iso.org/standard/81090.html")]
impl ScalarType for Iban {
    fn parse(value: Value) -> InputValueResult<Self> {
        domain::Iban::parse(&text(value)?).map(Self).map_err(refused)
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// ISO 4217 alphabetic code of a currency in use.
#[Scalar(specified_by_url = "https://www.iso.org/iso-4217-currency-codes.html")]
impl ScalarType for Currency {
    fn parse(value: Value) -> InputValueResult<Self> {
        domain::Currency::parse(&text(value)?).map(Self).map_err(refused)
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.code().to_owned())
    }
}

/// A decimal number as a string, never a float. An amount has at most the currency's minor-unit places on input, exactly those on output.
#[Scalar]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        let decimal = text(value)?;
        if decimal.len() > MAX_DECIMAL_BYTES { Err(refused("too long for a decimal number")) } else { Ok(Self(decimal)) }
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Opaque token of how far the logs had come. Pass it as `atLeast` to read at least as new a state.
#[Scalar]
impl ScalarType for Position {
    fn parse(value: Value) -> InputValueResult<Self> {
        text(value)?.parse().map(Self).map_err(refused)
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}
