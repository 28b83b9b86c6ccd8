//! 8: whether a bank gets slower with more accounts, or with many payments behind it, and what a payment
//! takes on disk. Each is measured beside a small bank in the same run. This module must never know where
//! a bank keeps what.

use crate::{
    bank::{Bank, DEFAULT_SHARDS, Setting, ensure_room},
    bench::{Bench, Watch, per_second, subject},
    mix::Mix,
    postgres::Skew,
    result::{Better, Subject},
    server::Server,
};

use super::{
    latency,
    payments::{postgres, run, run_postgres, throughput},
};

const NUMBER: u8 = 8;
/// What a large bank is to reach of what a small one does in the same run, in percent.
const GOAL_PERCENT: f64 = 80.0;
/// PostgreSQL is compared with up to so many accounts.
const MOST_OF_POSTGRES: u64 = 1_000_000;

/// Measures it. What is too large for this machine is left out, and said at the end.
///
/// # Errors
/// Where a payment is not booked, or something was left out.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let mut left_out = Vec::new();
    for accounts in bench.plan.many_accounts.clone() {
        let payments = payments_of(bench, accounts);
        if let Err(why) = ensure_room(accounts, of_all_runs(bench, payments)) {
            left_out.push(why.to_string());
            continue;
        }
        let small = open(bench, bench.plan.accounts).await?;
        let large = open(bench, accounts).await?;
        compare(bench, (small, large), payments, &format!("accounts/{accounts}"), &format!("{accounts} accounts")).await?;
    }
    let (accounts, payments) = (bench.plan.accounts, bench.plan.many_payments);
    let a_run = bench.plan.payments_of_many;
    match ensure_room(accounts, payments + of_all_runs(bench, a_run)) {
        Ok(()) => {
            let small = open(bench, accounts).await?;
            let mut large = open(bench, accounts).await?;
            fill(bench, &mut large, payments).await?;
            compare(bench, (small, large), a_run, &format!("after/{payments}"), &format!("after {payments} payments")).await?;
        }
        Err(why) => left_out.push(why.to_string()),
    }
    anyhow::ensure!(left_out.is_empty(), "left out: {}", left_out.join("; "));
    Ok(())
}

/// Accounts and payments of what stands beside each other at once.
pub fn needs(bench: &Bench) -> Vec<(u64, u64)> {
    let plan = &bench.plan;
    let many = plan.many_accounts.iter().map(|accounts| (*accounts, of_all_runs(bench, payments_of(bench, *accounts))));
    let long = (plan.accounts, plan.many_payments + of_all_runs(bench, plan.payments_of_many));
    many.chain([long]).collect()
}

/// Payments of a run with so many accounts: the largest banks leave little room on a disk.
fn payments_of(bench: &Bench, accounts: u64) -> u64 {
    if accounts > MOST_OF_POSTGRES { bench.plan.payments_of_many } else { bench.plan.payments }
}

async fn open(bench: &Bench, accounts: u64) -> anyhow::Result<Bank> {
    bench.doing(&format!("8. Making {accounts} accounts"));
    Bank::open(Setting { shards: DEFAULT_SHARDS, replicas: 1, accounts }).await
}

/// Payments of both banks in all runs, of so many each.
fn of_all_runs(bench: &Bench, payments: u64) -> u64 {
    2 * bench.rounds().count() as u64 * payments
}

/// A run of each in turn, and what the large one reaches of the small one.
async fn compare(bench: &mut Bench, (mut small, mut large): (Bank, Bank), payments: u64, id: &str, what: &str) -> anyhow::Result<()> {
    let accounts = large.setting.accounts;
    let database =
        if (accounts > small.setting.accounts) && accounts <= MOST_OF_POSTGRES { postgres(bench, NUMBER, accounts).await } else { None };
    for round in bench.rounds() {
        let watch = Watch::start(Vec::new())?;
        let (mut of_small, mut of_large) = (0.0, 0.0);
        for turn in round.turns(2) {
            if turn == 0 {
                let beside = throughput(NUMBER, &format!("{id}/beside"), &format!("a small bank, beside {what}"));
                of_small = run(bench, round, &mut small, Mix::Uniform, payments, beside).await?;
            } else {
                of_large = run(bench, round, &mut large, Mix::Uniform, payments, throughput(NUMBER, id, what)).await?;
            }
        }
        let part = subject(NUMBER, &format!("{id}/part"), &format!("{what}, of the small bank's payments/s"), "%", Better::Higher);
        let parameters = [("payments a run".to_owned(), payments)].into();
        let part = Subject { goal: Some(GOAL_PERCENT), durability: large.durability.clone(), parameters, ..part };
        bench.keep(round, part, 100.0 * of_large / of_small, &watch.stop()?);
        if let Some(database) = &database {
            run_postgres(bench, round, database, Skew::Uniform, throughput(NUMBER, id, what)).await?;
        }
    }
    drop(database);
    let (small, large) = (Server::Millrace(Box::new(small)), Server::Millrace(Box::new(large)));
    for round in bench.rounds() {
        for per_second in bench.plan.again_per_second.clone() {
            let beside = (format!("{id}/beside"), format!("a small bank, beside {what}"));
            let banks = [(&small, (beside.0.as_str(), beside.1.as_str())), (&large, (id, what))];
            for turn in round.turns(banks.len()) {
                latency::run(bench, round, banks[turn].0, NUMBER, per_second, banks[turn].1).await?;
            }
        }
    }
    Ok(())
}

/// Makes many payments, and says how many a second, and what each took on disk: once, since it takes long and hardly varies.
async fn fill(bench: &mut Bench, bank: &mut Bank, payments: u64) -> anyhow::Result<()> {
    bench.doing(&format!("8. Making {payments} payments"));
    let (before, watch) = (bank.disk_bytes()?, Watch::start(bank.all_groups()?)?);
    let took = bank.pay_many(Mix::Uniform, payments).await?;
    bank.quiet(bench.plan.rest).await?;
    let used = watch.stop()?;
    let bytes = bank.disk_bytes()?.saturating_sub(before);
    let of = |subject: Subject| Subject {
        durability: bank.durability.clone(),
        parameters: [("payments".to_owned(), payments)].into(),
        operations: Some(payments),
        ..subject
    };
    let sustained = of(throughput(NUMBER, "sustained", &format!("{payments} payments in one go, drawing them included")));
    bench.keep_once(sustained, per_second(payments, took), &used);
    let disk = of(subject(NUMBER, "disk", &format!("disk a payment, over {payments}"), "bytes", Better::Lower));
    #[expect(clippy::cast_precision_loss, reason = "bytes of a disk are far below 2^53")]
    bench.keep_once(disk, bytes as f64 / payments as f64, &used.without_cpu());
    Ok(())
}
