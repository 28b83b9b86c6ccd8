//! What happens beyond what the machine can take: bulks of payments at ten times the rate that was
//! found to be sustainable, for a minute, sent whether or not earlier ones were answered. Prints how
//! they were answered, how long refusals took, and the memory of both processes; fails where an
//! accepted payment is missing or a refused one was stored.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tests::{
    Dev, Nats, audit_passes,
    load::{Holder, all_level, entries, holders, operator, until_entries},
    memory_mib,
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

const HOLDERS: usize = 200;
const BULK: usize = 500;
/// Bulks under way at once while the sustainable rate is looked for.
const CALM_AT_ONCE: usize = 8;
const CALM: Duration = Duration::from_secs(10);
const OVERLOAD: Duration = Duration::from_secs(60);
const TIMES: u32 = 10;
/// A single payment is sent this often meanwhile, as a customer would.
const PROBE_EVERY: Duration = Duration::from_millis(100);
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// Longest that working off may take here, far more than was seen.
const LONG: Duration = Duration::from_secs(600);

/// How bulks were answered.
#[derive(Debug, Default)]
struct Answers {
    /// How many, and how long they took in microseconds, by answer.
    by: BTreeMap<String, Histogram<u64>>,
    accepted: u64,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn main() -> anyhow::Result<()> {
    println!("load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    let (nats, data) = (Nats::start()?, tempfile::tempdir()?);
    let serve = Dev::serve(&nats, data.path(), &[]).await?;
    let holders = holders(&serve.address, HOLDERS).await?;
    let bulks = Arc::new((0..HOLDERS).map(|from| bulk(&holders, from)).collect::<Vec<_>>());
    let before = entries(&holders).await?;

    let (calm, took) = calm(&holders, &bulks, before).await?;
    let rate = calm.accepted * 1_000 / u64::try_from(took.as_millis())?.max(1);
    println!("sustainable: {} payments accepted and booked in {took:.1?}: {rate}/s", calm.accepted);
    let memory = || anyhow::Ok((memory_mib(serve.pid()?)?, memory_mib(nats.pid())?));
    println!("memory before: serve {} MiB, nats-server {} MiB", memory()?.0, memory()?.1);

    let since = Instant::now();
    let most = Arc::new(Mutex::new((0, 0)));
    let sampler = tokio::spawn(sample(serve.pid()?, nats.pid(), Arc::clone(&most)));
    let probes = tokio::spawn(probe(holders[0].clone(), holders[1].iban.clone()));
    let answers = overload(&holders, &bulks, rate * u64::from(TIMES)).await?;
    let (probed, probe_codes) = probes.await??;
    println!("offered: {TIMES} times that for {OVERLOAD:?}, {BULK} payments a request");
    for (answer, latency) in &answers.by {
        println!("{:>8} bulks {answer}: {}", latency.len(), quantiles(latency));
    }
    println!("{} payments accepted, {}/s", answers.accepted, answers.accepted / OVERLOAD.as_secs());
    println!(
        "{:>8} single payments meanwhile, each every {PROBE_EVERY:?}: {probe_codes:?}, to BOOKED {}",
        probed.len(),
        quantiles(&probed)
    );
    // One that is not final after ten seconds is answered with how far it has come.
    let singles: u64 = ["ACCEPTED", "VALIDATED", "CHECKED", "BOOKED"].iter().filter_map(|status| probe_codes.get(*status)).sum();
    let accepted = calm.accepted + answers.accepted + singles;
    until_entries(&holders, before + 2 * accepted, LONG).await.context("as many payments are booked as were accepted")?;
    println!("all {accepted} that were accepted are booked {:.1?} after the overload", since.elapsed().saturating_sub(OVERLOAD));
    // What is booked in the end, and not on the way to more.
    all_level(&operator(&serve.address)?, LONG).await?;
    until_entries(&holders, before + 2 * accepted, Duration::ZERO).await.context("nothing is booked that was not accepted")?;
    sampler.abort();
    let (serve_most, nats_most) = *most.lock().await;
    println!("memory at most: serve {serve_most} MiB, nats-server {nats_most} MiB; now {:?} MiB", memory()?);

    ensure!(serve.interrupt().await?.1, "serve stops");
    println!("audit: {}", audit_passes(&nats.url(), &[data.path()], LONG).await?);
    Ok(())
}

/// The body of a request in which holder `from` pays a cent to each of the next.
fn bulk(holders: &[Holder], from: usize) -> Vec<u8> {
    let input = |number: usize| {
        let to = &holders[(from + 1 + number % (holders.len() - 1)) % holders.len()];
        json!({"debtorAccountId": holders[from].account.to_string(), "creditorIban": to.iban, "amount": {"amount": "0.01", "currency": "EUR"}})
    };
    let query = "mutation($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { errors { code } } }";
    let inputs: Vec<Value> = (0..BULK).map(input).collect();
    json!({"query": query, "variables": {"inputs": inputs}}).to_string().into_bytes()
}

/// Sends a bulk; says how it was answered.
async fn send(holder: &Holder, body: Vec<u8>) -> String {
    let Ok(response) = holder.client.post().header(CONTENT_TYPE, "application/json").body(body).send().await else {
        return "no connection".to_owned();
    };
    let status = response.status();
    match response.json::<Value>().await {
        Ok(answer) => match answer["errors"][0]["extensions"]["code"].as_str() {
            Some(code) => format!("{code} (HTTP {})", status.as_u16()),
            None => "accepted".to_owned(),
        },
        Err(_) => "no answer".to_owned(),
    }
}

fn note(answers: &mut Answers, answer: String, took: Duration) -> anyhow::Result<()> {
    if answer == "accepted" {
        answers.accepted += BULK as u64;
    }
    let histogram = match answers.by.entry(answer) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(new) => new.insert(Histogram::new(3)?),
    };
    Ok(histogram.record(u64::try_from(took.as_micros())?)?)
}

/// A few bulks at a time, each sender waiting for its answer; until all are booked, on top of the
/// entries `before`.
async fn calm(holders: &[Holder], bulks: &Arc<Vec<Vec<u8>>>, before: u64) -> anyhow::Result<(Answers, Duration)> {
    let since = Instant::now();
    let mut senders = JoinSet::new();
    for sender in 0..CALM_AT_ONCE {
        let (holders, bulks) = (holders.to_vec(), Arc::clone(bulks));
        senders.spawn(async move {
            let mut answers = Vec::new();
            for from in (0..holders.len()).cycle().skip(sender * (HOLDERS / CALM_AT_ONCE)) {
                if since.elapsed() > CALM {
                    break;
                }
                let at = Instant::now();
                answers.push((send(&holders[from], bulks[from].clone()).await, at.elapsed()));
            }
            answers
        });
    }
    let mut answers = Answers::default();
    while let Some(some) = senders.join_next().await {
        some?.into_iter().try_for_each(|(answer, took)| note(&mut answers, answer, took))?;
    }
    until_entries(holders, before + 2 * answers.accepted, LONG).await?;
    Ok((answers, since.elapsed()))
}

/// Sends `rate` payments a second, in bulks, whatever becomes of them.
async fn overload(holders: &[Holder], bulks: &[Vec<u8>], rate: u64) -> anyhow::Result<Answers> {
    let mut tick = interval(Duration::from_secs(BULK as u64) / u32::try_from(rate)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let since = Instant::now();
    let mut sent = JoinSet::new();
    let mut answers = Answers::default();
    for from in (0..holders.len()).cycle() {
        let due = tick.tick().await;
        if since.elapsed() > OVERLOAD {
            break;
        }
        let (holder, body) = (holders[from].clone(), bulks[from].clone());
        sent.spawn(async move { (send(&holder, body).await, due.elapsed()) });
        while let Some(done) = sent.try_join_next() {
            let (answer, took) = done?;
            note(&mut answers, answer, took)?;
        }
    }
    while let Some(done) = sent.join_next().await {
        let (answer, took) = done?;
        note(&mut answers, answer, took)?;
    }
    Ok(answers)
}

/// A customer who pays now and then and waits for the end.
async fn probe(holder: Holder, iban: String) -> anyhow::Result<(Histogram<u64>, BTreeMap<String, u64>)> {
    let amount = "{amount: \"0.01\", currency: \"EUR\"}";
    let input = format!("{{debtorAccountId: \"{}\", creditorIban: \"{iban}\", amount: {amount}}}", holder.account);
    let query = format!("mutation {{ initiatePayment(input: {input}, waitFor: FINAL) {{ payment {{ status }} }} }}");
    let (since, mut tick) = (Instant::now(), interval(PROBE_EVERY));
    let (mut histogram, mut codes) = (Histogram::new(3)?, BTreeMap::new());
    while since.elapsed() < OVERLOAD {
        tick.tick().await;
        let at = Instant::now();
        let answer = holder.client.send(json!({ "query": query })).await?;
        let code = answer["errors"][0]["extensions"]["code"].as_str();
        let outcome = code.or_else(|| answer["data"]["initiatePayment"]["payment"]["status"].as_str()).context("an answer")?;
        if outcome == "BOOKED" {
            histogram.record(u64::try_from(at.elapsed().as_micros())?)?;
        }
        *codes.entry(outcome.to_owned()).or_default() += 1;
    }
    Ok((histogram, codes))
}

async fn sample(serve: u32, nats: u32, most: Arc<Mutex<(u64, u64)>>) -> anyhow::Result<()> {
    let mut tick = interval(SAMPLE_EVERY);
    loop {
        tick.tick().await;
        let mut most = most.lock().await;
        *most = (most.0.max(memory_mib(serve)?), most.1.max(memory_mib(nats)?));
    }
}

fn quantiles(latency: &Histogram<u64>) -> String {
    let at = |quantile| Duration::from_micros(latency.value_at_quantile(quantile));
    format!("p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(0.5), at(0.99), at(1.0))
}
