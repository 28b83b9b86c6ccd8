//! The auditor: folds every log from its first record and checks, from the outside, what must always
//! hold of a bank, in the logs and in the read models on disk. It has a fold of its own, so that a
//! mistake in a service's is found and not repeated. This crate must never use what services decide
//! or keep by, never write anywhere, and never know a terminal.

mod accounts;
mod books;
#[cfg(test)]
mod books_tests;
mod compare;
mod directory;
mod end;
mod ends;
mod history;
mod overview;
mod payments;
#[cfg(test)]
mod payments_tests;
mod report;
mod run;
mod shard;
mod walk;

pub use ends::AuditError;
pub use report::{
    Check, CheckResult, CurrencyTotals, LogTotals, MAX_LISTED, Model, ModelState, PaymentTotals, Report, ShardTotals, Violation,
};
pub use run::{Audit, ModelFile};
