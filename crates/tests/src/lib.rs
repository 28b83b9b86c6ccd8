//! What end-to-end tests share: real processes, a real nats-server, real HTTP and websockets.
//! It must never stand in for any of them.

pub mod chaos;
mod client;
pub mod load;
pub mod plant;
mod process;
pub mod tokens;

pub use client::{Client, Socket, code, money};
pub use process::{Dev, Nats, audit_passes, free_port, freeze, memory_mib, millrace, nats_server};

use std::time::Duration;

/// How long a condition may take to come true before a test gives up: generous, so that a loaded
/// machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` gives something.
///
/// # Errors
/// Where it does not within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = anyhow::Result<Option<T>>>>(what: &str, mut check: impl FnMut() -> F) -> anyhow::Result<T> {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        loop {
            tick.tick().await;
            if let Some(found) = check().await? {
                return Ok(found);
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| anyhow::anyhow!("gave up waiting: {what}"))?
}
