//! A service that adds up numbers, for whoever tries the engine. This module must never judge what it says.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use streams::{Broker, Checkpoint, CommandAppender, Cursor, Engine, Fault, Host, LogName, Mark, Record, Service, Snapshot, Step, Topology};
use tests::{Nats, PATIENCE};
use tokio_util::sync::CancellationToken;

pub const STREAMS: &str = "
shards: 1
stream: {storage: file, retention: limits, discard: new, num_replicas: 1, max_msgs: -1, max_bytes: -1, deny_delete: true, deny_purge: true}
logs:
  - {name: numbers, owner: gateway, readers: [counter]}
  - {name: sums, owner: counter, readers: [nobody]}
";

/// What a counter keeps, how many sums of its log it has folded, and the last of those that it folded or said.
#[derive(Clone, Default)]
pub struct Shelf {
    pub saved: Arc<Mutex<(Checkpoint, u64)>>,
    pub folded: Arc<AtomicU64>,
    pub last: Arc<AtomicU64>,
}

impl Shelf {
    pub fn saved(&self) -> (Checkpoint, u64) {
        self.saved.lock().expect("whole").clone()
    }
}

/// Adds up the numbers that it reads, and says each with the sum so far.
#[derive(Default)]
pub struct Counter {
    pub sum: u64,
    pub shelf: Shelf,
    /// Whether its snapshots cannot be written.
    pub has_full_disk: bool,
    /// Told each number before it is said.
    pub about_to_say: Option<Box<dyn Fn(u64) + Send + Sync>>,
}

impl Service for Counter {
    type Event = (u64, u64);

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        let (checkpoint, sum) = self.shelf.saved();
        self.sum = sum;
        Ok(checkpoint)
    }

    fn evolve(&mut self, (_, sum): &(u64, u64)) {
        self.sum = *sum;
        self.shelf.folded.fetch_add(1, Ordering::Relaxed);
        self.shelf.last.store(*sum, Ordering::Relaxed);
    }

    fn decide(&mut self, input: &Record, step: &mut Step<(u64, u64)>) -> Result<(), Fault> {
        for number in input.decode::<u64>()? {
            self.sum += number;
            self.shelf.last.store(self.sum, Ordering::Relaxed);
            self.about_to_say.iter().for_each(|tell| tell(number));
            step.say((number, self.sum), None);
        }
        Ok(())
    }

    fn snapshot(&mut self, checkpoint: &Checkpoint) -> Snapshot {
        let (saved, snapshot) = (Arc::clone(&self.shelf.saved), (checkpoint.clone(), self.sum));
        let has_full_disk = self.has_full_disk;
        Box::new(move || {
            if has_full_disk {
                return Err(Fault::Store { file: "shelf".to_owned(), why: "the disk is full".to_owned() });
            }
            *saved.lock().expect("whole") = snapshot;
            Ok(())
        })
    }
}

pub fn numbers() -> LogName {
    LogName::new("numbers", None)
}

pub fn sums() -> LogName {
    LogName::new("sums", None)
}

pub async fn host(nats: &Nats) -> Host {
    let broker = Broker::connect(&nats.url()).await.expect("connects");
    let topology = Topology::parse(STREAMS, "streams.yaml").expect("good");
    streams::apply(&broker, &topology).await.expect("applies");
    Host::new(broker, Arc::new(topology))
}

/// Runs the counter on a host.
pub async fn count(host: Host) -> Result<(), Fault> {
    count_with(host, Counter::default()).await
}

pub async fn count_with(host: Host, counter: Counter) -> Result<(), Fault> {
    Engine::new(&host, "counter", sums(), counter).run().await
}

/// Feeds 1 to `count`, a record each.
pub async fn feed(broker: &Broker, count: u64) {
    let appender = CommandAppender::start(broker.log(numbers()), Arc::new(Cursor::default), CancellationToken::new());
    for number in 1..=count {
        appender.append(number).await.expect("stored");
    }
}

/// Reads the sums until `count` numbers were said; checks that each was said once, in order, on a
/// cursor that never goes back.
pub async fn check(broker: &Broker, count: u64) {
    let mut log = broker.log(sums()).follow(Mark::default());
    let (mut expected, mut cursor) = (0, 0);
    while expected < count {
        let record = tokio::time::timeout(PATIENCE, log.next()).await.expect("in time").expect("no fault");
        let rests_on = record.cursor.get(&numbers());
        assert!(rests_on >= cursor, "the cursor goes back from {cursor} to {rests_on}");
        cursor = rests_on;
        for (number, sum) in record.decode::<(u64, u64)>().expect("known events") {
            expected += 1;
            assert_eq!((number, sum), (expected, expected * (expected + 1) / 2));
        }
    }
}

/// How many numbers were said in all, as far as the log goes now.
pub async fn said_in_all(broker: &Broker) -> u64 {
    let last = broker.log(sums()).info().await.expect("a log").last;
    let mut log = broker.log(sums()).follow(Mark::default());
    let mut said = 0;
    loop {
        let record = tokio::time::timeout(PATIENCE, log.next()).await.expect("in time").expect("no fault");
        said += record.decode::<(u64, u64)>().expect("known events").len() as u64;
        if record.seq == last {
            return said;
        }
    }
}
