//! A read model whose code changed, against a real nats-server.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, WriteTransaction};
use streams::{Broker, CommandAppender, Cursor, Host, LogName, Record, Topology};
use tests::{Nats, PATIENCE, eventually};
use tokio::{sync::RwLock, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{Changes, Layers, Projection, ReadModel, Shelf, StoreError, fold::GATHERED_ROWS};

const STREAMS: &str = "
shards: 1
stream: {storage: file, retention: limits, discard: new, num_replicas: 1, max_msgs: -1, max_bytes: -1, deny_delete: true, deny_purge: true}
logs:
  - {name: numbers, owner: gateway, readers: [tally]}
";
const SUM: TableDefinition<&str, u64> = TableDefinition::new("sum");

/// The sum, where it changed. One that is heavy is written at once, and only while nobody has the disk.
struct Sum<const HEAVY: bool>(Option<u64>);

/// What heavy ones are written to, and whether one of them is about to be.
static DISK: RwLock<()> = RwLock::const_new(());
static IS_WRITING: AtomicBool = AtomicBool::new(false);

impl<const HEAVY: bool> Changes for Sum<HEAVY> {
    type File = ReadOnlyTable<&'static str, u64>;

    fn open(tx: &ReadTransaction, _before: Option<&Self::File>) -> Result<Self::File, StoreError> {
        Ok(tx.open_table(SUM)?)
    }

    fn begin(_file: &Self::File) -> Result<Self, StoreError> {
        Ok(Self(None))
    }

    fn next(&mut self) -> Self {
        Self(None)
    }

    fn rows(&self) -> usize {
        if HEAVY && self.0.is_some() { GATHERED_ROWS } else { usize::from(self.0.is_some()) }
    }

    fn write(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        if HEAVY {
            IS_WRITING.store(true, Ordering::Relaxed);
            drop(DISK.blocking_read());
        }
        if let Some(sum) = self.0 {
            tx.open_table(SUM)?.insert("sum", sum)?;
        }
        Ok(())
    }
}

impl<const HEAVY: bool> Layers<Sum<HEAVY>> {
    fn sum(&self) -> Result<u64, StoreError> {
        match self.recent(|changes| changes.0) {
            Some(sum) => Ok(sum),
            None => Ok(self.file.get("sum")?.map_or(0, |sum| sum.value())),
        }
    }
}

/// Adds up numbers, each as often as its version says; while its gate is held, it folds nothing.
struct Tally<const VERSION: u32, const HEAVY: bool = false> {
    gate: Arc<RwLock<()>>,
}

impl<const VERSION: u32, const HEAVY: bool> Projection for Tally<VERSION, HEAVY> {
    const READER: &'static str = "tally";
    const VERSION: u32 = VERSION;
    const READABLE_SINCE: u32 = 1;
    type Changes = Sum<HEAVY>;
    type Touched = ();

    fn create_tables(&self, tx: &WriteTransaction) -> Result<(), StoreError> {
        tx.open_table(SUM)?;
        Ok(())
    }

    fn fold(&self, rows: &Shelf<Sum<HEAVY>>, record: &Record, (): &mut ()) -> Result<(), StoreError> {
        drop(tokio::task::block_in_place(|| self.gate.blocking_read()));
        let numbers = record.events::<u64>()?;
        let mut rows = rows.change();
        rows.fresh.0 = Some(rows.sum()? + numbers.iter().sum::<u64>() * u64::from(VERSION));
        Ok(())
    }

    fn announce(&self, (): ()) {}

    fn announce_all(&self) {}
}

impl<const VERSION: u32, const HEAVY: bool> ReadModel<Tally<VERSION, HEAVY>> {
    fn sum(&self) -> Result<u64, StoreError> {
        self.rows()?.read()?.sum()
    }
}

async fn host(nats: &Nats) -> Host {
    let broker = Broker::connect(&nats.url()).await.expect("connects");
    let topology = Topology::parse(STREAMS, "streams.yaml").expect("good");
    streams::apply(&broker, &topology).await.expect("applies");
    Host::new(broker, Arc::new(topology))
}

type Running = JoinHandle<Result<(), streams::Fault>>;

fn run<const V: u32>(folder: &Path, host: &Host, gate: &Arc<RwLock<()>>) -> (Arc<ReadModel<Tally<V>>>, Running) {
    run_as(folder, host, gate)
}

fn run_as<const V: u32, const H: bool>(folder: &Path, host: &Host, gate: &Arc<RwLock<()>>) -> (Arc<ReadModel<Tally<V, H>>>, Running) {
    let model = Arc::new(ReadModel::new(folder, None, Tally::<V, H> { gate: Arc::clone(gate) }));
    let (runs, host) = (Arc::clone(&model), host.clone());
    (model, tokio::spawn(async move { runs.run(&host).await }))
}

async fn append(host: &Host, numbers: impl Iterator<Item = u64>) {
    let log = host.broker.log(LogName::new("numbers", None));
    let appender = CommandAppender::start(log, Arc::new(Cursor::default), CancellationToken::new());
    for number in numbers {
        appender.append(number).await.expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_an_older_version_serves_until_its_successor_is_level() {
    const COUNT: u64 = 2_000;
    let nats = Nats::start().expect("a nats-server");
    let folder = tempfile::tempdir().expect("a folder");
    let before = host(&nats).await;
    append(&before, std::iter::repeat_n(1, usize::try_from(COUNT).expect("small"))).await;
    let (model, running) = run::<1>(folder.path(), &before, &Arc::default());
    eventually("all is folded", || async { Ok((model.sum().ok() == Some(COUNT)).then_some(())) }).await.expect("folded");
    before.stop.cancel();
    running.await.expect("no panic").expect("no fault");
    drop(model);

    let after = host(&nats).await;
    let gate = Arc::default();
    let held = RwLock::write(&gate).await;
    let (model, running) = run::<2>(folder.path(), &after, &gate);
    model.level().await;
    assert_eq!(model.sum().expect("a sum"), COUNT, "the old one serves while the new one is built");
    drop(held);
    let mut seen = Vec::new();
    let watch = async {
        while seen.last() != Some(&(2 * COUNT)) {
            seen.push(model.sum().expect("a sum"));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.expect("the successor serves");
    assert!(seen.iter().all(|sum| [COUNT, 2 * COUNT].contains(sum)), "nothing half-built is shown: {seen:?}");
    append(&after, [5].into_iter()).await;
    eventually("it folds on", || async { Ok((model.sum()? == 2 * COUNT + 10).then_some(())) }).await.expect("folded");
    after.stop.cancel();
    running.await.expect("no panic").expect("no fault");
    assert!(!folder.path().join("tally.redb.next").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_a_version_that_cannot_be_read_is_set_aside() {
    let nats = Nats::start().expect("a nats-server");
    let folder = tempfile::tempdir().expect("a folder");
    let before = host(&nats).await;
    append(&before, 1..=3).await;
    let (model, running) = run::<0>(folder.path(), &before, &Arc::default());
    model.level().await;
    before.stop.cancel();
    running.await.expect("no panic").expect("no fault");
    drop(model);
    let after = host(&nats).await;
    let (model, _running) = run::<1>(folder.path(), &after, &Arc::default());
    model.level().await;
    assert_eq!(model.sum().expect("a sum"), 6);
    assert!(folder.path().join("tally.redb.aside").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_file_is_written_is_folded_meanwhile() {
    let nats = Nats::start().expect("a nats-server");
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(&nats).await;
    let (model, running) = run_as::<1, true>(folder.path(), &host, &Arc::default());
    model.level().await;
    let disk = DISK.write().await;
    append(&host, 1..=1).await;
    eventually("as much as may gather is written", || async { Ok(IS_WRITING.load(Ordering::Relaxed).then_some(())) }).await.expect("begun");
    append(&host, 2..=2).await;
    eventually("both are folded", || async { Ok((model.sum()? == 3).then_some(())) }).await.expect("folded");
    drop(disk);
    host.stop.cancel();
    running.await.expect("no panic").expect("no fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_is_as_empty_as_the_old_one_does_not_serve_before_it_is_level() {
    const COUNT: u64 = 500;
    let nats = Nats::start().expect("a nats-server");
    let folder = tempfile::tempdir().expect("a folder");
    let before = host(&nats).await;
    let (model, running) = run::<1>(folder.path(), &before, &Arc::default());
    model.level().await;
    before.stop.cancel();
    running.await.expect("no panic").expect("no fault");
    drop(model);
    let after = host(&nats).await;
    append(&after, std::iter::repeat_n(1, usize::try_from(COUNT).expect("small"))).await;
    let gate = Arc::default();
    let held = RwLock::write(&gate).await;
    let (model, running) = run::<2>(folder.path(), &after, &gate);
    drop(held);
    model.level().await;
    let sum = model.sum().expect("a sum");
    assert!([COUNT, 2 * COUNT].contains(&sum), "{sum}");
    let is_up = || async { Ok((after.health.conditions().get(model.name()) == Some(&streams::Condition::Up)).then_some(())) };
    eventually("it is up", is_up).await.expect("up");
    after.stop.cancel();
    running.await.expect("no panic").expect("no fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_going_to_be_shown_is_known_before_it_can_be_read_and_is_not_forgotten() {
    let nats = Nats::start().expect("a nats-server");
    let folder = tempfile::tempdir().expect("a folder");
    let (host, numbers) = (host(&nats).await, LogName::new("numbers", None));
    let gate = Arc::default();
    let (model, running) = run::<1>(folder.path(), &host, &gate);
    model.level().await;
    let held = RwLock::write(&gate).await;
    append(&host, 1..=1).await;
    eventually("the fold has begun", || async { Ok((model.shows(&numbers) == 1).then_some(())) }).await.expect("begun");
    assert_eq!((model.sum().expect("a sum"), model.rests_on(&numbers)), (0, 0), "nothing of it can be read yet");
    drop(held);
    eventually("it is folded", || async { Ok((model.rests_on(&numbers) == 1).then_some(())) }).await.expect("folded");
    host.stop.cancel();
    running.await.expect("no panic").expect("no fault");
    assert!(model.sum().is_err(), "it cannot be asked any more");
    assert_eq!(model.shows(&numbers), 1, "and who asked before may still have seen it");
}
