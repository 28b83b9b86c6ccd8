//! What people would write instead: axum, async-graphql and tokio-postgres in one process, on one PostgreSQL, with
//! LISTEN/NOTIFY for what changes. It answers that part of Millrace's contract that is measured, by the same names and in
//! the same shape, and is tuned as well as its parts allow: a payment is one round trip and one transaction, a
//! bulk is one round trip and few transactions, statements are prepared once, reads are pipelined, and notifications
//! keep no commit waiting. It must never have anything of Millrace in it but its types for money and IBANs.

mod auth;
mod http;
mod ids;
mod mutation;
mod notify;
mod query;
mod scalars;
mod store;
mod subscription;

use std::sync::Arc;

use anyhow::Context as _;
use async_graphql::Schema;
use tokio::net::TcpListener;

pub use auth::SECRET;
pub use ids::{account_id, customer_id};

use mutation::Mutation;
use notify::{Notifier, Watchers};
use query::Query;
use store::Store;
use subscription::Subscription;

/// Limits that Millrace has too, so that each checks every operation.
const MOST_DEPTH: usize = 16;
const MOST_COMPLEXITY: usize = 40_000;

type BankSchema = Schema<Query, Mutation, Subscription>;

/// Serves until it is killed.
///
/// # Errors
/// Where PostgreSQL does not answer, or it cannot listen.
pub async fn serve(postgres: &str, listen: &str) -> anyhow::Result<()> {
    let watchers = Watchers::start(postgres).await.context("listening to PostgreSQL")?;
    let notifier = Notifier::start(postgres).await.context("notifying by PostgreSQL")?;
    let store = Store::open(postgres, notifier).await.context("connecting to PostgreSQL")?;
    let schema = Schema::build(Query, Mutation, Subscription).data(Arc::new(store)).data(watchers);
    let schema = schema.limit_depth(MOST_DEPTH).limit_complexity(MOST_COMPLEXITY).finish();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    http::serve(listener, schema).await
}
