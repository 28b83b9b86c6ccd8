//! A campaign of faults against a bank of real processes: clients pay and watch, things break by a
//! seeded schedule, and in the end what clients were told is held against what the bank shows.

mod bank;
mod clients;
mod disk;
mod faults;
mod history;
pub mod proxy;
mod report;
mod schedule;
mod survey;
mod watchers;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use rustix::process::Signal;
use serde_json::json;
use tokio::{sync::Mutex, task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use report::Report;

use self::{
    bank::{Bank, signal},
    clients::{ANSWER_WAIT, CLIENTS, Payer, World},
    faults::Injected,
    history::{Watched, contradictions},
    schedule::Schedule,
    watchers::Heard,
};
use crate::{PATIENCE, audit_passes};

/// Payments have to flow again within this, whatever happened.
const FLOW_WAIT: Duration = Duration::from_secs(30);
/// Watchers have to have heard the last within this.
const HEAR_WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs a campaign of faults for `lasting` in `folder`, and says what it found.
///
/// # Errors
/// Where it could not be run at all.
pub async fn run(folder: &Path, seed: u64, lasting: Duration) -> anyhow::Result<Report> {
    let mut bank = Bank::start(folder).await?;
    let world = Arc::new(World::set_up(&bank).await?);
    let mut report = Report { seed, ..Report::default() };
    let stop = CancellationToken::new();
    let mut payers = JoinSet::new();
    for me in 0..CLIENTS {
        let payer = Payer::new(Arc::clone(&world), me, seed, stop.clone());
        payers.spawn(async move { (me, payer.run().await) });
    }
    let (heard, _watchers) = watch_all(&world);
    let freezer = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&world).keep_freezing()));
    let flow = Flow::start(&world);

    let since = Instant::now();
    for event in Schedule::new(seed).take_while(|_| since.elapsed() < lasting) {
        tokio::time::sleep(event.quiet).await;
        match faults::inject(&mut bank, &event).await? {
            Injected::Skipped(why) => drop(report.skipped.insert(event.fault, why)),
            Injected::At(from) => match flow.after(from).await {
                Some(took) => {
                    eprintln!("{:4}s {:?}: payments flow after {took:.2?}", since.elapsed().as_secs(), event.fault);
                    report.recoveries.entry(event.fault).or_default().push(took);
                }
                None => report.contradictions.push(format!("no payment was booked within {FLOW_WAIT:?} after {event:?}")),
            },
        }
        if let Err(error) = faults::all_run(&mut bank) {
            report.contradictions.push(format!("{error} after {event:?}"));
            break;
        }
    }
    stop.cancel();
    drop((flow, freezer));
    let mut histories = payers.join_all().await;
    histories.sort_by_key(|(me, _)| *me);
    let histories: Vec<_> = histories.into_iter().map(|(_, history)| history).collect();

    match survey::rest(&bank, &world).await {
        Ok(took) => report.rest = Some(took),
        Err(why) => report.contradictions.push(format!("{why:#}")),
    }
    let accounts = survey::accounts(&world, 0).await?;
    if accounts != survey::accounts(&world, 1).await? {
        report.contradictions.push("the two gateways show different accounts".to_owned());
    }
    let watched = all_heard(&heard, &accounts).await;
    report.contradictions.extend(contradictions(&histories, &watched, &accounts));
    report.count(&histories, &watched, &accounts);
    audit(&mut bank, &mut report).await?;
    Ok(report)
}

/// Half of the clients watch their transactions, the others their balances.
fn watch_all(world: &Arc<World>) -> (Vec<Heard>, Vec<AbortOnDropHandle<()>>) {
    let watch = |client: usize| {
        let watched = Watched { client, is_every: client.is_multiple_of(2), said: Vec::new(), reconnects: 0 };
        let heard = Arc::new(Mutex::new(watched));
        let task = tokio::spawn(watchers::watch(Arc::clone(world), Arc::clone(&heard)));
        (heard, AbortOnDropHandle::new(task))
    };
    (0..CLIENTS).map(watch).unzip()
}

/// Waits, bounded, until every watcher has heard the last version of its account.
async fn all_heard(heard: &[Heard], accounts: &[history::Account]) -> Vec<Watched> {
    let since = Instant::now();
    let mut all = Vec::new();
    for heard in heard {
        loop {
            let watched = heard.lock().await.clone();
            let last = watched.said.last().map_or(0, |(version, _)| *version);
            if last >= accounts[watched.client].entries.len() as u64 || since.elapsed() > HEAR_WAIT {
                all.push(watched);
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    all
}

/// Payments sent one after the other at both gateways in turn, to see when they flow.
struct Flow {
    booked: Arc<Mutex<Vec<(Instant, Instant)>>>,
    _task: AbortOnDropHandle<()>,
}

impl Flow {
    fn start(world: &Arc<World>) -> Self {
        let booked = Arc::default();
        let task = tokio::spawn(keep_paying(Arc::clone(world), Arc::clone(&booked)));
        Self { booked, _task: AbortOnDropHandle::new(task) }
    }

    /// How long after `from` the first payment was booked that was sent after it; none, if none is.
    async fn after(&self, from: Instant) -> Option<Duration> {
        while from.elapsed() < FLOW_WAIT {
            let first = self.booked.lock().await.iter().filter(|(sent, _)| *sent >= from).map(|(_, booked)| *booked).min();
            if let Some(first) = first {
                return Some(first.duration_since(from));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }
}

async fn keep_paying(world: Arc<World>, booked: Arc<Mutex<Vec<(Instant, Instant)>>>) {
    let (from, to) = (&world.probes[0], &world.probes[1]);
    let query = "mutation($input: InitiatePaymentInput!) { initiatePayment(input: $input, waitFor: FINAL) { payment { status } } }";
    let amount = json!({ "amount": "0.01", "currency": "EUR" });
    let input = json!({ "debtorAccountId": from.account, "creditorIban": to.iban, "amount": amount });
    for gateway in world.gateways.iter().cycle() {
        let sent = Instant::now();
        let post = from.client.at(gateway).post().timeout(ANSWER_WAIT);
        let answer = async { post.json(&json!({ "query": query, "variables": { "input": input } })).send().await?.json().await };
        if answer.await.is_ok_and(|answer: serde_json::Value| answer["data"]["initiatePayment"]["payment"]["status"] == "BOOKED") {
            booked.lock().await.push((sent, Instant::now()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets `audit` look at the live bank, and at its logs and read models once both `serve` have stopped.
async fn audit(bank: &mut Bank, report: &mut Report) -> anyhow::Result<()> {
    let mut note = |how: &str, outcome: anyhow::Result<String>| match outcome {
        Ok(said) => report.audits.push(format!("audit ({how}): {said}")),
        Err(why) => report.contradictions.push(format!("audit ({how}): {why:#}")),
    };
    note("live", audit_passes(&bank.nats_url, &[], PATIENCE).await);
    // In order, so that all that was folded is in the files.
    if let Err(why) = bank.serves.iter().try_for_each(|serve| signal(serve.pid()?, Signal::INT)) {
        note("stopped", Err(why.context("a serve does not run")));
    }
    let since = Instant::now();
    for serve in &mut bank.serves {
        while serve.runs()? && since.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if !serve.has_stopped_well()? {
            note("stopped", Err(anyhow!("a serve does not stop, or not well")));
            serve.kill()?;
        }
    }
    let data = [0, 1].map(|serve| bank.data(serve));
    note("stopped", audit_passes(&bank.nats_url, &data.each_ref().map(PathBuf::as_path), PATIENCE).await);
    Ok(())
}
