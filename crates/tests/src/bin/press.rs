//! scratch
use std::time::Duration;
use tests::{Dev, Nats, PATIENCE, load::{all_level, holders, operator, store_on}};
use tokio::time::Instant;

fn cpu(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    (rest[11].parse().unwrap_or(0), rest[12].parse().unwrap_or(0))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let env = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let shards: u16 = env("SHARDS", "1").parse()?;
    let payments: u64 = env("PAYMENTS", "200000").parse()?;
    let accounts: usize = env("ACCOUNTS", "1000").parse()?;
    let streams = tempfile::NamedTempFile::new()?;
    std::fs::write(streams.path(), std::fs::read_to_string("streams.yaml")?.replace("shards: 2", &format!("shards: {shards}")))?;
    let file = streams.path().display().to_string();
    let args = ["--streams", file.as_str()];
    let (nats, data) = (Nats::start()?, tempfile::tempdir()?);
    let serve = Dev::serve(&nats, data.path(), &args).await?;
    let holders = holders(&serve.address, accounts).await?;
    if let Ok(window) = std::env::var("WINDOW") {
        tests::load::stream_on(&nats, &holders, 0, payments / 4, shards, window.parse()?).await?;
        for run in 0..env("RUNS", "3").parse()? {
        let (b, n0) = (cpu(serve.pid()?), cpu(nats.pid())); let me0 = cpu(std::process::id());
        let since = Instant::now();
        let profile = std::env::var("PERF").ok().map(|out| std::process::Command::new("perf").args(["record", "-q", "--call-graph", "dwarf,8192", "-F", "97", "-o", &format!("{out}.{run}"), "-p", &format!("{},{}", serve.pid().unwrap_or(0), nats.pid())]).spawn());
        tests::load::stream_on(&nats, &holders, payments * (run + 1), payments, shards, window.parse()?).await?;
        all_level(&operator(&serve.address)?, PATIENCE).await?;
        let took = since.elapsed();
        let (a, n1, me1) = (cpu(serve.pid()?), cpu(nats.pid()), cpu(std::process::id()));
        if let Some(Ok(mut child)) = profile { std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?; child.wait()?; }
        let us = |a: (u64, u64), b: (u64, u64)| (a.0 + a.1 - b.0 - b.1) * 100_000 / payments;
        println!("live run {run}: {took:?} {}/s; 0.1us per payment: serve {} nats {} me {}", payments as u128 * 1000 / took.as_millis(), us(a, b), us(n1, n0), us(me1, me0));
        }
        serve.interrupt().await?;
        return Ok(());
    }
    serve.interrupt().await?;
    let since = Instant::now();
    store_on(&nats, &holders, payments, shards).await?;
    println!("stored at {}/s", payments as u128 * 1000 / since.elapsed().as_millis());
    for run in 0..env("RUNS", "3").parse()? {
        if run > 0 { std::fs::remove_dir_all(data.path().join("models"))?; }
        let before = cpu(nats.pid());
        let since = Instant::now();
        let serve = Dev::serve(&nats, data.path(), &args).await?;
        let profile = std::env::var("PERF").ok().map(|out| std::process::Command::new("perf").args(["record", "-q", "--call-graph", "dwarf,8192", "-F", "97", "-o", &format!("{out}.{run}"), "-p", &format!("{},{}", serve.pid().unwrap_or(0), nats.pid())]).spawn());
        all_level(&operator(&serve.address)?, PATIENCE).await?;
        let took = since.elapsed();
        let (user, sys) = cpu(serve.pid()?);
        let after = cpu(nats.pid());
        println!("run {run}: {:?} {}/s; serve {user}+{sys} nats {}+{} ticks; per payment us serve {} nats {}", took, payments as u128 * 1000 / took.as_millis(), after.0 - before.0, after.1 - before.1, (user + sys) * 10_000 / payments, (after.0 - before.0 + after.1 - before.1) * 10_000 / payments);
        if let Some(Ok(mut child)) = profile { std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?; child.wait()?; }
        serve.interrupt().await?;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(())
}
