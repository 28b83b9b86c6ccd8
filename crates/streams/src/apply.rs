//! Makes the server's streams what `streams.yaml` declares. It must never delete anything.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{GetStreamError, GetStreamErrorKind},
    stream::Config,
};

use crate::{Broker, Topology, topology::SHARDS_METADATA};

/// What a user of nats-server must be allowed to.
const MAY_ASK: &str = "the user of --nats needs to publish to $JS.API.> and millrace.>, and to subscribe to _INBOX.>";

/// Creates the streams that are missing and updates those that may change.
///
/// # Errors
/// A line that says which stream cannot be made what is declared, and what to do.
pub async fn apply(broker: &Broker, topology: &Topology) -> Result<(), String> {
    let (mut made, mut have_records) = (Vec::new(), false);
    for (name, _) in topology.all() {
        let declared = topology.stream_config(&name);
        match broker.jetstream.get_stream(name.as_str()).await {
            Ok(stream) => {
                have_records |= stream.cached_info().state.last_sequence > 0;
                update(&broker.jetstream, &stream.cached_info().config, declared).await?;
            }
            Err(error) if is_missing(&error) => {
                create(&broker.jetstream, declared).await?;
                made.push(name);
            }
            Err(error) => return Err(format!("whether there is a stream {name} cannot be asked ({error}): {MAY_ASK}")),
        }
    }
    if have_records {
        made.iter().for_each(|log| tracing::warn!(%log, "This log was made anew although others have records: restore it if it was lost"));
    }
    Ok(())
}

/// For how many shards the streams of a server were made; nothing is changed there.
///
/// # Errors
/// A line that says that a stream is missing, or not one of Millrace.
pub async fn shards(broker: &Broker, topology: &Topology) -> Result<u16, String> {
    let (name, _) = topology.all().next().ok_or_else(|| "streams.yaml declares no log".to_owned())?;
    let stream = broker.jetstream.get_stream(name.as_str()).await;
    let stream = stream.map_err(|error| format!("there is no log {name} on this nats-server ({error})"))?;
    let metadata = stream.cached_info().config.metadata.get(SHARDS_METADATA).and_then(|shards| shards.parse().ok());
    metadata.ok_or_else(|| format!("the stream {name} was not made by Millrace"))
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

async fn create(jetstream: &jetstream::Context, declared: Config) -> Result<(), String> {
    let name = declared.name.clone();
    // Two processes that start together both create; the server takes the second as the same.
    jetstream.create_stream(declared).await.map(|_| ()).map_err(|error| format!("the stream {name} cannot be created ({error}): {MAY_ASK}"))
}

async fn update(jetstream: &jetstream::Context, now: &Config, declared: Config) -> Result<(), String> {
    let name = declared.name.clone();
    may_become(now, &declared)?;
    let wanted = Config { metadata: now.metadata.clone(), ..declared };
    if same(now, &wanted) {
        return Ok(());
    }
    tracing::info!(stream = %name, replicas = wanted.num_replicas, "A stream is changed to what streams.yaml declares");
    jetstream
        .update_stream(&wanted)
        .await
        .map(|_| ())
        .map_err(|error| format!("streams.yaml asks for a change of the stream {name} that JetStream does not allow: {error}"))
}

/// Refuses what no process may do by being started: whoever starts one without the file that asks for more replicas would take
/// them from everybody.
fn may_become(now: &Config, declared: &Config) -> Result<(), String> {
    let name = &declared.name;
    let shards = |config: &Config| config.metadata.get(SHARDS_METADATA).cloned();
    match (shards(now), shards(declared)) {
        (Some(before), Some(after)) if before != after => return Err(shards_changed(after, &before)),
        (None, _) => return Err(format!("the stream {name} exists, but Millrace did not make it: use another nats-server")),
        (Some(_), _) => {}
    }
    let (has, wants) = (now.num_replicas, declared.num_replicas);
    if wants < has {
        return Err(format!(
            "the stream {name} has {has} replicas and streams.yaml says {wants}: say {has}, or take some away with nats-server's own tool first"
        ));
    }
    Ok(())
}

/// Whether all that `streams.yaml` can say is equal; the server fills in the rest.
fn same(now: &Config, wanted: &Config) -> bool {
    let said = |config: &Config| {
        let bounds = (config.max_messages, config.max_bytes, config.num_replicas, config.deny_delete, config.deny_purge);
        (config.subjects.clone(), config.storage, config.retention, config.discard, bounds)
    };
    said(now) == said(wanted)
}

fn shards_changed(declared: impl std::fmt::Display, before: &str) -> String {
    format!("the data was made with {before} shards and streams.yaml says {declared}: shards cannot change once there is data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_starts_makes_no_fewer_replicas_and_no_other_shards() {
        let stream = |shards: &str, num_replicas| Config {
            name: "ledger-0".to_owned(),
            num_replicas,
            metadata: [(SHARDS_METADATA.to_owned(), shards.to_owned())].into(),
            ..Config::default()
        };
        assert_eq!(may_become(&stream("2", 1), &stream("2", 3)), Ok(()));
        assert_eq!(may_become(&stream("2", 3), &stream("2", 3)), Ok(()));
        let fewer = may_become(&stream("2", 3), &stream("2", 1)).expect_err("refused");
        assert!(fewer.contains("has 3 replicas") && fewer.contains("says 1"), "{fewer}");
        assert!(may_become(&stream("2", 1), &stream("4", 1)).is_err());
        assert!(may_become(&Config { metadata: [].into(), ..stream("2", 1) }, &stream("2", 1)).is_err());
    }
}
