//! The gateway: the GraphQL schema over read models and command logs, and HTTP and websocket around it.
//! The only crate that knows GraphQL and HTTP. It must never decide about money, nor open a store or
//! talk to the broker by itself.

mod account;
mod auth;
mod bank;
mod budget;
mod customer;
mod errors;
mod health;
mod http;
mod inputs;
mod models;
mod mutation;
mod pay;
mod payment;
mod payment_mutation;
mod playground;
mod query;
mod recent;
mod scalars;
mod schema;
mod seed;
mod subscription;
mod system;
mod transaction;

pub use auth::{AuthError, Caller, Keys, SignedIn};
pub use bank::{Bank, ReadError};
pub use http::{serve, serve_health};
pub use models::Models;
pub use pay::{Accepted, PayError};
pub use playground::Playground;
pub use schema::{BankSchema, schema, sdl};
