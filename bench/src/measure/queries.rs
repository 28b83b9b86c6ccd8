//! 4: queries a second while payments flow. This module must never know how a query is answered.

use tokio::time::Instant;

use crate::{
    bank::DEFAULT_SHARDS,
    bench::{Bench, Round, Used, per_second, subject},
    entries,
    http_load::{HttpLoad, LoadResult, Pace, Work},
    machine::load_now,
    result::{Better, Subject, System},
    server::Server,
};

const NUMBER: u8 = 4;
/// Connections of those who ask.
const CONNECTIONS: usize = 64;
/// Payments a second that flow meanwhile, in requests of many over connections of their own.
const FLOW_PER_SECOND: u64 = 10_000;
const BULK: u64 = 100;
/// Enough that they keep no server waiting: 32 requests of a hundred are a third of a second of payments.
const FLOW_CONNECTIONS: usize = 32;
const GOAL_PERCENT: f64 = 60.0;
const CEILING: &str = "`{__typename}`, the ceiling";
const SCREEN: &str = "balance and 20 entries";

/// Measures it.
///
/// # Errors
/// Where a request is not answered as it should be.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let accounts = bench.plan.accounts;
    bench.doing("4. Making accounts");
    let mut servers = vec![Server::millrace(DEFAULT_SHARDS, 1, accounts).await?];
    servers.extend(bench.rival(NUMBER, Server::monolith(accounts).await));
    for server in &servers {
        let (before, parties) = (server.ended().await?, server.parties(0..accounts)?);
        let payments = entries::fill(server.address(), parties).await?;
        server.settle(before, payments, bench.plan.rest).await?;
    }
    for round in bench.rounds() {
        for turn in round.turns(servers.len()) {
            let server = &servers[turn];
            let (ceiling, _) = ask(bench, round, server, Work::Typename, of(bench, server, "typename", CEILING, "requests/s")).await?;
            let (rate, used) = ask(bench, round, server, Work::Read, of(bench, server, "screen", SCREEN, "queries/s")).await?;
            let part = of(bench, server, "part", &format!("{SCREEN}, of the ceiling"), "%");
            bench.keep(round, Subject { goal: Some(GOAL_PERCENT), ..part }, 100.0 * rate / ceiling, &used.without_cpu());
        }
    }
    Ok(())
}

/// Keeps how many queries a second are answered, and how many payments are booked beside them. Processor time has that of the
/// payments in it.
async fn ask(bench: &mut Bench, round: Round, server: &Server, work: Work, subject: Subject) -> anyhow::Result<(f64, Used)> {
    let (asked, flowed, used) = load(bench, round, server, work).await?;
    let rate = per_second(asked.requests, asked.elapsed);
    let what = format!("payments booked a second beside {}, {FLOW_PER_SECOND} asked for", subject.what);
    let flow = Subject { id: format!("{}-flow", subject.id), what, unit: "payments/s".to_owned(), ..subject.clone() };
    bench.keep(round, Subject { operations: Some(asked.requests), ..subject }, rate, &used);
    bench.keep(round, flow, flowed, &used.without_cpu());
    Ok((rate, used))
}

/// Queries and, beside them, payments, all accounts among each other. A server may be too slow for the payments; how many were
/// booked a second from the start to the end of the queries is told.
async fn load(bench: &Bench, round: Round, server: &Server, work: Work) -> anyhow::Result<(LoadResult, f64, Used)> {
    bench.running(round, &format!("4. {work:?} while payments flow, {}", server.system().name()));
    let queries = HttpLoad {
        address: server.address(),
        connections: CONNECTIONS,
        work,
        pace: Pace::Closed,
        parties: server.parties(0..server.accounts())?,
        warm_up: bench.plan.load_warm_up,
        duration: bench.plan.load,
        groups: server.groups()?,
    };
    let flow = HttpLoad {
        connections: FLOW_CONNECTIONS,
        work: Work::PayBulk(usize::try_from(BULK)?),
        pace: Pace::Open(FLOW_PER_SECOND / BULK),
        groups: Vec::new(),
        ..queries.clone()
    };
    let (load_before, before, since) = (load_now()?, server.ended().await?, Instant::now());
    let flowing = tokio::spawn(flow.run());
    let queries = queries.run().await?;
    // PostgreSQL counts what there is when it begins to.
    let took = since.elapsed();
    let flowed = per_second(server.ended().await?.booked.saturating_sub(before.booked), took);
    let flow = flowing.await??;
    anyhow::ensure!(queries.errors == 0, "{} requests went wrong beside {}: {:?}", queries.errors, queries.requests, queries.first_error);
    // What a server was too slow for is an error there, and stands in how many were booked.
    let is_right = flow.errors == 0 || server.system() != System::Millrace;
    anyhow::ensure!(is_right, "{} requests with payments went wrong: {:?}", flow.errors, flow.first_error);
    server.settle(before, flow.accepted, bench.plan.rest).await?;
    let used = Used::counted(load_before, queries.cpu.clone());
    Ok((queries, flowed, used))
}

fn of(bench: &Bench, server: &Server, id: &str, what: &str, unit: &str) -> Subject {
    let seconds = bench.plan.load.as_secs();
    let sizes = [
        ("connections", CONNECTIONS as u64),
        ("payments a second", FLOW_PER_SECOND),
        ("accounts", server.accounts()),
        ("seconds", seconds),
    ];
    let parameters = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    let (system, durability) = (server.system(), server.durability());
    Subject { system, durability, parameters, ..subject(NUMBER, id, what, unit, Better::Higher) }
}
