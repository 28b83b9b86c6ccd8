//! 9: what more shards bring and cost on one machine, and what payments between them cost. This module must
//! never know how a payment crosses.

use crate::{
    bank::{Bank, DEFAULT_SHARDS, Setting},
    bench::Bench,
    mix::Mix,
    result::Subject,
};

use super::payments::{run, throughput};

const NUMBER: u8 = 9;

/// Measures it.
///
/// # Errors
/// Where a payment is not booked.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let (accounts, all_shards) = (bench.plan.accounts, bench.plan.shards.clone());
    let mut banks = Vec::new();
    for shards in all_shards {
        bench.doing(&format!("9. Making {accounts} accounts on {shards} shards"));
        banks.push(Bank::open(Setting { shards, replicas: 1, accounts }).await?);
    }
    let most = banks.iter().map(|bank| bank.setting.shards).max().unwrap_or(DEFAULT_SHARDS);
    for round in bench.rounds() {
        for bank in &mut banks {
            let shards = bank.setting.shards;
            let subject = throughput(NUMBER, &format!("uniform/{shards}-shards"), &format!("{}, uniform accounts", words(shards)));
            run(bench, round, bank, Mix::Uniform, subject).await?;
        }
        for percent in bench.plan.cross_percent.clone() {
            for bank in banks.iter_mut().filter(|bank| [DEFAULT_SHARDS, most].contains(&bank.setting.shards)) {
                let mix = Mix::Cross(percent);
                run(bench, round, bank, mix, crossing(bank.setting.shards, percent)).await?;
            }
        }
    }
    Ok(())
}

fn crossing(shards: u16, percent: u8) -> Subject {
    let what = format!("{}, {percent} % between shards", words(shards));
    throughput(NUMBER, &format!("cross/{shards}-shards/{percent}-percent"), &what)
}

fn words(shards: u16) -> String {
    if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") }
}
