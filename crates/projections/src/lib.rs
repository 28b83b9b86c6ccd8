//! Read models and snapshots in redb, the only crate that knows it. Each read model is one module:
//! its tables, its fold, its queries and who watches it. This crate must never know GraphQL or HTTP,
//! nor append to a log.

mod blocks;
mod directory;
mod directory_tables;
mod filter;
mod fold;
mod gathered;
mod history;
mod history_tables;
pub mod inspect;
mod layers;
mod merge;
mod merges;
mod metrics;
mod model;
#[cfg(test)]
mod model_tests;
mod overview;
mod overview_tables;
mod payment_row;
mod position;
mod recent;
mod refusals;
mod runs;
mod snapshots;
mod store;
mod tail;
mod watchers;

pub use directory::{AccountRow, CustomerRow, Directory};
pub use history::PaymentHistory;
pub use layers::{Changes, Layers, Shelf, UnderWay};
pub use metrics::{RejectedBy, count_payments, count_rejects, describe_metrics};
pub use model::{Progress, Projection, ReadModel};
pub use overview::{BalanceRow, EntryRow, Overview};
pub use overview_tables::PendingRow;
pub use payment_row::{PaymentRow, PaymentStatus};
pub use position::{Position, PositionError};
pub use recent::Recent;
pub use refusals::Awaited;
pub use runs::Index;
pub use snapshots::{Pair, Pairs, Rows, Seen, SnapshotStore};
pub use store::StoreError;
pub use watchers::{Touched, Watch, Watchers};
