//! Who pays and who is paid while load is made: the same for every server that speaks the contract.
//! This module must never know which server it is.

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
