//! 5: many websockets, each on an account of its own, while payments come to them. This module must never know
//! how a push comes about.

use crate::{
    bank::DEFAULT_SHARDS,
    bench::{Bench, Round, Used, subject},
    machine::{load_now, open_many_files},
    push_load::PushLoad,
    result::{Better, Subject, System},
    server::Server,
};

use super::latency::millis;

const NUMBER: u8 = 5;
/// Balance changes of watched accounts a second.
const CHANGES_PER_SECOND: u64 = 5_000;
/// Payments of a request: so many changes are not to be bounded by HTTP.
const PER_REQUEST: usize = 10;
const CONNECTIONS: usize = 32;
/// Customers who pay; nobody watches these.
const PAYERS: u64 = 200;
const GOAL_MS: f64 = 100.0;
const GOAL_KIB: f64 = 16.0;

/// Files and connections of a process besides its websockets, far more than were seen.
const OTHER_FILES: u64 = 1_000;

/// Lets processes have a connection for each subscriber.
///
/// # Errors
/// Where the machine does not.
pub fn ensure_files(bench: &Bench) -> anyhow::Result<()> {
    let needed = bench.plan.subscribers.iter().max().copied().unwrap_or(0) + OTHER_FILES;
    let most = open_many_files()?;
    anyhow::ensure!(most >= needed, "a process may have {most} files open, and {needed} are needed (ulimit -Hn)");
    Ok(())
}

/// Measures it.
///
/// # Errors
/// Where a message does not come, or so many connections cannot be had.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    ensure_files(bench)?;
    let subscribers = bench.plan.subscribers.clone();
    let accounts = PAYERS + subscribers.iter().max().copied().unwrap_or(0);
    bench.doing("5. Making accounts");
    let mut servers = vec![Server::millrace(DEFAULT_SHARDS, 1, accounts).await?];
    servers.extend(bench.rival(NUMBER, Server::monolith(accounts).await));
    for round in bench.rounds() {
        for count in &subscribers {
            // A process that had as many websockets before has the memory for them already.
            servers = renewed(servers).await?;
            for turn in round.turns(servers.len()) {
                let server = &servers[turn];
                let run = run(bench, round, server, *count).await;
                // What the monolith cannot do is its figure, and no reason to stop.
                if let Err(error) = run {
                    anyhow::ensure!(server.system() != System::Millrace, "{error:#}");
                    bench.missing(NUMBER, &format!("{} with {count} subscribers: {error:#}", server.system().name()));
                }
            }
        }
    }
    Ok(())
}

async fn renewed(servers: Vec<Server>) -> anyhow::Result<Vec<Server>> {
    let mut again = Vec::new();
    for server in servers {
        again.push(server.renewed().await?);
    }
    Ok(again)
}

async fn run(bench: &mut Bench, round: Round, server: &Server, count: u64) -> anyhow::Result<()> {
    bench.running(round, &format!("5. {count} subscribers, {}", server.system().name()));
    let load = PushLoad {
        address: server.address(),
        payers: server.parties(0..PAYERS)?,
        creditors: server.parties(PAYERS..PAYERS + count)?,
        connections: CONNECTIONS,
        per_second: CHANGES_PER_SECOND,
        per_request: PER_REQUEST,
        warm_up: bench.plan.load_warm_up,
        duration: bench.plan.load,
        server_pids: server.pids()?,
        memory_rest: bench.plan.memory_rest,
        groups: server.groups()?,
    };
    let (load_before, before) = (load_now()?, server.ended().await?);
    let result = load.run().await?;
    let used = Used::counted(load_before, result.cpu.clone());
    anyhow::ensure!(result.errors == 0, "{} of {} payments went wrong: {:?}", result.errors, result.payments, result.first_error);
    let seconds = bench.plan.load.as_secs();
    let of = |id: &str, what: &str, unit: &str, goal| Subject {
        system: server.system(),
        durability: server.durability(),
        goal,
        parameters: [("subscribers", count), ("changes a second", CHANGES_PER_SECOND), ("seconds", seconds)]
            .map(|(name, size)| (name.to_owned(), size))
            .into(),
        operations: Some(result.payments),
        ..subject(NUMBER, &format!("{count}-subscribers/{id}"), &format!("{what}, {count} subscribers"), unit, Better::Lower)
    };
    bench.keep(round, of("p50", "push p50", "ms", None), millis(&result.latency, 0.5), &used);
    bench.keep(round, of("p99", "push p99", "ms", Some(GOAL_MS)), millis(&result.latency, 0.99), &used.without_cpu());
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
    let kib = result.bytes_a_subscriber(count) as f64 / 1_024.0;
    bench.keep(round, of("memory", "memory a subscriber", "KiB", Some(GOAL_KIB)), kib, &used.without_cpu());
    server.settle(before, result.sent, bench.plan.rest).await
}
