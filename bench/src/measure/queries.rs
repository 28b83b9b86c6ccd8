//! 4: queries a second while payments flow. This module must never know how a query is answered.

use tokio::time::Instant;

use crate::{
    bank::DEFAULT_SHARDS,
    bench::{Bench, Round, Used, Watch, per_second, subject},
    entries,
    http_load::{HttpLoad, LoadResult, Pace, Work},
    result::{Better, Subject},
    server::Server,
};

const NUMBER: u8 = 4;
/// Connections of those who ask.
const CONNECTIONS: usize = 64;
/// Payments a second that flow meanwhile, in requests of many over connections of their own.
const FLOW_PER_SECOND: u64 = 10_000;
const BULK: u64 = 100;
const FLOW_CONNECTIONS: usize = 8;
/// Customers who ask, and others who pay each other meanwhile.
const PARTIES: u64 = 400;
const GOAL_PERCENT: f64 = 60.0;

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
        entries::fill(server.address(), server.parties(0, PARTIES)?).await?;
        server.settle().await?;
    }
    for round in bench.rounds() {
        for server in &servers {
            let (typename, _, _) = load(bench, round, server, Work::Typename).await?;
            let ceiling = per_second(typename.requests, typename.elapsed);
            let (read, flowed, used) = load(bench, round, server, Work::Read).await?;
            let rate = per_second(read.requests, read.elapsed);
            let none = used.without_cpu();
            bench.keep(round, of(server, "typename", "`{__typename}` meanwhile, the ceiling", "requests/s"), ceiling, &none);
            bench.keep(round, of(server, "read", "balance and 20 entries", "queries/s"), rate, &used);
            let part = Subject { goal: Some(GOAL_PERCENT), ..of(server, "part", "balance and 20 entries, of the ceiling", "%") };
            bench.keep(round, part, 100.0 * rate / ceiling, &none);
            let flow = of(server, "flow", &format!("payments booked meanwhile, {FLOW_PER_SECOND}/s asked for"), "payments/s");
            bench.keep(round, flow, flowed, &none);
        }
    }
    Ok(())
}

/// Queries and, beside them, payments. A server may be too slow for the payments; how many were booked a
/// second from the start to the end of the queries is told.
async fn load(bench: &Bench, round: Round, server: &Server, work: Work) -> anyhow::Result<(LoadResult, f64, Used)> {
    bench.running(round, &format!("4. {work:?} while payments flow, {}", server.system().name()));
    let queries = HttpLoad {
        address: server.address(),
        connections: CONNECTIONS,
        work,
        pace: Pace::Closed,
        parties: server.parties(0, PARTIES)?,
        warm_up: bench.plan.load_warm_up,
        duration: bench.plan.load,
    };
    let flow = HttpLoad {
        connections: FLOW_CONNECTIONS,
        work: Work::PayBulk(usize::try_from(BULK)?),
        pace: Pace::Open(FLOW_PER_SECOND / BULK),
        parties: server.parties(PARTIES, PARTIES)?,
        ..queries.clone()
    };
    let watch = Watch::start(server.groups()?)?;
    let (before, since) = (server.booked().await?, Instant::now());
    let flowing = tokio::spawn(flow.run());
    let queries = queries.run().await?;
    let used = watch.stop()?;
    let flowed = per_second(server.booked().await?.saturating_sub(before), since.elapsed());
    // What a server did not manage in time is an error there, and stands in how many were booked.
    flowing.await??;
    anyhow::ensure!(queries.errors == 0, "{} requests went wrong beside {}: {:?}", queries.errors, queries.requests, queries.first_error);
    server.settle().await?;
    Ok((queries, flowed, used))
}

fn of(server: &Server, id: &str, what: &str, unit: &str) -> Subject {
    let sizes = [("connections", CONNECTIONS as u64), ("payments a second", FLOW_PER_SECOND)];
    let parameters = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    let (system, durability) = (server.system(), server.durability());
    Subject { system, durability, parameters, ..subject(NUMBER, id, what, unit, Better::Higher) }
}
