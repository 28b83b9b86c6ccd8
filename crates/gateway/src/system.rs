//! How logs and read models stand. This module must never change one.

use async_graphql::SimpleObject;
use futures_util::future::try_join_all;
use streams::{LogDeclaration, LogInfo, LogName};

use crate::{Bank, errors::Failure, scalars::DateTime};

#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct System {
    logs: Vec<LogState>,
    read_models: Vec<ReadModelState>,
}

#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct LogState {
    name: String,
    owner: String,
    shard: Option<i32>,
    messages: String,
    last_sequence: String,
    bytes: String,
}

#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct ReadModelState {
    name: String,
    shard: i32,
    /// Messages not yet folded.
    lag: String,
    folded_at: Option<DateTime>,
}

impl System {
    pub(crate) async fn look(bank: &Bank) -> Result<Self, Failure> {
        let ask = |(name, declared): (LogName, &LogDeclaration)| {
            let (log, owner) = (bank.host.broker.log(name.clone()), declared.owner.clone());
            async move {
                let info = log.info().await.map_err(|why| {
                    tracing::warn!(log = %name, why, "A log does not answer");
                    Failure::Unavailable("The logs do not answer now. Try again in a moment.".to_owned())
                })?;
                let state = LogState {
                    name: name.to_string(),
                    owner,
                    shard: name.shard().map(i32::from),
                    messages: info.records.to_string(),
                    last_sequence: info.last.to_string(),
                    bytes: info.bytes.to_string(),
                };
                Ok::<_, Failure>((state, (name, info)))
            }
        };
        let (logs, lengths): (_, Vec<_>) = try_join_all(bank.host.topology.all().map(ask)).await?.into_iter().unzip();
        Ok(Self { logs, read_models: read_models(bank, &lengths) })
    }
}

fn read_models(bank: &Bank, lengths: &[(LogName, LogInfo)]) -> Vec<ReadModelState> {
    let state = |(name, shard, progress): (&'static str, Option<u16>, projections::Progress)| {
        let reads = bank.host.topology.read_by(name, shard);
        let folded = |log: &LogName| progress.marks.get(log).map_or(0, |mark| mark.seq);
        let behind = |(log, info): &(LogName, LogInfo)| if reads.contains(log) { info.last.saturating_sub(folded(log)) } else { 0 };
        ReadModelState {
            name: name.to_owned(),
            shard: i32::from(shard.unwrap_or(0)),
            lag: lengths.iter().map(behind).sum::<u64>().to_string(),
            folded_at: progress.folded_at.map(DateTime),
        }
    };
    bank.models.progress().into_iter().map(state).collect()
}
