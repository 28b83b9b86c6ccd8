//! What Millrace is compared with, and the load that drives both: a second of each, whatever the figures.

use std::{sync::Arc, time::Duration};

use bench::{
    cpu::Group,
    entries,
    http_load::{HttpLoad, Pace, Work},
    monolith_process::Monolith,
    party::Party,
    postgres::{PgBench, Postgres, Skew},
    push_load::PushLoad,
};

const SECOND: Duration = Duration::from_secs(1);

/// None, with a word, where there is no PostgreSQL 15 on this machine.
async fn bank(accounts: u64) -> anyhow::Result<Option<Postgres>> {
    if let Err(missing) = Postgres::available() {
        eprintln!("SKIPPED: {missing:#}");
        return Ok(None);
    }
    let mut postgres = Postgres::start().await?;
    postgres.load(accounts).await?;
    Ok(Some(postgres))
}

fn parties_of(numbers: std::ops::RangeInclusive<u64>) -> anyhow::Result<Vec<Party>> {
    numbers.map(Monolith::party).collect()
}

#[tokio::test]
async fn pgbench_transfers_and_the_books_are_right() {
    let Some(postgres) = bank(100).await.expect("a bank") else { return };
    for (name, is) in [("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")] {
        assert_eq!(postgres.settings().await.expect("settings")[name], is, "{name}");
    }
    for skew in [Skew::Uniform, Skew::Zipf] {
        let result = postgres.pgbench(PgBench { skew, clients: 4, warm_up: Duration::ZERO, duration: SECOND }).await.expect("it runs");
        assert!(result.transfers > 0, "{result:?}");
        assert_eq!(result.refused, 0);
        assert!(result.server_cpu > Duration::ZERO);
    }
    postgres.check_books().await.expect("the books are right");
    let client = postgres.connect().await.expect("it answers");
    client.execute("update accounts set balance = balance + 1 where id = 7", &[]).await.expect("a cent from nowhere");
    assert!(postgres.check_books().await.is_err());
}

#[tokio::test]
async fn every_load_runs_on_the_monolith_without_an_error() {
    let Some(postgres) = bank(200).await.expect("a bank") else { return };
    let monolith = Monolith::start(&postgres).await.expect("it starts");
    let parties = Arc::new(parties_of(1..=50).expect("parties"));
    entries::fill(monolith.address.clone(), Arc::clone(&parties)).await.expect("all are taken");
    let loads =
        [(Work::Typename, Pace::Closed), (Work::Pay, Pace::Open(50)), (Work::PayBulk(30), Pace::Closed), (Work::Read, Pace::Closed)];
    for (work, pace) in loads {
        let (address, parties) = (monolith.address.clone(), Arc::clone(&parties));
        let load = HttpLoad {
            address,
            connections: 4,
            work,
            pace,
            parties,
            warm_up: Duration::ZERO,
            duration: SECOND,
            groups: vec![Group::load_client()],
        };
        let result = load.run().await.expect("it runs");
        assert!(result.requests > 0 && result.errors == 0, "{result:?}");
    }
    let push = PushLoad {
        address: monolith.address.clone(),
        payers: parties,
        creditors: Arc::new(parties_of(51..=150).expect("parties")),
        connections: 4,
        per_second: 100,
        per_request: 2,
        warm_up: Duration::ZERO,
        duration: SECOND,
        server_pids: vec![monolith.pid()],
        memory_rest: SECOND,
        groups: Vec::new(),
    };
    let result = push.run().await.expect("it runs");
    assert_eq!((result.payments, result.latency.len(), result.errors), (100, 100, 0), "{:?}", result.first_error);
    postgres.check_books().await.expect("the books are right");
}

#[tokio::test]
async fn what_is_refused_is_an_error_of_the_load() {
    let Some(postgres) = bank(10).await.expect("a bank") else { return };
    let monolith = Monolith::start(&postgres).await.expect("it starts");
    let mut parties = parties_of(1..=2).expect("parties");
    let (first, second) = (parties[0].token.clone(), parties[1].token.clone());
    (parties[0].token, parties[1].token) = (second, first);
    let (address, parties) = (monolith.address.clone(), Arc::new(parties));
    let load = HttpLoad {
        address,
        connections: 1,
        work: Work::Pay,
        pace: Pace::Open(20),
        parties,
        warm_up: Duration::ZERO,
        duration: SECOND,
        groups: Vec::new(),
    };
    let result = load.run().await.expect("it runs");
    assert_eq!((result.requests, result.errors), (0, 20));
    assert!(result.first_error.expect("a word").contains("UNKNOWN_ACCOUNT"));
}
