//! The services, one file each: which decider it runs, and what it keeps in its snapshots. Which logs
//! it reads is declared in `streams.yaml`. This crate must never know the gateway.

mod accounts;
mod customers;
mod fraud;
mod lazy;
mod ledger;
mod metrics;
mod payments;
mod run;
mod seen;

pub use run::{ROLES, Role, ServiceError, Settings, run};
