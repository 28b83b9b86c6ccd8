//! Texts that people and clients choose, each with its bounds. This module must never know which
//! field of which request a text came from.

use serde::{Deserialize, Serialize};

/// Longest name, in characters: what a payment message's name field takes in most schemes.
pub const MAX_NAME_CHARS: usize = 140;
/// Longest e-mail address, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub const MAX_EMAIL_BYTES: usize = 254;
/// Longest payment reference, in characters (ISO 20022 `Max140Text`).
pub const MAX_REFERENCE_CHARS: usize = 140;
/// Longest idempotency key, in bytes: a UUID or a hash in hexadecimal fits.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 64;

/// Why a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// Over its bound.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A control character, where people must be able to read it.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// Something other than printable ASCII.
    #[error("must hold printable ASCII characters only")]
    NotPrintableAscii,
    /// Not `local@domain`.
    #[error("is not an e-mail address")]
    NotAnEmail,
}

fn readable(text: &str, max_chars: usize) -> Result<String, TextError> {
    if text.chars().count() > max_chars {
        Err(TextError::TooLong(max_chars))
    } else if text.chars().any(char::is_control) {
        Err(TextError::ControlCharacter)
    } else {
        Ok(text.to_owned())
    }
}

macro_rules! text_type {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(PersonName, "The name of a person or company, 1 to 140 characters, trimmed.");
text_type!(Email, "An e-mail address, at most 254 bytes.");
text_type!(Reference, "What a payment is for, at most 140 characters.");
text_type!(IdempotencyKey, "A client's key for one payment: 1 to 64 printable ASCII characters.");

impl PersonName {
    /// # Errors
    /// [`TextError`] for a name that is empty, too long or not readable.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        match text.trim() {
            "" => Err(TextError::Empty),
            name => readable(name, MAX_NAME_CHARS).map(Self),
        }
    }
}

impl Email {
    /// # Errors
    /// [`TextError`] for what is not an address by RFC 5321 and RFC 6531.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let text = text.trim();
        if text.len() > MAX_EMAIL_BYTES {
            return Err(TextError::TooLong(MAX_EMAIL_BYTES));
        }
        let options = email_address::Options::default().without_display_text().without_domain_literal();
        email_address::EmailAddress::parse_with_options(text, options).map_err(|_| TextError::NotAnEmail)?;
        Ok(Self(text.to_owned()))
    }

    /// The form in which addresses are compared: two that differ in case only are one.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl Reference {
    /// # Errors
    /// [`TextError`] for one that is too long or not readable.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        readable(text, MAX_REFERENCE_CHARS).map(Self)
    }
}

impl IdempotencyKey {
    /// # Errors
    /// [`TextError`] for one that is empty, too long or not printable ASCII.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            Err(TextError::Empty)
        } else if text.len() > MAX_IDEMPOTENCY_KEY_BYTES {
            Err(TextError::TooLong(MAX_IDEMPOTENCY_KEY_BYTES))
        } else if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            Err(TextError::NotPrintableAscii)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(PersonName::parse("  Lisa ").map(|name| name.0), Ok("Lisa".to_owned()));
        assert_eq!(PersonName::parse(" \t"), Err(TextError::Empty));
        assert_eq!(PersonName::parse(&"x".repeat(141)), Err(TextError::TooLong(140)));
        assert_eq!(PersonName::parse("a\u{0}b"), Err(TextError::ControlCharacter));
    }

    #[test]
    fn addresses_have_a_local_part_and_a_domain() {
        assert!(Email::parse("lisa@example.org").is_ok());
        for wrong in ["", "lisa", "lisa@", "@example.org", "a b@example.org", "Lisa <lisa@example.org>"] {
            assert_eq!(Email::parse(wrong), Err(TextError::NotAnEmail), "{wrong:?}");
        }
    }

    #[test]
    fn keys_and_references_keep_their_bounds() {
        assert!(IdempotencyKey::parse(&"k".repeat(64)).is_ok());
        assert_eq!(IdempotencyKey::parse(&"k".repeat(65)), Err(TextError::TooLong(64)));
        assert_eq!(IdempotencyKey::parse(""), Err(TextError::Empty));
        assert_eq!(IdempotencyKey::parse("ключ"), Err(TextError::NotPrintableAscii));
        assert!(Reference::parse(&"é".repeat(140)).is_ok());
        assert_eq!(Reference::parse(&"é".repeat(141)), Err(TextError::TooLong(140)));
    }
}
