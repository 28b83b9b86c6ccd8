//! 1: payments a second, from the command logs to the read models, uniform and with a hot account. This
//! module must never know how a bank is made.

use crate::{
    bank::{Bank, Setting, ensure_room},
    bench::{Bench, Round, Used, Watch, per_second, subject},
    machine::load_now,
    mix::Mix,
    postgres::{PgBench, Postgres, Skew},
    result::{Better, Subject, System},
};

const NUMBER: u8 = 1;
/// Shards, and payments a second that are to be reached on them.
const GOALS: [(u16, f64); 2] = [(1, 100_000.0), (2, 70_000.0)];
const MIXES: [(Mix, Skew, &str, &str); 2] =
    [(Mix::Uniform, Skew::Uniform, "uniform", "uniform accounts"), (Mix::Zipf, Skew::Zipf, "zipf", "Zipf 1.0, a hot account")];
/// Connections of pgbench: with 32 PostgreSQL made 96 % of what it made with these, and 76 % with a hot account (medians of three, in
/// turns, on two cores).
const CLIENTS: usize = 16;

/// Accounts and payments of all its banks.
pub fn needs(bench: &Bench) -> (u64, u64) {
    let banks = GOALS.len() as u64;
    (banks * bench.plan.accounts, banks * (MIXES.len() * bench.rounds().count()) as u64 * bench.plan.payments)
}

/// Measures it.
///
/// # Errors
/// Where a payment is not booked, or there is no room.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let (all_accounts, all_payments) = needs(bench);
    ensure_room(all_accounts, all_payments)?;
    let accounts = bench.plan.accounts;
    let mut banks = Vec::new();
    for (shards, goal) in GOALS {
        bench.doing(&format!("1. Making {accounts} accounts on {shards} shards"));
        banks.push((Bank::open(Setting { shards, replicas: 1, accounts }).await?, goal));
    }
    let postgres = postgres(bench, NUMBER, accounts).await;
    for round in bench.rounds() {
        for (mix, skew, id, what) in MIXES {
            for turn in round.turns(banks.len() + 1) {
                if let Some((bank, goal)) = banks.get_mut(turn) {
                    let shards = bank.setting.shards;
                    let words = format!("{what}, {shards} {}", if shards == 1 { "shard" } else { "shards" });
                    let subject = Subject { goal: Some(*goal), ..throughput(NUMBER, &format!("{id}/{shards}-shards"), &words) };
                    run(bench, round, bank, mix, bench.plan.payments, subject).await?;
                } else if let Some(postgres) = &postgres {
                    run_postgres(bench, round, postgres, skew, throughput(NUMBER, id, what)).await?;
                }
            }
        }
    }
    Ok(())
}

/// A PostgreSQL with a bank.
#[derive(Debug)]
pub struct Database {
    postgres: Postgres,
    accounts: u64,
}

/// A PostgreSQL with as many accounts; where there is none, that is noted.
pub async fn postgres(bench: &mut Bench, number: u8, accounts: u64) -> Option<Database> {
    bench.doing(&format!("{number}. Making {accounts} accounts in PostgreSQL"));
    let start = async {
        Postgres::available()?;
        let mut postgres = Postgres::start().await?;
        postgres.load(accounts).await?;
        anyhow::Ok(Database { postgres, accounts })
    };
    start.await.map_err(|error| bench.missing(number, &format!("the comparison is missing: {error:#}"))).ok()
}

/// One run of PostgreSQL.
///
/// # Errors
/// Where a transfer fails.
pub async fn run_postgres(bench: &mut Bench, round: Round, database: &Database, skew: Skew, subject: Subject) -> anyhow::Result<()> {
    bench.running(round, &format!("{}. {}, PostgreSQL", subject.number, subject.what));
    let (load_before, Database { postgres, accounts }) = (load_now()?, database);
    let (warm_up, duration) = (bench.plan.load_warm_up, bench.plan.load);
    let result = postgres.pgbench(PgBench { skew, clients: CLIENTS, warm_up, duration }).await?;
    anyhow::ensure!(result.refused == 0, "PostgreSQL refused {} transfers", result.refused);
    let cpu = [("postgres", result.server_cpu), ("load client", result.client_cpu)];
    let used = Used::counted(load_before, cpu.map(|(name, time)| (name.to_owned(), time.as_secs_f64())).into());
    let parameters = [("clients".to_owned(), CLIENTS as u64), ("accounts".to_owned(), *accounts)].into();
    let (durability, operations) = (postgres.durability().await?, Some(result.transfers));
    let subject = Subject { system: System::Postgres, durability, parameters, operations, ..subject };
    bench.keep(round, subject, per_second(result.transfers, result.elapsed), &used);
    Ok(())
}

/// The subject of a throughput.
#[must_use]
pub fn throughput(number: u8, id: &str, what: &str) -> Subject {
    subject(number, id, what, "payments/s", Better::Higher)
}

/// One run of so many payments; how many a second. Processor time is counted until all is written that was gathered.
///
/// # Errors
/// Where one is not booked.
pub async fn run(bench: &mut Bench, round: Round, bank: &mut Bank, mix: Mix, payments: u64, subject: Subject) -> anyhow::Result<f64> {
    bench.running(round, &format!("{}. {}", subject.number, subject.what));
    let orders = bank.draw(mix, payments)?.collect::<anyhow::Result<_>>()?;
    let watch = Watch::start(bank.all_groups()?)?;
    let took = bank.pay(orders).await?;
    bank.quiet(bench.plan.rest).await?;
    let used = watch.stop()?;
    let sizes = [("accounts", bank.setting.accounts), ("shards", u64::from(bank.setting.shards)), ("payments a run", payments)];
    let parameters = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    let subject = Subject { parameters, durability: bank.durability.clone(), operations: Some(payments), ..subject };
    let rate = per_second(payments, took);
    bench.keep(round, subject, rate, &used);
    Ok(rate)
}
