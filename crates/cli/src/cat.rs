//! The `cat` command: any log, readably. It must never need to know what an event means.

use std::io::Write as _;

use anyhow::bail;
use serde_json::{Value, json};
use streams::{Broker, LogName, Mark};

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
        let events: Vec<Value> = record.events()?;
        let line = json!({ "seq": at, "cursor": record.cursor.to_string(), "concerns": record.concerns, "events": events });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
