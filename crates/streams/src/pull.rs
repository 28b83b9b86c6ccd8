//! Messages of a log from a place on. They are pulled by the byte: what a server pushes waits in this
//! process without bound, and where that is more than some megabytes the server cuts the connection.
//! This module must never interpret a message.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};

use crate::Log;

/// Asked for at once beyond the largest message that the server takes, whose subject and headers
/// count too: below that such a message would never come. When half is taken the next is asked for.
const PULL_BYTES: usize = 256 * 1024;
/// Most messages asked for at once; more of them do not make reading faster.
const PULL_MESSAGES: usize = 1_024;
/// A request that was not filled is made again after this long.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The server says this often that it is there while it has nothing; where that misses twice, the
/// stream ends with an error.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A server forgets a consumer that asks for nothing for this long; it is made again then.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A server that has more and sends nothing for this long is asked by a new consumer: one was seen to
/// fall silent in the middle of a backlog, until it missed its heartbeats ten seconds later.
const STALL_WAIT: Duration = Duration::from_secs(1);

/// Ends when a server that has `more` has been silent for too long.
pub(crate) async fn stalled(more: bool) -> String {
    if more {
        tokio::time::sleep(STALL_WAIT).await;
        return "the server has more and sends nothing".to_owned();
    }
    std::future::pending().await
}

/// The messages of `log` from sequence `start` on, until something goes wrong with it. None is
/// acknowledged: who reads keeps the place, and a message that got lost shows as a gap.
pub(crate) async fn messages(log: &Log, start: u64) -> Result<pull::Stream, String> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGET_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = log.stream().await?.create_consumer(config).await.map_err(|error| error.to_string())?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(PULL_MESSAGES)
        .max_bytes_per_batch(PULL_BYTES + log.largest_message())
        .expires(PULL_EXPIRES)
        .heartbeat(HEARTBEAT)
        .messages();
    messages.await.map_err(|error| error.to_string())
}
