//! Load whose answers come over websockets: payments over HTTP, open-loop, and `balanceChanged` of their
//! creditors. This module must never know which server it is.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use hdrhistogram::Histogram;
use tokio::{join, task::spawn_local, time::timeout};

use crate::{
    connection::Connection,
    cpu::{CpuSeconds, Group},
    load_thread::{LAST_WAIT, Pacer, Queue, Window, due_after, histogram, micros, on_own_thread},
    party::Party,
    requests::{Prepared, Requests},
    subscriber::Subscriber,
};

/// How often it is looked whether the last messages have come.
const LAST_LOOK: Duration = Duration::from_millis(10);
/// Memory is at rest once it has changed by less than the hundredth part for long enough; and how long that is waited for.
const REST_PART: u64 = 100;
const REST_WAIT: Duration = Duration::from_secs(60);
const REST_LOOK: Duration = Duration::from_millis(500);
/// Websockets that are opened at once: fewer than a listener's backlog.
const OPENED_AT_ONCE: usize = 64;

/// A load of payments, and of subscribers who watch what they bring.
#[derive(Debug, Clone)]
pub struct PushLoad {
    /// `host:port` of the server.
    pub address: String,
    /// Who pays, in turns. Nobody watches these.
    pub payers: Arc<Vec<Party>>,
    /// Who is paid, in turns; each has a websocket of its own. None of these may be a payer, or be paid
    /// by anybody else meanwhile.
    pub creditors: Arc<Vec<Party>>,
    /// Connections over which payments are sent.
    pub connections: usize,
    /// Payments a second, whether answers come or not.
    pub per_second: u64,
    /// Payments in one request: 1 is `initiatePayment`, more are `initiatePayments`.
    pub per_request: usize,
    /// Not measured, before it.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// Server processes whose memory is read before and after the websockets are opened, if any; the load waits until it
    /// is at rest. It says something only of servers that had no load before: what they freed since, they would use again.
    pub server_pids: Vec<u32>,
    /// How long their memory is then the same: longer than the pauses between what a process does by itself.
    pub memory_rest: Duration,
    /// Whose processor time is counted in the measured time.
    pub groups: Vec<Group>,
}

/// What came of it, in the measured time only.
#[derive(Debug, Clone)]
pub struct PushResult {
    /// Payments that were due.
    pub payments: u64,
    /// Payments that were sent, those of the warm-up too.
    pub sent: u64,
    /// Time in which they were due.
    pub elapsed: Duration,
    /// Of each payment whose message came, in microseconds, from when the payment was due until its creditor had it.
    pub latency: Histogram<u64>,
    /// Payments whose message did not come within ten seconds after the end, requests that were refused, and messages that were not
    /// as they should be.
    pub errors: u64,
    /// What was wrong with the first of them.
    pub first_error: Option<String>,
    /// Of the server processes together, before websockets were opened, in KiB.
    pub memory_before_kib: u64,
    /// The same, with all websockets open and each subscribed, before the first payment.
    pub memory_after_kib: u64,
    /// Processor time of those who were to be watched.
    pub cpu: CpuSeconds,
}

impl PushResult {
    /// Bytes of the servers' memory a subscriber.
    #[must_use]
    pub fn bytes_a_subscriber(&self, subscribers: u64) -> u64 {
        self.memory_after_kib.saturating_sub(self.memory_before_kib) * 1_024 / subscribers.max(1)
    }
}

impl PushLoad {
    /// Makes the load, on a thread of its own.
    ///
    /// # Errors
    /// Where a connection cannot be opened, or subscribers do not hear the first balance. What fails later is counted.
    pub async fn run(self) -> anyhow::Result<PushResult> {
        on_own_thread(|| self.make()).await
    }

    async fn make(self) -> anyhow::Result<PushResult> {
        ensure!(!self.payers.is_empty() && self.creditors.len() >= self.per_request, "a request needs a payer and as many creditors");
        ensure!(self.per_request > 0 && self.connections > 0, "a load needs a connection and payments");
        let open = stream::iter(0..self.connections).then(|_| Connection::open(&self.address));
        let connections: Vec<Connection> = open.try_collect().await.with_context(|| format!("connecting to {}", self.address))?;
        let memory_before_kib = memory_at_rest_kib(&self.server_pids, self.memory_rest).await?;
        let subscribers = subscribe(&self.address, &self.creditors).await?;
        let memory_after_kib = memory_at_rest_kib(&self.server_pids, self.memory_rest).await?;

        let (window, groups) = (Window::from_now(self.warm_up, self.duration), self.groups.clone());
        let client = Rc::new(Client::new(self, window)?);
        for (creditor, subscriber) in subscribers.into_iter().enumerate() {
            client.free.push(creditor);
            spawn_local(Rc::clone(&client).listen(creditor, subscriber));
        }
        let all = connections.into_iter().map(|connection| client.send(connection));
        let (cpu, _, paced) = join!(window.cpu(groups), join_all(all), client.pace());
        paced?;
        client.await_last().await;
        let counts = client.counts.borrow();
        let Counts { latency, due: payments, sent, errors, first_error } = counts.clone();
        let elapsed = window.until - window.from;
        Ok(PushResult { payments, sent, elapsed, latency, errors, first_error, memory_before_kib, memory_after_kib, cpu: cpu? })
    }
}

/// One websocket each, all of which have heard their first balance.
async fn subscribe(address: &str, creditors: &[Party]) -> anyhow::Result<Vec<Subscriber>> {
    let open = |creditor| Subscriber::open(address, creditor);
    stream::iter(creditors).map(open).buffered(OPENED_AT_ONCE).try_collect().await
}

/// The same once it no longer changes: what a process takes and gives back when it was started is not the subscribers'.
async fn memory_at_rest_kib(pids: &[u32], at_rest: Duration) -> anyhow::Result<u64> {
    if pids.is_empty() {
        return Ok(0);
    }
    let started = Instant::now();
    let (mut since, mut rest) = (started, memory_kib(pids)?);
    while since.elapsed() < at_rest {
        ensure!(started.elapsed() < REST_WAIT, "the memory of the server did not come to rest within {REST_WAIT:?}");
        tokio::time::sleep(REST_LOOK).await;
        let now = memory_kib(pids)?;
        if now.abs_diff(rest) * REST_PART > rest {
            (since, rest) = (Instant::now(), now);
        }
    }
    memory_kib(pids)
}

/// Resident memory of these processes together.
fn memory_kib(pids: &[u32]) -> anyhow::Result<u64> {
    let one = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|line| line.split_whitespace().next()).context("a resident set")?;
        anyhow::Ok(kib.parse::<u64>()?)
    };
    pids.iter().map(one).sum()
}

/// What a creditor waits for. It has one payment under way at most, so each message belongs to one payment.
#[derive(Debug, Default)]
struct Waiting {
    due: Cell<Option<Instant>>,
}

struct Payments {
    due: Instant,
    creditors: Vec<usize>,
    turn: usize,
}

#[derive(Debug, Clone)]
struct Counts {
    latency: Histogram<u64>,
    due: u64,
    sent: u64,
    errors: u64,
    first_error: Option<String>,
}

struct Client {
    load: PushLoad,
    requests: Requests,
    window: Window,
    waiting: Vec<Waiting>,
    /// Creditors with no payment under way. Who waits longest for one is next.
    free: Queue<usize>,
    /// Bounded by the number of creditors.
    payments: Queue<Payments>,
    counts: RefCell<Counts>,
}

impl Client {
    fn new(load: PushLoad, window: Window) -> anyhow::Result<Self> {
        let requests = Requests::new(&load.address, &load.payers)?;
        let waiting = load.creditors.iter().map(|_| Waiting::default()).collect();
        let counts = RefCell::new(Counts { latency: histogram()?, due: 0, sent: 0, errors: 0, first_error: None });
        Ok(Self { load, requests, window, waiting, free: Queue::default(), payments: Queue::default(), counts })
    }

    async fn pace(&self) -> anyhow::Result<()> {
        let paced = self.make_due().await;
        self.payments.close();
        paced
    }

    /// Makes payments due. Where every creditor waits for a message, payments wait too, and their time counts on.
    async fn make_due(&self) -> anyhow::Result<()> {
        let pacer = Pacer::new()?;
        let together = u64::try_from(self.load.per_request)?;
        for number in 0.. {
            let due = self.window.start + due_after(number * together, self.load.per_second);
            if due >= self.window.until {
                break;
            }
            pacer.until(due).await?;
            let mut creditors = Vec::with_capacity(self.load.per_request);
            while creditors.len() < self.load.per_request {
                let free = timeout(LAST_WAIT, self.free.pop()).await.ok().flatten();
                creditors.push(free.context("no message came to any creditor for ten seconds")?);
            }
            let mut counts = self.counts.borrow_mut();
            counts.sent += together;
            counts.due += if self.window.holds(due) { together } else { 0 };
            drop(counts);
            self.payments.push(Payments { due, creditors, turn: usize::try_from(number)? });
        }
        Ok(())
    }

    async fn send(&self, mut connection: Connection) {
        while let Some(payments) = self.payments.pop().await {
            for creditor in &payments.creditors {
                self.waiting[*creditor].due.set(Some(payments.due));
            }
            let outcome = match self.prepare(&payments) {
                Ok(prepared) => connection.exchange(prepared).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = outcome {
                self.give_up(&payments, error);
            }
        }
    }

    fn prepare(&self, payments: &Payments) -> anyhow::Result<Prepared> {
        let payer = payments.turn % self.load.payers.len();
        let creditors = payments.creditors.iter().map(|creditor| &self.load.creditors[*creditor]);
        self.requests.pay(payer, &self.load.payers[payer], creditors)
    }

    /// Those of a request that was not answered well, as far as no message of them has come.
    fn give_up(&self, payments: &Payments, error: String) {
        for creditor in &payments.creditors {
            if self.waiting[*creditor].due.take().is_some() {
                self.fail(error.clone());
                self.free.push(*creditor);
            }
        }
    }

    async fn listen(self: Rc<Self>, creditor: usize, mut subscriber: Subscriber) {
        loop {
            match subscriber.next_version().await {
                Ok(()) => self.heard(creditor),
                Err(error) => return self.fail(format!("the websocket of {}: {error}", self.load.creditors[creditor].account)),
            }
        }
    }

    fn heard(&self, creditor: usize) {
        let Some(due) = self.waiting[creditor].due.take() else {
            return self.fail("a message came of a payment that nobody waited for".to_owned());
        };
        if self.window.holds(due) {
            self.counts.borrow_mut().latency.saturating_record(micros(due.elapsed()));
        }
        self.free.push(creditor);
    }

    /// Waits for the messages of all that was sent, and counts those that do not come.
    async fn await_last(&self) {
        let last = Instant::now() + LAST_WAIT;
        let missing = || self.waiting.iter().filter(|waiting| waiting.due.get().is_some()).count();
        while missing() > 0 && Instant::now() < last {
            tokio::time::sleep(LAST_LOOK).await;
        }
        for _ in 0..missing() {
            self.fail(format!("a message did not come within {LAST_WAIT:?} after the end"));
        }
    }

    fn fail(&self, error: String) {
        let mut counts = self.counts.borrow_mut();
        counts.errors += 1;
        counts.first_error.get_or_insert(error);
    }
}
