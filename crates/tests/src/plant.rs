//! A copy of a bank's logs in which one thing is not as it was, but every chain holds: what an auditor
//! has to find. This module must never know what it finds.

use anyhow::{Context as _, anyhow};
use domain::{
    accounts::{AccountCommand, AccountEvent},
    customers::{CustomerCommand, CustomerEvent},
    fraud::Checked,
    ledger::LedgerEvent,
    payments::{PaymentCommand, PaymentEvent},
};
use serde::{Serialize, de::DeserializeOwned};
use streams::{Broker, Chain, Cursor, Draft, LogName, Mark, Record, Topology};

use crate::Nats;

const STREAMS: &str = include_str!("../../../streams.yaml");

/// A record of a ledger as it is to be copied.
#[derive(Debug)]
pub struct Copied {
    /// Its log.
    pub log: LogName,
    /// Its number.
    pub seq: u64,
    /// What it rests on.
    pub cursor: Cursor,
    /// Its events.
    pub events: Vec<LedgerEvent>,
}

/// Copies all logs to a nats-server of their own, each record of the ledgers as `change` makes it.
///
/// # Errors
/// Where a log cannot be read or written.
pub async fn copy(from: &Nats, mut change: impl FnMut(&mut Copied)) -> anyhow::Result<Nats> {
    let to = Nats::start()?;
    let topology = Topology::parse(STREAMS, "streams.yaml")?;
    let (source, target) = (Broker::connect(&from.url()).await?, Broker::connect(&to.url()).await?);
    streams::apply(&target, &topology).await.map_err(|why| anyhow!(why))?;
    for (log, _) in topology.all() {
        let is_owned = !topology.is_command_log(&log);
        let last = source.log(log.clone()).info().await.map_err(|why| anyhow!(why))?.last;
        let mut records = source.log(log.clone()).follow(Mark::default());
        let mut chain = Chain::default();
        for seq in 0..last {
            let record = tokio::time::timeout(crate::PATIENCE, records.next()).await??;
            let draft = match log.base() {
                "customer-commands" => same::<CustomerCommand>(&record),
                "customers" => same::<CustomerEvent>(&record),
                "account-commands" => same::<AccountCommand>(&record),
                "accounts" => same::<AccountEvent>(&record),
                "payment-commands" => same::<PaymentCommand>(&record),
                "payments" => same::<PaymentEvent>(&record),
                "fraud" => same::<Checked>(&record),
                _ => changed(&record, &mut change),
            }?;
            let draft = if is_owned { draft.decided_on(record.inputs.clone()).chained(chain) } else { draft };
            target.log(log.clone()).append(&draft, is_owned.then_some(seq)).await?;
            chain = target.log(log.clone()).read(seq + 1, 0).await.map_err(|why| anyhow!(why))?.context("a copy that reads back")?.hash();
        }
    }
    Ok(to)
}

fn same<E: Serialize + DeserializeOwned>(record: &Record) -> anyhow::Result<Draft> {
    draft(&record.decode::<E>()?, &record.cursor, record)
}

fn changed(record: &Record, change: &mut impl FnMut(&mut Copied)) -> anyhow::Result<Draft> {
    let (log, seq, cursor, events) = (record.log.clone(), record.seq, record.cursor.clone(), record.decode()?);
    let mut copied = Copied { log, seq, cursor, events };
    change(&mut copied);
    draft(&copied.events, &copied.cursor, record)
}

fn draft<E: Serialize>(events: &[E], cursor: &Cursor, record: &Record) -> anyhow::Result<Draft> {
    Draft::new(events, cursor, record.concerns.clone()).map_err(|why| anyhow!(why))
}
