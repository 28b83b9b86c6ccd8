//! Money: integer minor units of one ISO 4217 currency, checked arithmetic, no floats.
//! This module must never know where money is kept or how it is shown beyond plain decimals.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest amount of one payment, in minor units: ten trillion of a two-decimal currency.
/// Far above any real payment and 9,000 times below `i64::MAX`, so sums overflow only by design.
pub const MAX_AMOUNT_MINOR: i64 = 1_000_000_000_000_000;

/// Longest decimal text that is looked at; an amount in range has at most 17 characters.
const MAX_DECIMAL_LEN: usize = 32;

/// An ISO 4217 currency in use, with a defined number of minor-unit places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency(iso_currency::Currency);

/// Why a text is not a currency of this bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CurrencyError {
    /// Not an alphabetic code of ISO 4217 in use.
    #[error("not the ISO 4217 code of a currency in use")]
    Unknown,
}

impl Currency {
    /// Parses an alphabetic ISO 4217 code, upper case.
    ///
    /// # Errors
    /// [`CurrencyError::Unknown`] for anything that is not the code of a currency in use.
    pub fn parse(code: &str) -> Result<Self, CurrencyError> {
        iso_currency::Currency::from_code(code)
            .filter(|currency| currency.is_superseded().is_none())
            .map(Self)
            .ok_or(CurrencyError::Unknown)
    }

    /// The alphabetic code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Whether accounts can be held in it: not a fund, a metal or a test code, and with minor units.
    #[must_use]
    pub fn is_supported(self) -> bool {
        !self.0.is_fund() && !self.0.is_special() && self.0.exponent().is_some()
    }

    /// Decimal places of the minor unit (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn places(self) -> usize {
        usize::from(self.0.exponent().unwrap_or(0))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        // A currency that left ISO 4217 after it was written must stay readable.
        iso_currency::Currency::from_code(&code).map(Self).ok_or_else(|| serde::de::Error::custom(CurrencyError::Unknown))
    }
}

/// Why a text is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits with at most one decimal point between them.
    #[error("is not a decimal number like \"20.00\"")]
    NotADecimal,
    /// More places than the currency has.
    #[error("has more decimal places than {currency} has ({places})")]
    TooManyPlaces {
        /// The currency.
        currency: Currency,
        /// Its places.
        places: usize,
    },
    /// Zero or less where something must move.
    #[error("must be greater than zero")]
    NotPositive,
    /// Below zero where zero is allowed.
    #[error("must not be below zero")]
    Negative,
    /// Above [`MAX_AMOUNT_MINOR`].
    #[error("is larger than this bank moves at once")]
    TooLarge,
}

/// An amount in minor units of a currency; may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount of `minor` units.
    #[must_use]
    pub const fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Parses the decimal of a payment's amount.
    ///
    /// # Errors
    /// [`MoneyError`], where the text is no decimal, has too many places, or is out of range
    /// (more than zero, at most [`MAX_AMOUNT_MINOR`]).
    pub fn parse_positive(decimal: &str, currency: Currency) -> Result<Self, MoneyError> {
        match parse_minor(decimal, currency)? {
            minor if minor > 0 => Ok(Self { minor, currency }),
            _ => Err(MoneyError::NotPositive),
        }
    }

    /// The amount in minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The amount as a decimal with exactly the currency's places.
    #[must_use]
    pub const fn decimal(self) -> Decimal {
        Decimal(self)
    }
}

/// An amount as it is shown, without its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal(Money);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Money { minor, currency } = self.0;
        let (places, mut buffer) = (currency.places(), itoa::Buffer::new());
        let digits = buffer.format(minor.unsigned_abs());
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
        f.write_str(if minor < 0 { "-" } else { "" })?;
        f.write_str(if whole.is_empty() { "0" } else { whole })?;
        if places > 0 {
            f.write_str(".")?;
            (fraction.len()..places).try_for_each(|_| f.write_str("0"))?;
            f.write_str(fraction)?;
        }
        Ok(())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

/// Parses a decimal (`-?digits[.digits]`) into minor units.
///
/// # Errors
/// [`MoneyError`], where the text is no decimal, has too many places for the currency, or its
/// magnitude is above [`MAX_AMOUNT_MINOR`].
pub fn parse_minor(decimal: &str, currency: Currency) -> Result<i64, MoneyError> {
    let (negative, digits) = match decimal.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, decimal),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(MoneyError::NotADecimal),
        None => (digits, ""),
    };
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits {
        return Err(MoneyError::NotADecimal);
    }
    let places = currency.places();
    if fraction.len() > places {
        return Err(MoneyError::TooManyPlaces { currency, places });
    }
    if digits.len() > MAX_DECIMAL_LEN {
        return Err(MoneyError::TooLarge);
    }
    let minor = format!("{whole}{fraction:0<places$}")
        .parse::<i64>()
        .ok()
        .filter(|minor| *minor <= MAX_AMOUNT_MINOR)
        .ok_or(MoneyError::TooLarge)?;
    Ok(if negative { -minor } else { minor })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).expect("a currency in use")
    }

    #[test]
    fn amounts_have_at_most_the_places_of_their_currency() {
        let (eur, jpy, kwd) = (currency("EUR"), currency("JPY"), currency("KWD"));
        assert_eq!(parse_minor("20", eur), Ok(2_000));
        assert_eq!(parse_minor("20.5", eur), Ok(2_050));
        assert_eq!(parse_minor("0.001", kwd), Ok(1));
        assert_eq!(parse_minor("500", jpy), Ok(500));
        assert_eq!(parse_minor("20.001", eur), Err(MoneyError::TooManyPlaces { currency: eur, places: 2 }));
        assert_eq!(parse_minor("1.0", jpy), Err(MoneyError::TooManyPlaces { currency: jpy, places: 0 }));
    }

    #[test]
    fn what_is_not_a_decimal_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "1e3", "NaN", "inf", "+1", " 1", "1 ", "1,00", "١", "0x1", "--1", "1.2.3"] {
            assert_eq!(parse_minor(text, currency("EUR")), Err(MoneyError::NotADecimal), "{text:?}");
        }
        assert_eq!(parse_minor(&"9".repeat(31), currency("EUR")), Err(MoneyError::TooLarge));
        assert_eq!(parse_minor(&"0".repeat(10_000), currency("EUR")), Err(MoneyError::TooLarge));
    }

    #[test]
    fn a_payment_moves_something() {
        for text in ["0", "0.00", "-1", "-0"] {
            assert_eq!(Money::parse_positive(text, currency("EUR")), Err(MoneyError::NotPositive), "{text:?}");
        }
    }

    #[test]
    fn only_money_in_use_can_be_held() {
        assert!(currency("EUR").is_supported());
        assert!(!currency("XAU").is_supported());
        assert!(!currency("XXX").is_supported());
        for code in ["eur", "EURO", "", "ZZZ"] {
            assert_eq!(Currency::parse(code), Err(CurrencyError::Unknown), "{code:?}");
        }
    }

    #[test]
    fn an_amount_is_shown_with_all_its_places() {
        for (minor, code, shown) in [
            (123_456, "EUR", "1234.56"),
            (5, "EUR", "0.05"),
            (0, "EUR", "0.00"),
            (-1, "KWD", "-0.001"),
            (1_000, "KWD", "1.000"),
            (100, "JPY", "100"),
            (0, "JPY", "0"),
            (i64::MIN, "EUR", "-92233720368547758.08"),
        ] {
            assert_eq!(Money::from_minor(minor, currency(code)).decimal().to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn a_shown_amount_reads_back_as_itself(minor in -MAX_AMOUNT_MINOR..=MAX_AMOUNT_MINOR, code in prop::sample::select(vec!["EUR", "JPY", "KWD"])) {
            let currency = currency(code);
            prop_assert_eq!(parse_minor(&Money::from_minor(minor, currency).decimal().to_string(), currency), Ok(minor));
        }
    }
}
