//! 9: what more shards bring and cost on one machine, and what payments between them cost. This module must
//! never know how a payment crosses.

use crate::{
    bank::{Bank, DEFAULT_SHARDS, Setting, ensure_room},
    bench::Bench,
    mix::Mix,
    result::Subject,
};

use super::payments::{run, throughput};

const NUMBER: u8 = 9;

/// Accounts and payments of what stands beside each other at once.
pub fn needs(bench: &Bench) -> Vec<(u64, u64)> {
    vec![needs_of(bench, &bench.plan.shards, 1), needs_of(bench, &crossed(bench), bench.plan.cross_percent.len())]
}

/// The same of a bank of each number of shards, of which each makes so many runs in every round.
fn needs_of(bench: &Bench, all_shards: &[u16], runs: usize) -> (u64, u64) {
    let (banks, runs) = (all_shards.len() as u64, (bench.rounds().count() * runs) as u64);
    (banks * bench.plan.accounts, banks * runs * bench.plan.payments_of_many)
}

/// The numbers of shards between which payments go.
fn crossed(bench: &Bench) -> Vec<u16> {
    let most = bench.plan.shards.iter().copied().max().unwrap_or(DEFAULT_SHARDS);
    let mut shards = vec![DEFAULT_SHARDS, most];
    shards.dedup();
    shards
}

/// Measures it, one after the other, since both together need twice the disk.
///
/// # Errors
/// Where a payment is not booked, or there is no room.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let mut banks = open(bench, &bench.plan.shards.clone(), 1).await?;
    for round in bench.rounds() {
        for turn in round.turns(banks.len()) {
            let (bank, payments) = (&mut banks[turn], bench.plan.payments_of_many);
            let shards = bank.setting.shards;
            let subject = throughput(NUMBER, &format!("uniform/{shards}-shards"), &format!("{}, uniform accounts", words(shards)));
            run(bench, round, bank, Mix::Uniform, payments, subject).await?;
        }
    }
    drop(banks);
    let percents = bench.plan.cross_percent.clone();
    let mut banks = open(bench, &crossed(bench), percents.len()).await?;
    for round in bench.rounds() {
        for percent in &percents {
            for turn in round.turns(banks.len()) {
                let (bank, payments) = (&mut banks[turn], bench.plan.payments_of_many);
                let shards = bank.setting.shards;
                run(bench, round, bank, Mix::Cross(*percent), payments, crossing(shards, *percent)).await?;
            }
        }
    }
    Ok(())
}

/// A bank of each number of shards, of which each makes so many runs in every round.
async fn open(bench: &Bench, all_shards: &[u16], runs: usize) -> anyhow::Result<Vec<Bank>> {
    let (all_accounts, all_payments) = needs_of(bench, all_shards, runs);
    ensure_room(all_accounts, all_payments)?;
    let accounts = bench.plan.accounts;
    let mut opened = Vec::new();
    for shards in all_shards {
        bench.doing(&format!("9. Making {accounts} accounts on {shards} shards"));
        opened.push(Bank::open(Setting { shards: *shards, replicas: 1, accounts }).await?);
    }
    Ok(opened)
}

fn crossing(shards: u16, percent: u8) -> Subject {
    let what = format!("{}, {percent} % between shards", words(shards));
    throughput(NUMBER, &format!("cross/{shards}-shards/{percent}-percent"), &what)
}

fn words(shards: u16) -> String {
    if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") }
}
