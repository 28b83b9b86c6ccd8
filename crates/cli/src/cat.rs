//! The `cat` command: any log, readably. Which log holds which events is said here once more; what
//! they mean is not. This module must never change a log.

use std::io::Write as _;

use anyhow::bail;
use domain::{
    accounts::{AccountCommand, AccountEvent},
    customers::{CustomerCommand, CustomerEvent},
    fraud::Checked,
    ledger::LedgerEvent,
    payments::{PaymentCommand, PaymentEvent},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use streams::{Broker, LogName, Mark, Record};

use crate::args::CatArgs;

/// Prints the records that a log has now.
pub(crate) async fn run(args: CatArgs) -> anyhow::Result<()> {
    let broker = Broker::connect(&args.nats).await?;
    let log = broker.log(LogName::new(&args.log, None));
    let last = match log.info().await {
        Ok(info) => info.last,
        Err(why) => bail!("the log {} cannot be read: {why}", args.log),
    };
    let mut at = args.from.saturating_sub(1);
    let mut records = log.follow(Mark::at(at));
    let mut out = std::io::stdout().lock();
    while at < last {
        let record = records.next().await?;
        at = record.seq;
        let events = events(&record)?;
        let (cursor, traces) = (record.cursor.to_string(), record.traces.to_string());
        let line = json!({ "seq": at, "cursor": cursor, "concerns": record.concerns, "traces": traces, "events": events });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn events(record: &Record) -> anyhow::Result<Value> {
    match record.log.base() {
        "customer-commands" => readable::<CustomerCommand>(record),
        "customers" => readable::<CustomerEvent>(record),
        "account-commands" => readable::<AccountCommand>(record),
        "accounts" => readable::<AccountEvent>(record),
        "payment-commands" => readable::<PaymentCommand>(record),
        "payments" => readable::<PaymentEvent>(record),
        "fraud" => readable::<Checked>(record),
        "ledger" => readable::<LedgerEvent>(record),
        other => bail!("nothing is known of the events of {other}"),
    }
}

fn readable<E: DeserializeOwned + Serialize>(record: &Record) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(record.decode::<E>()?)?)
}
