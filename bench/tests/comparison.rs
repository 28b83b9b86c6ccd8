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
async fn each_payment_of_a_bulk_has_its_own_outcome() {
    let Some(postgres) = bank(10).await.expect("a bank") else { return };
    let client = postgres.connect().await.expect("it answers");
    let iban = |row: tokio_postgres::Row| row.get::<_, String>(0);
    let ibans: Vec<_> = client.query("select iban from accounts where id between 2 and 4 order by id", &[]).await.expect("three");
    let ibans: Vec<String> = ibans.into_iter().map(iban).collect();
    let ibans: Vec<&str> = [0, 1, 0, 2].map(|nth| ibans[nth].as_str()).to_vec();
    let pay = async |keys: [&str; 4], amounts: [i64; 4]| {
        let (debtors, currencies, references) = (vec![1_i64; 4], vec!["EUR"; 4], vec![None::<&str>; 4]);
        let rows = client
            .query(
                "select status, payer_version, payer_balance, payee, payee_version, payee_balance, problem from transfers(1, $1, $2, $3, $4, $5, $6)",
                &[&keys.to_vec(), &debtors, &ibans, &amounts.to_vec(), &currencies, &references],
            )
            .await
            .expect("they are answered");
        let shown = |row: &tokio_postgres::Row| {
            let status: Option<String> = row.get(0);
            let numbers = (1..6).map(|column| row.get::<_, Option<i64>>(column).map_or("-".to_owned(), |number| number.to_string()));
            let problem: Option<String> = row.get(6);
            [vec![status.unwrap_or_default()], numbers.collect(), vec![problem.unwrap_or_default()]].concat().join(" ")
        };
        rows.iter().map(shown).collect::<Vec<_>>()
    };
    let first = pay(["a", "b", "c", "d"], [1, 2, 3, 4]).await;
    let expected = [
        "BOOKED 2 9999999 2 2 10000001 ",
        "BOOKED 3 9999997 3 2 10000002 ",
        "BOOKED 4 9999994 2 3 10000004 ",
        "BOOKED 5 9999990 4 2 10000004 ",
    ];
    assert_eq!(first, expected);
    let second = pay(["e", "b", "a", "f"], [1, 2, 7, 99_999_999]).await;
    assert_eq!(second, ["BOOKED 6 9999989 2 4 10000005 ", "BOOKED - - - - - ", " - - - - - IDEMPOTENCY_KEY_REUSED", "REJECTED - - - - - "]);
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
