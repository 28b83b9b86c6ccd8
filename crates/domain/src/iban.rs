//! The bank's own account numbers in IBAN form (ISO 13616). This module must never know which
//! accounts exist.

use std::{borrow::Cow, fmt};

use iban::IbanLike as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Currency, Shard};

/// The bank's sort code, from the range that German banks do not use.
const BANK_CODE: &str = "99999999";
/// Customers' account numbers start here; the bank's own stand below.
const FIRST_CUSTOMER_NUMBER: u64 = 1_000_000_000;
/// A German account number has ten digits.
const NUMBERS: u64 = 10_000_000_000;

/// Longest electronic form (ISO 13616).
const MAX_LEN: usize = 34;

/// An IBAN in electronic form, check digits verified. Verifying takes longer than reading all else of an
/// event (209 of 570 ns), so it is done once, by [`Iban::parse`]; what an event or a row holds has passed it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iban {
    len: u8,
    /// Padded with zeros.
    text: [u8; MAX_LEN],
}

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
        let upper_case = || "an IBAN in electronic form has upper-case letters only".to_owned();
        if parsed.electronic_str() == text { Self::from_verified(text).ok_or_else(upper_case) } else { Err(upper_case()) }
    }

    fn from_verified(verified: &str) -> Option<Self> {
        let mut text = [0; MAX_LEN];
        text.get_mut(..verified.len())?.copy_from_slice(verified.as_bytes());
        let is_plain = verified.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_plain.then_some(Self { text, len: u8::try_from(verified.len()).ok()? })
    }

    /// The electronic form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Upper-case letters and digits only, see `from_verified`.
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iban({self})")
    }
}

impl Serialize for Iban {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Iban {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_verified(&text).ok_or_else(|| D::Error::custom("not an IBAN"))
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
