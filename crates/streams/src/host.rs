//! What everything that runs in a process is given. This module must never know what runs.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Broker, Condition, Fault, Health, LogName, Topology};

/// Pause before a store that failed is opened again: a disk does not become empty within milliseconds.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// What ran for so long before it met the same fault again has met it anew, which is said again.
const ANEW_AFTER: Duration = Duration::from_secs(60);

/// A process's connection, its logs, and how its tasks are started, watched and stopped.
#[derive(Debug, Clone)]
pub struct Host {
    /// The connection to nats-server.
    pub broker: Broker,
    /// The logs that there are.
    pub topology: Arc<Topology>,
    /// How everything stands.
    pub health: Health,
    /// What runs.
    pub tasks: TaskTracker,
    /// When it is to stop.
    pub stop: CancellationToken,
}

impl Host {
    /// A process in which nothing runs yet.
    #[must_use]
    pub fn new(broker: Broker, topology: Arc<Topology>) -> Self {
        Self { broker, topology, health: Health::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// The same process for what has a connection of its own.
    pub async fn with_own_connection(&self) -> Self {
        Self { broker: self.broker.another().await, ..self.clone() }
    }

    /// Runs what is known as `name`, and reports how it stands. After a fault of its store, or a panic, it is run
    /// again, until that works; after any other it halts alone, which is said once.
    pub fn run<W: Future<Output = Result<(), Fault>> + Send>(&self, name: LogName, work: impl Fn() -> W + Send + Sync + 'static) {
        let (health, stop) = (self.health.clone(), self.stop.clone());
        health.note(&name, Condition::Starting);
        self.tasks.spawn(async move {
            let mut said = None;
            let run = || async {
                let ended = AssertUnwindSafe(work()).catch_unwind().await;
                ended.unwrap_or_else(|panic| Err(Fault::Panicked { part: name.clone(), why: said_by(&*panic) }))
            };
            let mut since = Instant::now();
            while let Err(fault) = run().await {
                if since.elapsed() > ANEW_AFTER {
                    said = None;
                }
                health.halted(&name, &fault);
                if !matches!(fault, Fault::Store { .. } | Fault::Panicked { .. }) {
                    tracing::error!(%name, %fault, "Halted; all other parts go on");
                    return;
                }
                let why = fault.to_string();
                if said.as_ref() != Some(&why) {
                    tracing::warn!(%name, why, "Cannot go on; trying again until it can");
                    said = Some(why);
                }
                tokio::select! {
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                    () = stop.cancelled() => return,
                }
                since = Instant::now();
            }
        });
    }
}

/// The message of a panic, which is a text unless somebody took pains.
fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}
