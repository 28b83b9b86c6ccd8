//! 1: payments a second, from the command logs to the read models, uniform and with a hot account. This
//! module must never know how a bank is made.

use crate::{
    bank::{Bank, Setting},
    bench::{Bench, Round, Watch, per_second, subject},
    mix::Mix,
    result::{Better, Subject},
};

const NUMBER: u8 = 1;
/// Shards, and payments a second that are to be reached on them.
const GOALS: [(u16, f64); 2] = [(1, 100_000.0), (2, 70_000.0)];
const MIXES: [(Mix, &str, &str); 2] = [(Mix::Uniform, "uniform", "uniform accounts"), (Mix::Zipf, "zipf", "Zipf 1.0, a hot account")];

/// Measures it.
///
/// # Errors
/// Where a payment is not booked.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let accounts = bench.plan.accounts;
    let mut banks = Vec::new();
    for (shards, goal) in GOALS {
        bench.doing(&format!("1. Making {accounts} accounts on {shards} shards"));
        banks.push((Bank::open(Setting { shards, replicas: 1, accounts }).await?, goal));
    }
    for round in bench.rounds() {
        for (mix, id, what) in MIXES {
            for (bank, goal) in &mut banks {
                let shards = bank.setting.shards;
                let words = format!("{what}, {shards} {}", if shards == 1 { "shard" } else { "shards" });
                let subject = Subject { goal: Some(*goal), ..throughput(NUMBER, &format!("{id}/{shards}-shards"), &words) };
                run(bench, round, bank, mix, subject).await?;
            }
        }
    }
    Ok(())
}

/// The subject of a throughput.
#[must_use]
pub fn throughput(number: u8, id: &str, what: &str) -> Subject {
    subject(number, id, what, "payments/s", Better::Higher)
}

/// One run of as many payments as the plan says; how many a second.
///
/// # Errors
/// Where one is not booked.
pub async fn run(bench: &mut Bench, round: Round, bank: &mut Bank, mix: Mix, subject: Subject) -> anyhow::Result<f64> {
    let payments = bench.plan.payments;
    bench.running(round, &format!("{}. {}", subject.number, subject.what));
    let watch = Watch::start(bank.all_groups()?)?;
    let took = bank.pay(mix, payments).await?;
    let used = watch.stop()?;
    let sizes = [("accounts", bank.setting.accounts), ("shards", u64::from(bank.setting.shards)), ("payments a run", payments)];
    let parameters = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    let subject = Subject { parameters, durability: bank.durability.clone(), operations: Some(payments), ..subject };
    let rate = per_second(payments, took);
    bench.keep(round, subject, rate, &used);
    Ok(rate)
}
