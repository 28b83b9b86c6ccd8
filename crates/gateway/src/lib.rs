//! The gateway: the GraphQL schema over read models and command logs, and HTTP and websocket around it.
//! The only crate that knows GraphQL and HTTP. It must never decide about money, nor open a store; of
//! the broker it uses what appends commands, and what says where logs end.

mod account;
mod arguments;
mod auth;
mod bank;
mod callers;
mod cursors;
mod customer;
mod documents;
mod errors;
mod health;
mod http;
mod inputs;
mod introspection;
mod limits;
mod merged;
mod metrics;
mod models;
mod mutation;
mod object;
mod operation;
mod operation_metrics;
mod page;
mod parsing;
mod pay;
mod payment;
mod payment_mutation;
mod plain;
mod playground;
mod pushes;
mod query;
mod recent;
mod respelled;
mod roots;
mod scalars;
mod schema;
mod seed;
mod shape;
mod subscription;
mod system;
mod traces;
mod transaction;
mod types;
mod validated;

pub use auth::{AuthError, Caller, Expected, Issuer, JwksError, KeyRefusal, Keys, Location, SignedIn, SigningAlgorithm};
pub use bank::Bank;
pub use documents::{Documents, TrustedError};
pub use http::{OriginError, Origins, serve, serve_health};
pub use introspection::Introspection;
pub use limits::Limits;
pub use metrics::record_metrics;
pub use models::Models;
pub use operation::Gateway;
pub use playground::Playground;
pub use schema::{BankSchema, sdl};
