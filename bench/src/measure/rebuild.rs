//! 6: rebuild of all read models from the logs. This module must never know what a read model holds.

use std::{fs, path::Path};

use crate::{
    bank::{Bank, DEFAULT_SHARDS, LONG, Setting, ensure_room},
    bench::{Bench, Watch, per_second, subject},
    mix::Mix,
    result::{Better, Subject},
    watch::level,
};

const NUMBER: u8 = 6;
const GOAL: f64 = 500_000.0;

/// Accounts and payments of its bank.
pub fn needs(bench: &Bench) -> (u64, u64) {
    (bench.plan.accounts, bench.plan.rebuild_payments)
}

/// Measures it.
///
/// # Errors
/// Where a model is never complete, or there is no room.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let (accounts, payments) = needs(bench);
    ensure_room(accounts, payments)?;
    bench.doing(&format!("6. Making {payments} payments"));
    let mut bank = Bank::open(Setting { shards: DEFAULT_SHARDS, replicas: 1, accounts }).await?;
    bank.pay_many(Mix::Uniform, payments).await?;
    let events = bank.events()?;
    let subject = Subject {
        goal: Some(GOAL),
        durability: bank.durability.clone(),
        parameters: [("accounts", accounts), ("payments", payments)].map(|(name, size)| (name.to_owned(), size)).into(),
        operations: Some(events),
        ..subject(NUMBER, "all", &format!("{events} events on {DEFAULT_SHARDS} shards"), "events/s", Better::Higher)
    };
    for round in bench.rounds() {
        bench.running(round, "6. Rebuild of all read models");
        let stopped = bank.stop(false).await?;
        delete(&stopped.models())?;
        let watch = Watch::start(stopped.groups())?;
        let (again, since) = stopped.start().await?;
        let watch = watch.and_started(again.serve_group()?);
        bank = again;
        level(&bank.operator()?, LONG).await?;
        let took = since.elapsed();
        bench.keep(round, subject.clone(), per_second(events, took), &watch.stop()?);
    }
    Ok(())
}

fn delete(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}
