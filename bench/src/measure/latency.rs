//! 2: from `initiatePayment` to the creditor's websocket. This module must never know how a push comes about.

use hdrhistogram::Histogram;

use crate::{
    bank::DEFAULT_SHARDS,
    bench::{Bench, Round, Used, subject},
    machine::load_now,
    push_load::PushLoad,
    result::{Better, Subject},
    server::Server,
};

const NUMBER: u8 = 2;
/// Payments a second.
const RATES: [u64; 2] = [100, 1_000];
/// Quantiles, and what they are to be in milliseconds at the lowest rate.
const QUANTILES: [(f64, &str, Option<f64>); 3] = [(0.5, "p50", Some(2.5)), (0.99, "p99", Some(8.0)), (0.999, "p99.9", None)];
/// Customers who are paid, each on a websocket: each has one payment under way, so these are enough for a fifth of a second
/// at the highest rate.
const CREDITORS: u64 = 200;
/// Customers who pay, at most: three for four payments of a run at the highest rate, so that few pay more than once.
const PAYERS: u64 = 9_000;
/// Connections that payments are sent over: what waits for one counts into the latency.
const CONNECTIONS: usize = 16;

/// Measures it.
///
/// # Errors
/// Where a message does not come.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let accounts = bench.plan.accounts;
    bench.doing("2. Making accounts");
    let mut servers = vec![Server::millrace(1, 1, accounts).await?, Server::millrace(DEFAULT_SHARDS, 1, accounts).await?];
    servers.extend(bench.rival(NUMBER, Server::monolith(accounts).await));
    for round in bench.rounds() {
        for per_second in RATES {
            for turn in round.turns(servers.len()) {
                let server = &servers[turn];
                let (id, what) = server.variant();
                run(bench, round, server, NUMBER, per_second, (&id, &what)).await?;
            }
        }
    }
    Ok(())
}

/// One run at a rate, of what has this id and these words.
///
/// # Errors
/// Where a message does not come.
pub async fn run(
    bench: &mut Bench,
    round: Round,
    server: &Server,
    number: u8,
    per_second: u64,
    (id, variant): (&str, &str),
) -> anyhow::Result<()> {
    bench.running(round, &format!("{number}. To the creditor's screen at {per_second}/s, {}, {variant}", server.system().name()));
    // They lie anywhere among all accounts, and elsewhere in each run where there are enough of these.
    let accounts = server.accounts();
    let payers = PAYERS.min(accounts.saturating_sub(CREDITORS));
    let step = (accounts / (payers + CREDITORS)).max(1);
    let ordinal = |party: u64| party * step + round.number() as u64 % step;
    let (payers, creditors) = ((CREDITORS..CREDITORS + payers).map(ordinal), (0..CREDITORS).map(ordinal));
    let (load_before, before) = (load_now()?, server.ended().await?);
    let load = PushLoad {
        address: server.address(),
        payers: server.parties(payers)?,
        creditors: server.parties(creditors)?,
        connections: CONNECTIONS,
        per_second,
        per_request: 1,
        warm_up: bench.plan.load_warm_up,
        duration: bench.plan.load,
        server_pids: Vec::new(),
        memory_rest: bench.plan.memory_rest,
        groups: server.groups()?,
    };
    let result = load.run().await?;
    let used = Used::counted(load_before, result.cpu);
    anyhow::ensure!(result.errors == 0, "{} of {} payments went wrong: {:?}", result.errors, result.payments, result.first_error);
    let seconds = bench.plan.load.as_secs();
    let of = |name: &str, goal| Subject {
        system: server.system(),
        durability: server.durability(),
        goal,
        parameters: [("payments a second", per_second), ("accounts", accounts), ("seconds", seconds)]
            .map(|(name, size)| (name.to_owned(), size))
            .into(),
        operations: Some(result.payments),
        ..subject(
            number,
            &format!("{per_second}-per-second/{id}/{name}"),
            &format!("{name} at {per_second}/s, {variant}"),
            "ms",
            Better::Lower,
        )
    };
    for (quantile, name, goal) in QUANTILES {
        let goal = goal.filter(|_| per_second == RATES[0] && number == NUMBER);
        bench.keep(round, of(name, goal), millis(&result.latency, quantile), &used);
    }
    server.settle(before, result.sent, bench.plan.rest).await
}

/// A quantile in milliseconds.
#[must_use]
pub fn millis(latency: &Histogram<u64>, quantile: f64) -> f64 {
    std::time::Duration::from_micros(latency.value_at_quantile(quantile)).as_secs_f64() * 1_000.0
}
