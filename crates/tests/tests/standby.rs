//! What an engine does before it writes: standing by, folding a long log, and beginning anew after a fault.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

mod counter;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use counter::{Counter, Shelf, count_with, feed, host, numbers, sums};
use streams::{Chain, Checkpoint, Condition, Cursor, Draft, Engine, Fault, Host, Log, Mark};
use tests::Nats;
use tokio::task::JoinHandle;

/// A process with a counter.
struct Process {
    host: Host,
    shelf: Shelf,
    running: JoinHandle<Result<(), Fault>>,
}

impl Process {
    async fn start(nats: &Nats) -> Self {
        let (host, shelf) = (host(nats).await, Shelf::default());
        let running = tokio::spawn(count_with(host.clone(), Counter { shelf: shelf.clone(), ..Counter::default() }));
        Self { host, shelf, running }
    }

    fn stands_by(&self) -> bool {
        self.host.health.conditions().get(&sums()) == Some(&Condition::StandingBy)
    }
}

/// Two of them, of which one writes and the other stands by, and the sum so far.
async fn writer_and_standby(nats: &Nats) -> ([Process; 2], u64) {
    let mut both = [Process::start(nats).await, Process::start(nats).await];
    let mut sum = 0;
    while both[0].stands_by() == both[1].stands_by() {
        feed(&both[0].host.broker, 1).await;
        sum += 1;
        assert!(sum < 1_000, "none was ever fenced");
    }
    both.sort_by_key(Process::stands_by);
    (both, sum)
}

/// As many sums, from 0 on, a record each.
async fn fill(log: &Log, records: u64) {
    let mut before = Chain::default();
    for sum in 0..records {
        let draft = Draft::new(&[(0_u64, sum)], &Cursor::default(), Vec::new()).expect("encodes").chained(before);
        log.append(&draft, Some(sum)).await.expect("stored");
        before = draft.chain.expect("it is chained");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_by_folds_along_and_takes_over_where_it_is() {
    let nats = Nats::start().expect("a nats-server");
    let ([writer, Process { host: standby, shelf, .. }], sum) = writer_and_standby(&nats).await;
    let log = standby.broker.log(sums());
    feed(&standby.broker, 100).await;
    let all = sum + 100 * 101 / 2;
    let has_all = || async { Ok((shelf.last.load(Ordering::Relaxed) == all).then_some(())) };
    tests::eventually("it has folded all there is", has_all).await.expect("folded");
    writer.host.stop.cancel();
    writer.running.await.expect("no panic").expect("no fault");
    let (folded, last) = (shelf.folded.load(Ordering::Relaxed), log.info().await.expect("a log").last);
    feed(&standby.broker, 1).await;
    let is_said = || async { Ok((log.info().await.is_ok_and(|info| info.last > last)).then_some(())) };
    tests::eventually("the other goes on", is_said).await.expect("said");
    assert_eq!(shelf.folded.load(Ordering::Relaxed), folded, "it folds nothing once more");
    let said = log.follow(Mark::at(last)).next().await.expect("no fault");
    assert_eq!(said.decode::<(u64, u64)>().expect("known events"), [(1, all + 1)], "that number, and no other");
    let read = standby.broker.log(numbers()).info().await.expect("a log").last;
    assert_eq!(said.cursor.get(&numbers()), read);
    standby.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_folded_once_however_often_that_is_interrupted() {
    /// More than are folded between two snapshots.
    const RECORDS: u64 = 2_100;
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    fill(&host.broker.log(sums()), RECORDS).await;
    let shelf = Shelf::default();
    let engine = tokio::spawn(count_with(host.clone(), Counter { shelf: shelf.clone(), ..Counter::default() }));
    tests::eventually("a snapshot", || async { Ok((shelf.saved().0.own.seq > 0).then_some(())) }).await.expect("taken");
    engine.abort();
    assert!(engine.await.expect_err("it ends").is_cancelled());
    let (Checkpoint { own, .. }, sum) = shelf.saved();
    assert_eq!(sum, own.seq - 1, "the state is that of its place");
    let again = Shelf { saved: Arc::clone(&shelf.saved), ..Shelf::default() };
    host.health.note(&sums(), Condition::Starting);
    tokio::spawn(count_with(host.clone(), Counter { shelf: again.clone(), ..Counter::default() }));
    let is_up = || async { Ok((host.health.conditions().get(&sums()) == Some(&Condition::Up)).then_some(())) };
    tests::eventually("it is up", is_up).await.expect("up");
    assert_eq!(again.folded.load(Ordering::Relaxed), RECORDS - own.seq);
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_panics_says_so_and_is_run_again() {
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let runs = Arc::new(AtomicU64::new(0));
    let work = {
        let runs = Arc::clone(&runs);
        move || {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                (run > 0).then_some(()).expect("what a mistake took for granted");
                Ok(())
            }
        }
    };
    host.run(sums(), work);
    let said = || async { Ok(host.health.is_halted(&sums()).then_some(())) };
    tests::eventually("it says so", said).await.expect("said");
    let condition = host.health.conditions().get(&sums()).map(ToString::to_string);
    assert_eq!(condition.as_deref(), Some("halted: sums panicked: what a mistake took for granted"));
    tests::eventually("it is run again", || async { Ok((runs.load(Ordering::Relaxed) == 2).then_some(())) }).await.expect("run");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_write_snapshots_goes_on_however_long_its_log_is() {
    /// More than are folded until a second snapshot is due on the way.
    const RECORDS: u64 = 4_200;
    let nats = Nats::start().expect("a nats-server");
    let host = host(&nats).await;
    let log = host.broker.log(sums());
    fill(&log, RECORDS).await;
    let start = host.clone();
    host.run(sums(), move || {
        let counter = Counter { has_full_disk: true, ..Counter::default() };
        let host = start.clone();
        async move { Engine::new(&host, "counter", sums(), counter).run().await }
    });
    feed(&host.broker, 1).await;
    let is_said = || async { Ok((log.info().await.is_ok_and(|info| info.last > RECORDS)).then_some(())) };
    tests::eventually("the number is added", is_said).await.expect("said");
    host.stop.cancel();
}
