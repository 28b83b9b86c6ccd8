//! The bank's own account numbers in IBAN form (ISO 13616). This module must never know which
//! accounts exist.

use std::fmt;

use iban::IbanLike as _;
use serde::{Deserialize, Serialize};

use crate::{Currency, Shard};

/// The bank's sort code, from the range that German banks do not use.
const BANK_CODE: &str = "99999999";
/// Customers' account numbers start here; the bank's own stand below.
const FIRST_CUSTOMER_NUMBER: u64 = 1_000_000_000;
/// A German account number has ten digits.
const NUMBERS: u64 = 10_000_000_000;

/// An IBAN in electronic form, check digits verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Iban(iban::Iban);

impl Iban {
    /// Parses the electronic form: no spaces, upper case.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(char::is_whitespace) {
            return Err("an IBAN in electronic form has no spaces".to_owned());
        }
        let parsed: iban::Iban = text.parse().map_err(|error: iban::ParseIbanError| error.to_string())?;
        if parsed.electronic_str() == text {
            Ok(Self(parsed))
        } else {
            Err("an IBAN in electronic form has upper-case letters only".to_owned())
        }
    }

    /// The electronic form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.electronic_str()
    }
}

impl fmt::Display for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The IBAN of the `ordinal`-th account that this bank opened (from 0), or none once all
/// nine thousand million numbers are given away.
#[must_use]
pub fn account_iban(ordinal: u64) -> Option<Iban> {
    let number = FIRST_CUSTOMER_NUMBER.checked_add(ordinal).filter(|number| *number < NUMBERS)?;
    build(number)
}

/// The IBAN under which the bank's settlement account of a currency and shard is shown.
#[must_use]
pub fn settlement_iban(currency: Currency, shard: Shard) -> Option<Iban> {
    let letters = currency.code().bytes().fold(0, |number, byte| number * 26 + u64::from(byte - b'A'));
    build(letters * 10_000 + u64::from(shard.0 % 10_000))
}

/// Check digits by ISO 7064 MOD 97-10, as ISO 13616 prescribes: letters count from A = 10.
fn build(account_number: u64) -> Option<Iban> {
    let bban = format!("{BANK_CODE}{account_number:010}");
    let remainder = format!("{bban}131400").bytes().fold(0, |remainder, digit| (remainder * 10 + u32::from(digit - b'0')) % 97);
    Iban::parse(&format!("DE{:02}{bban}", 98 - remainder)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_made_here_pass_the_check() {
        assert!((0..1_000).all(|ordinal| account_iban(ordinal).is_some()));
        assert_eq!(account_iban(NUMBERS), None);
        let eur = Currency::parse("EUR").expect("in use");
        assert!(settlement_iban(eur, Shard(15)).is_some());
        assert_ne!(settlement_iban(eur, Shard(0)), account_iban(0));
    }

    #[test]
    fn bad_ibans_are_refused() {
        for wrong in
            ["", "DE00", "DE89 3704 0044 0532 0130 00", "de89370400440532013000", "DE88370400440532013000", "XX89370400440532013000"]
        {
            assert!(Iban::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Iban::parse("DE89370400440532013000").is_ok());
    }
}
