//! The rules of the bank: money, ids, and what every service decides.
//!
//! Decide is pure and evolve cannot fail, so this crate must never know a clock, randomness, I/O,
//! async, NATS, redb or GraphQL. Ids and times come in with the input.

pub mod accounts;
pub mod customers;
pub mod fraud;
mod iban;
mod ids;
pub mod ledger;
mod money;
mod payment;
pub mod payments;
mod shard;
mod table;
mod text;
mod time;

pub use iban::{Iban, account_iban, settlement_iban};
pub use ids::{AccountId, CommandId, CustomerId, IdError, PaymentId, TransactionId};
pub use money::{Currency, CurrencyError, Decimal, MAX_AMOUNT_MINOR, Money, MoneyError, parse_minor};
pub use payment::{Debtor, Initiator, PaymentOrder, RejectionCode, Review, ReviewDecision};
pub use shard::Shard;
pub use table::{LOOKED_UP_AHEAD, Marked, Table, look_ahead};
pub use text::{Email, IdempotencyKey, PersonName, Reference, TextError};
pub use time::Timestamp;
