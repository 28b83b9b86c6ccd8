//! Logs on NATS JetStream, and the engine that runs a decider over them.
//!
//! The only crate that knows NATS. It must never know what an event means, redb, GraphQL or HTTP.

mod appender;
mod apply;
mod broker;
mod cursor;
mod encoding;
mod engine;
mod fault;
mod feed;
mod follower;
mod health;
mod host;
mod inputs;
mod log;
mod metrics;
mod pull;
mod record;
mod scan;
mod service;
mod snapshots;
mod survey;
mod topology;
mod trace;

pub use appender::{AppendCommand, CommandAppender, Place};
pub use apply::{apply, shards};
pub use broker::{Broker, ConnectError, Link, MIN_SERVER_VERSION};
pub use cursor::{Cursor, LogName};
pub use encoding::CONTENT_TYPE;
pub use engine::Engine;
pub use fault::Fault;
pub use follower::{Follower, LEADER_WAIT};
pub use health::{Condition, Health};
pub use host::Host;
pub use inputs::{Batches, Inputs};
pub use log::{AppendError, Log, LogInfo};
pub use metrics::describe_metrics;
pub use record::{Chain, Draft, Mark, Record};
pub use scan::{Scan, Sighting};
pub use service::{Checkpoint, Service, Snapshot, Step};
pub use survey::{MAX_LAG_RECORDS, Survey, Surveyor};
pub use topology::{LogDeclaration, Topology, TopologyError};
pub use trace::{Trace, TraceSpan, Traces, trace_requests};

/// The instant now, from the clock of this machine. Domain rules get it passed in.
#[must_use]
pub fn now() -> domain::Timestamp {
    jiff::Timestamp::now().into()
}
