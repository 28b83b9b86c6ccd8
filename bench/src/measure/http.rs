//! 3: requests a second over HTTP: the ceiling, one payment, and a hundred payments each. This module must never know
//! what a server does with them.

use crate::{
    bank::DEFAULT_SHARDS,
    bench::{Bench, Round, Used, per_second, subject},
    http_load::{HttpLoad, LoadResult, Pace, Work},
    machine::load_now,
    result::{Better, Subject},
    server::Server,
};

const NUMBER: u8 = 3;
const CONNECTIONS: usize = 64;
/// Payments of a request with many.
const BULK: usize = 100;
const BULK_GOAL: f64 = 50_000.0;
/// What single payments are to reach of the ceiling, in percent.
const SINGLE_GOAL_PERCENT: f64 = 70.0;

/// Measures it.
///
/// # Errors
/// Where a request is not answered as it should be.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let accounts = bench.plan.accounts;
    bench.doing("3. Making accounts");
    let mut servers = vec![Server::millrace(DEFAULT_SHARDS, 1, accounts).await?];
    servers.extend(bench.rival(NUMBER, Server::monolith(accounts).await));
    for round in bench.rounds() {
        let turns: Vec<_> = round.turns(servers.len()).map(|turn| &servers[turn]).collect();
        let mut ceilings = Vec::new();
        for server in &turns {
            let (result, used) = load(bench, round, server, Work::Typename).await?;
            let rate = per_second(result.requests, result.elapsed);
            let ceiling = of(bench, server, "typename", "`{__typename}`, the ceiling of server and client", "requests/s");
            bench.keep(round, Subject { operations: Some(result.requests), ..ceiling }, rate, &used);
            ceilings.push(rate);
        }
        for (server, ceiling) in turns.iter().zip(ceilings) {
            let (result, used) = load(bench, round, server, Work::Pay).await?;
            let rate = per_second(result.payments, result.elapsed);
            let single = of(bench, server, "single", "one payment a request", "payments/s");
            bench.keep(round, Subject { operations: Some(result.payments), ..single }, rate, &used);
            let part = of(bench, server, "single-part", "one payment a request, of the ceiling", "%");
            bench.keep(round, Subject { goal: Some(SINGLE_GOAL_PERCENT), ..part }, 100.0 * rate / ceiling, &used.without_cpu());
        }
        for server in &turns {
            let (result, used) = load(bench, round, server, Work::PayBulk(BULK)).await?;
            let rate = per_second(result.payments, result.elapsed);
            let bulk = of(bench, server, "bulk", &format!("{BULK} payments a request"), "payments/s");
            bench.keep(round, Subject { goal: Some(BULK_GOAL), operations: Some(result.payments), ..bulk }, rate, &used);
        }
    }
    Ok(())
}

async fn load(bench: &Bench, round: Round, server: &Server, work: Work) -> anyhow::Result<(LoadResult, Used)> {
    bench.running(round, &format!("3. {work:?} over {CONNECTIONS} connections, {}", server.system().name()));
    let load = HttpLoad {
        address: server.address(),
        connections: CONNECTIONS,
        work,
        pace: Pace::Closed,
        parties: server.parties(0..server.accounts())?,
        warm_up: bench.plan.load_warm_up,
        duration: bench.plan.load,
        groups: server.groups()?,
    };
    let (load_before, before) = (load_now()?, server.ended().await?);
    let result = load.run().await?;
    anyhow::ensure!(result.errors == 0, "{} requests went wrong beside {}: {:?}", result.errors, result.requests, result.first_error);
    server.settle(before, result.accepted, bench.plan.rest).await?;
    let used = Used::counted(load_before, result.cpu.clone());
    Ok((result, used))
}

fn of(bench: &Bench, server: &Server, id: &str, what: &str, unit: &str) -> Subject {
    let sizes = [("connections", CONNECTIONS as u64), ("accounts", server.accounts()), ("seconds", bench.plan.load.as_secs())];
    let parameters = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    let (system, durability) = (server.system(), server.durability());
    Subject { system, durability, parameters, ..subject(NUMBER, id, what, unit, Better::Higher) }
}
