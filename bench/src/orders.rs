//! Appends commands to command logs as gateways do under load: records of many, one append in flight a
//! log. This module must never wait for what becomes of them.

use anyhow::{Context as _, anyhow};
use domain::PaymentOrder;
use serde::Serialize;
use streams::{Broker, Cursor, Draft, Log, LogName};
use tokio::{sync::mpsc, task::JoinSet};

use crate::accounts::initiated;

/// Commands of a record: as many as a gateway puts into one.
const RECORD_COMMANDS: usize = 256;
/// Records that wait for a log at most, so that a slow log holds back whoever makes them.
const WAITING_RECORDS: usize = 4;

/// Appends payments, each to the log of its debtor's shard; comes back once all are acknowledged. Their
/// records rest on `seen`.
///
/// # Errors
/// Where an order cannot be made, or is not acknowledged.
pub async fn append_payments(
    broker: &Broker,
    shards: u16,
    seen: &Cursor,
    orders: impl Iterator<Item = anyhow::Result<PaymentOrder>>,
) -> anyhow::Result<()> {
    let mut writers = JoinSet::new();
    let mut logs = Vec::new();
    for shard in 0..shards {
        let (sender, records) = mpsc::channel(WAITING_RECORDS);
        writers.spawn(write(broker.log(LogName::new("payment-commands", Some(shard))), seen.clone(), records));
        logs.push((sender, Vec::with_capacity(RECORD_COMMANDS)));
    }
    let filled = fill(&mut logs, shards, orders).await;
    for (sender, record) in logs {
        // A writer that has ended says why below.
        let _ = sender.send(record).await;
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    filled
}

type Writer = (mpsc::Sender<Vec<PaymentOrder>>, Vec<PaymentOrder>);

async fn fill(logs: &mut [Writer], shards: u16, orders: impl Iterator<Item = anyhow::Result<PaymentOrder>>) -> anyhow::Result<()> {
    for order in orders {
        let order = order?;
        let shard = usize::from(order.debtor.shard(shards).0);
        let (sender, record) = logs.get_mut(shard).context("a shard that there is")?;
        record.push(order);
        if record.len() == RECORD_COMMANDS {
            sender.send(std::mem::replace(record, Vec::with_capacity(RECORD_COMMANDS))).await.context("a writer has ended")?;
        }
    }
    Ok(())
}

async fn write(log: Log, seen: Cursor, mut records: mpsc::Receiver<Vec<PaymentOrder>>) -> anyhow::Result<()> {
    while let Some(orders) = records.recv().await {
        let commands: Vec<_> = orders.into_iter().map(initiated).collect();
        append(&log, &seen, &commands).await?;
    }
    Ok(())
}

/// Appends commands to a log that is not sharded.
///
/// # Errors
/// Where one cannot be made, or is not acknowledged.
pub async fn append_all<C: Serialize>(
    broker: &Broker,
    log: &str,
    seen: &Cursor,
    mut commands: impl Iterator<Item = anyhow::Result<C>>,
) -> anyhow::Result<()> {
    let log = broker.log(LogName::new(log, None));
    loop {
        let record = commands.by_ref().take(RECORD_COMMANDS).collect::<anyhow::Result<Vec<_>>>()?;
        if record.is_empty() {
            return Ok(());
        }
        append(&log, seen, &record).await?;
    }
}

async fn append<C: Serialize>(log: &Log, seen: &Cursor, commands: &[C]) -> anyhow::Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    let draft = Draft::new(commands, seen, Vec::new()).map_err(|why| anyhow!(why))?;
    log.append(&draft, None).await.with_context(|| format!("{} commands for {}", commands.len(), log.name()))?;
    Ok(())
}
