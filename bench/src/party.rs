//! Who pays and who is paid while load is made: the same for every server that speaks the contract.
//! This module must never know which server it is.

use tests::{load::Holder, tokens};

/// A customer's account, as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The holder's bearer token.
    pub token: String,
    /// The account's id.
    pub account: String,
    /// The account's IBAN.
    pub iban: String,
}

impl Party {
    /// A customer of a Millrace that has the tests' secret.
    ///
    /// # Errors
    /// Where no token can be signed.
    pub fn of(holder: &Holder) -> anyhow::Result<Self> {
        let token = tokens::of_customer(&holder.customer.to_string())?;
        Ok(Self { token, account: holder.account.to_string(), iban: holder.iban.clone() })
    }
}
