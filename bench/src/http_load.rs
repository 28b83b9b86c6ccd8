//! Load over HTTP/1.1 keep-alive, closed-loop for throughput, open-loop for latencies. It runs on one
//! thread of its own. This module must never know which server it is.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use hdrhistogram::Histogram;
use tokio::join;

use crate::{
    connection::Connection,
    cpu::{CpuSeconds, Group},
    load_thread::{LAST_WAIT, Pacer, Queue, Window, due_after, histogram, micros, on_own_thread},
    party::Party,
    requests::{Prepared, Requests},
};

/// Requests of an open loop that wait for a connection, at most: ten seconds of 20,000 a second. A server
/// that is as far behind cannot take the rate, and its latencies would say how long the run was.
const MOST_WAITING: usize = 200_000;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// `{ __typename }`, by a customer: what the server costs before any of its work.
    Typename,
    /// `initiatePayment` of a cent each, with an idempotency key each.
    Pay,
    /// `initiatePayments` of so many from one payer, at most 1,000.
    PayBulk(usize),
    /// `account { balance transactions(first: 20) }` of the payer, who has as many entries.
    Read,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each connection sends as soon as it has its answer; latencies say little then.
    Closed,
    /// So many requests a second in all, whether answers come or not; latencies count from when a request was due.
    Open(u64),
}

/// A load.
#[derive(Debug, Clone)]
pub struct HttpLoad {
    /// `host:port` of the server.
    pub address: String,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// What is asked.
    pub work: Work,
    /// When.
    pub pace: Pace,
    /// Who asks in turns, and pays others of these, drawn at random; two at least.
    pub parties: Arc<Vec<Party>>,
    /// Not measured, before it.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// Whose processor time is counted meanwhile.
    pub groups: Vec<Group>,
}

/// What came of a load, in the measured time only.
#[derive(Debug, Clone)]
pub struct LoadResult {
    /// Requests that were answered as they should be.
    pub requests: u64,
    /// Payments that these requests carried.
    pub payments: u64,
    /// Payments of all good answers, those of the warm-up and after the end too.
    pub accepted: u64,
    /// The time in which they were.
    pub elapsed: Duration,
    /// Of the good answers, in microseconds: since the request was sent (closed), or was due (open).
    pub latency: Histogram<u64>,
    /// Requests that were answered otherwise, or not at all; those of the warm-up too.
    pub errors: u64,
    /// What was wrong with the first of them.
    pub first_error: Option<String>,
    /// Processor time of those who were to be watched.
    pub cpu: CpuSeconds,
}

impl HttpLoad {
    /// Makes the load, on a thread of its own.
    ///
    /// # Errors
    /// Where a connection cannot be opened at the start. What fails later is counted.
    pub async fn run(self) -> anyhow::Result<LoadResult> {
        on_own_thread(|| self.make()).await
    }

    async fn make(self) -> anyhow::Result<LoadResult> {
        ensure!(self.parties.len() >= 2 && self.connections > 0, "a load needs two parties and a connection");
        let requests = Requests::new(&self.address, &self.parties)?;
        let open = stream::iter(0..self.connections).then(|_| Connection::open(&self.address));
        let connections: Vec<Connection> = open.try_collect().await.with_context(|| format!("connecting to {}", self.address))?;
        let window = Window::from_now(self.warm_up, self.duration);
        let counts = Counts { latency: histogram()?, requests: 0, payments: 0, accepted: 0, errors: 0, first_error: None };
        let groups = self.groups.clone();
        let client = Client { requests, window, turn: Cell::new(0), due: Queue::default(), counts: RefCell::new(counts), load: self };
        let all = connections.into_iter().map(|connection| client.serve(connection));
        let (cpu, _, paced) = join!(window.cpu(groups), join_all(all), client.pace());
        paced?;
        let Counts { latency, requests, payments, accepted, errors, first_error } = client.counts.into_inner();
        let elapsed = window.until - window.from;
        Ok(LoadResult { requests, payments, accepted, elapsed, latency, errors, first_error, cpu: cpu? })
    }
}

/// A number that looks random, the same for the same arguments (the finalizer of `SplitMix64`).
fn scatter(turn: usize, nth: usize) -> usize {
    let mut bits = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add((nth as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((bits ^ (bits >> 31)) >> 1).unwrap_or(0)
}

#[derive(Debug)]
struct Counts {
    latency: Histogram<u64>,
    requests: u64,
    payments: u64,
    accepted: u64,
    errors: u64,
    first_error: Option<String>,
}

struct Client {
    load: HttpLoad,
    requests: Requests,
    window: Window,
    /// Whose it is.
    turn: Cell<usize>,
    /// When requests of an open loop were due that no connection has taken yet.
    due: Queue<Instant>,
    counts: RefCell<Counts>,
}

impl Client {
    async fn pace(&self) -> anyhow::Result<()> {
        let paced = match self.load.pace {
            Pace::Closed => Ok(()),
            Pace::Open(per_second) => self.make_due(per_second).await,
        };
        self.due.close();
        paced
    }

    async fn make_due(&self, per_second: u64) -> anyhow::Result<()> {
        let pacer = Pacer::new()?;
        for number in 0.. {
            let due = self.window.start + due_after(number, per_second);
            if due >= self.window.until {
                break;
            }
            pacer.until(due).await?;
            if self.due.len() < MOST_WAITING {
                self.due.push(due);
            } else {
                self.count(due, Err(format!("{MOST_WAITING} requests wait for a connection: the server cannot keep up")), 0);
            }
        }
        Ok(())
    }

    /// The next request's time, from which its latency counts.
    async fn next(&self) -> Option<Instant> {
        match self.load.pace {
            Pace::Closed => Some(Instant::now()).filter(|now| *now < self.window.until),
            Pace::Open(_) => loop {
                let due = self.due.pop().await?;
                if Instant::now() < self.window.until + LAST_WAIT {
                    return Some(due);
                }
                self.count(due, Err(format!("not sent {LAST_WAIT:?} after the end: the server cannot keep up")), 0);
            },
        }
    }

    async fn serve(&self, mut connection: Connection) {
        while let Some(since) = self.next().await {
            let (payments, outcome) = match self.prepare() {
                Ok(prepared) => (prepared.expected.payments(), connection.exchange(prepared).await),
                Err(error) => (0, Err(error.to_string())),
            };
            self.count(since, outcome, payments);
        }
    }

    fn prepare(&self) -> anyhow::Result<Prepared> {
        let parties = &self.load.parties;
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        let caller = turn % parties.len();
        // Anybody else: neighbours would have their requests lock the same rows.
        let creditor = |nth: usize| &parties[(caller + 1 + scatter(turn, nth) % (parties.len() - 1)) % parties.len()];
        match self.load.work {
            Work::Typename => self.requests.typename(caller),
            Work::Read => self.requests.read(caller, &parties[caller].account),
            Work::Pay => self.requests.pay(caller, &parties[caller], (0..1).map(creditor)),
            Work::PayBulk(size) => self.requests.pay(caller, &parties[caller], (0..size).map(creditor)),
        }
    }

    /// A closed loop counts what ends in the measured time, an open one what was due in it.
    fn count(&self, since: Instant, outcome: Result<(), String>, payments: usize) {
        let now = Instant::now();
        let is_measured = match self.load.pace {
            Pace::Closed => self.window.holds(now),
            Pace::Open(_) => self.window.holds(since),
        };
        let mut counts = self.counts.borrow_mut();
        let payments = u64::try_from(payments).unwrap_or(u64::MAX);
        counts.accepted += if outcome.is_ok() { payments } else { 0 };
        match outcome {
            Ok(()) if is_measured => {
                counts.requests += 1;
                counts.payments += payments;
                counts.latency.saturating_record(micros(now - since));
            }
            Ok(()) => {}
            // Those of the warm-up too: a server that refuses then is none to be measured.
            Err(error) => {
                counts.errors += 1;
                counts.first_error.get_or_insert(error);
            }
        }
    }
}
