//! How fast a bank with many payments in its logs comes back: after a stop, after a kill, and with
//! every file of read models and snapshots deleted. Prints figures; fails where something is wrong,
//! never where something is slow.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use streams::{Broker, LogName};
use tests::{
    Dev, Nats, PATIENCE, audit_passes,
    load::{Holder, SHARDS, all_level, entries, holders, operator, store_payments, until_entries},
};
use tokio::time::Instant;

const ACCOUNTS: usize = 1_000;
const DEFAULT_PAYMENTS: u64 = 2_000_000;
/// Longest that booking and folding all of it may take here, a hundred times what was seen.
const LONG: Duration = Duration::from_secs(3_600);
const RUNS: usize = 3;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn main() -> anyhow::Result<()> {
    let payments = std::env::args().nth(1).map_or(Ok(DEFAULT_PAYMENTS), |count| count.parse())?;
    println!("load {}", fs::read_to_string("/proc/loadavg")?.trim());
    let (nats, data) = (Nats::start()?, tempfile::tempdir()?);
    let mut serve = Dev::serve(&nats, data.path(), &[]).await?;
    let holders = holders(&serve.address, ACCOUNTS).await?;
    let (before, since) = (entries(&holders).await?, Instant::now());
    store_payments(&nats, &holders, payments).await?;
    println!("{payments} payments stored in {:.1?} while being booked", since.elapsed());
    until_entries(&holders, before + 2 * payments, LONG).await?;
    println!("all booked and in the read models after {:.1?}", since.elapsed());

    for run in 1..=RUNS {
        for kill in [false, true] {
            if kill {
                serve.kill().await?
            } else {
                ensure!(serve.interrupt().await?.1, "serve stops")
            }
            let since = Instant::now();
            serve = Dev::serve(&nats, data.path(), &[]).await?;
            let up = since.elapsed();
            let before = booked(&nats).await?;
            tests::eventually("accepted", || async { Ok(send(&holders, &serve.address, None).await.ok()) }).await?;
            tests::eventually("booked", || async { Ok((booked(&nats).await? > before).then_some(())) }).await?;
            let booking = since.elapsed();
            all_level(&operator(&serve.address)?, LONG).await?;
            wait_ready(&serve).await?;
            let how = if kill { "kill -9" } else { "stop" };
            println!(
                "run {run}: after {how}: answering in {up:.2?}, a new payment in the ledger's log in {booking:.2?}, all ready in {:.2?}",
                since.elapsed()
            );
        }
        ensure!(serve.interrupt().await?.1, "serve stops");
        let bytes = delete_all(data.path())?;
        let since = Instant::now();
        serve = Dev::serve(&nats, data.path(), &[]).await?;
        tests::eventually("accepted", || async { Ok(send(&holders, &serve.address, None).await.ok()) }).await?;
        let first = since.elapsed();
        let accepted = pay_without_waiting(&holders, &serve.address, run).await?;
        wait_ready(&serve).await?;
        let took = since.elapsed();
        let events = payments * 4 + payments / 2;
        let rate = u128::from(events) * 1_000 / took.as_millis().max(1);
        println!(
            "run {run}: all files ({bytes} MB) deleted: a payment accepted after {first:.2?} (twenty more in {accepted:.1?} each), all read models complete in {took:.2?}: {rate} events/s ({events} events in the logs)"
        );
        pay(&holders, &serve.address, None).await?;
    }
    ensure!(serve.interrupt().await?.1, "serve stops");
    println!("audit: {}", audit_passes(&nats.url(), &[data.path()], LONG).await?);
    Ok(())
}

/// How many records the ledgers have.
async fn booked(nats: &Nats) -> anyhow::Result<u64> {
    let broker = Broker::connect(&nats.url()).await?;
    let mut records = 0;
    for shard in 0..SHARDS {
        records += broker.log(LogName::new("ledger", Some(shard))).info().await.map_err(|why| anyhow::anyhow!(why))?.last;
    }
    Ok(records)
}

async fn wait_ready(serve: &Dev) -> anyhow::Result<()> {
    let wait = async {
        while !serve.ready().await.is_ok_and(|(is_ready, _)| is_ready) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.context("it never becomes ready")
}

async fn send(holders: &[Holder], address: &str, key: Option<&str>) -> anyhow::Result<String> {
    let (from, to) = (&holders[0], &holders[1]);
    let key = key.map_or_else(String::new, |key| format!(", idempotencyKey: \"{key}\""));
    let input = format!(
        "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"0.01\", currency: \"EUR\"}}{key}}}",
        from.account, to.iban
    );
    let mutation = format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} }} }}");
    let data = from.client.at(address).execute(&mutation).await?;
    Ok(data["initiatePayment"]["payment"]["id"].as_str().context("an id")?.to_owned())
}

/// Sends a payment until it is accepted, and waits until it is booked, which the log says also
/// while the read models are built.
async fn pay(holders: &[Holder], address: &str, key: Option<&str>) -> anyhow::Result<()> {
    let id = tests::eventually("accepted", || async { Ok(send(holders, address, key).await.ok()) }).await?;
    let client = holders[0].client.at(address);
    let wait = async {
        loop {
            if let Ok(status) = client.final_status(&id).await {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE * 10, wait).await.context("never booked")?;
    ensure!(status == "BOOKED", "a payment is {status}");
    Ok(())
}

/// Sends payments with and without keys while the read models are built again; how long each took.
async fn pay_without_waiting(holders: &[Holder], address: &str, run: usize) -> anyhow::Result<Duration> {
    let since = Instant::now();
    for number in 0..10 {
        let key = format!("recovery-{run}-{number}");
        send(holders, address, Some(&key)).await?;
        send(holders, address, None).await?;
    }
    Ok(since.elapsed() / 20)
}

/// Deletes what can be built again; says how much it was.
fn delete_all(data: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for folder in ["models", "state"] {
        for entry in fs::read_dir(data.join(folder))? {
            let entry = entry?;
            bytes += entry.metadata()?.len();
            fs::remove_file(entry.path())?;
        }
    }
    Ok(bytes / 1_000_000)
}
