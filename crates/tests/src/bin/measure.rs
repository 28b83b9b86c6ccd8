//! Two figures of a build, on this machine: how fast payments that wait are worked off, and how long
//! a payment takes to its creditor's screen. Every append is fsynced before it is acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tests::{
    Dev, Nats, PATIENCE,
    load::{all_level, holders, operator, store_payments},
};
use tokio::{
    sync::Mutex,
    time::{Instant, interval_at},
};

const BACKLOG_PAYMENTS: u64 = 100_000;
const BACKLOG_ACCOUNTS: usize = 1_000;
const LIVE_ACCOUNTS: usize = 50;
const LIVE_PER_SECOND: u64 = 50;
const LIVE_PAYMENTS: u64 = 1_000;
const RUNS: usize = 3;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn main() -> anyhow::Result<()> {
    println!("load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    for run in 1..=RUNS {
        let took = backlog().await?;
        let rate = u128::from(BACKLOG_PAYMENTS) * 1_000 / took.as_millis().max(1);
        println!("run {run}: {BACKLOG_PAYMENTS} waiting payments booked and in the read models in {took:.2?}: {rate}/s");
        let latency = live().await?;
        let micros = |quantile| Duration::from_micros(latency.value_at_quantile(quantile));
        println!(
            "run {run}: initiatePayment to balanceChanged at {LIVE_PER_SECOND}/s, {} payments: p50 {:.2?}, p99 {:.2?}, max {:.2?}",
            latency.len(),
            micros(0.5),
            micros(0.99),
            micros(1.0)
        );
    }
    Ok(())
}

/// How long `serve` takes from its start until every waiting payment is in the read models.
async fn backlog() -> anyhow::Result<Duration> {
    let (nats, data) = (Nats::start()?, tempfile::tempdir()?);
    let serve = Dev::serve(&nats, data.path(), &[]).await?;
    let holders = holders(&serve.address, BACKLOG_ACCOUNTS).await?;
    ensure!(serve.interrupt().await?.1, "serve stops");
    let last = store_payments(&nats, &holders, BACKLOG_PAYMENTS).await?;

    let since = Instant::now();
    let serve = Dev::serve(&nats, data.path(), &[]).await?;
    for (client, id) in last {
        ensure!(client.at(&serve.address).final_status(&id.to_string()).await? == "BOOKED", "booked");
    }
    // Every shard has booked its last payment; what crossed shards is in once all models are level.
    all_level(&operator(&serve.address)?, PATIENCE).await?;
    let took = since.elapsed();
    let per_account = holders.iter().take(20).map(|holder| async {
        let query = format!("{{ account(id: \"{}\") {{ balance {{ version }} }} }}", holder.account);
        let data = holder.client.at(&serve.address).execute(&query).await?;
        data["account"]["balance"]["version"].as_u64().context("a version")
    });
    ensure!(try_join_all(per_account).await?.iter().all(|version| *version > 100), "accounts moved");
    Ok(took)
}

/// From the moment a payment was due to be sent until its creditor's message is there.
async fn live() -> anyhow::Result<Histogram<u64>> {
    let (nats, data) = (Nats::start()?, tempfile::tempdir()?);
    let serve = Dev::serve(&nats, data.path(), &[]).await?;
    let holders = holders(&serve.address, LIVE_ACCOUNTS).await?;
    let due: Arc<Vec<Mutex<Option<Instant>>>> = Arc::new((0..LIVE_ACCOUNTS).map(|_| Mutex::new(None)).collect());
    let latencies = Arc::new(Mutex::new(Histogram::<u64>::new(3)?));
    let arrived = Arc::new(AtomicU64::new(0));
    let mut listeners = Vec::new();
    for (index, holder) in holders.iter().enumerate() {
        let mut socket = holder.client.socket().await?;
        socket.subscribe("1", &format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", holder.account)).await?;
        socket.next("balanceChanged").await?;
        let (due, latencies, arrived) = (Arc::clone(&due), Arc::clone(&latencies), Arc::clone(&arrived));
        listeners.push(tokio::spawn(async move {
            while socket.next("balanceChanged").await.is_ok() {
                // A message without one is the debit of an own payment.
                if let Some(since) = due[index].lock().await.take() {
                    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                    let _ = latencies.lock().await.record(micros);
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    // One holder only pays, so that the others' messages are credits only.
    let payer = &holders[0];
    let start = Instant::now() + Duration::from_millis(100);
    let mut tick = interval_at(start, Duration::from_secs(1) / u32::try_from(LIVE_PER_SECOND)?);
    let mut sent = Vec::new();
    for number in 0..LIVE_PAYMENTS {
        let at = tick.tick().await;
        let to = 1 + usize::try_from(number)? % (LIVE_ACCOUNTS - 1);
        *due[to].lock().await = Some(at);
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"0.01\", currency: \"EUR\"}}}}",
            payer.account, holders[to].iban
        );
        let client = payer.client.clone();
        sent.push(tokio::spawn(async move {
            client.execute(&format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} }} }}")).await
        }));
    }
    for answer in sent {
        answer.await??;
    }
    tests::eventually("all messages arrive", || async { Ok((arrived.load(Ordering::Relaxed) >= LIVE_PAYMENTS).then_some(())) }).await?;
    listeners.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(latencies.lock().await.clone())
}
