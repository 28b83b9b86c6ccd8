//! Stores that are not what they were: logs that lost their tail or were swapped, read models that
//! were deleted or damaged.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{fs, path::Path, sync::Arc};

use domain::{AccountId, Shard};
use streams::{
    Broker, Checkpoint, CommandAppender, Cursor, Engine, Fault, Host, LogInfo, LogName, Record, Service, Snapshot, Step, Topology,
};
use tests::{Client, Dev, Nats, load::operator};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

const SHARDS: u16 = 2;

/// Two customers with an account each, on one shard.
struct Pair {
    from: Client,
    account: String,
    to: Client,
    target: String,
    iban: String,
}

impl Pair {
    async fn on(shard: u16, address: &str, operator: &Client) -> Self {
        let (from, account, _) = holder(shard, "Payer", address).await;
        let (to, target, iban) = holder(shard, "Payee", address).await;
        operator.deposit(&account, "1000.00", "EUR").await.expect("deposited");
        Self { from, account, to, target, iban }
    }

    async fn pay(&self, address: &str) -> anyhow::Result<String> {
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"1.00\", currency: \"EUR\"}}}}",
            self.account, self.iban
        );
        let mutation = format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} errors {{ code }} }} }}");
        let data = self.from.at(address).execute(&mutation).await?;
        Ok(data["initiatePayment"]["payment"]["id"].as_str().expect("an id").to_owned())
    }

    async fn book(&self, address: &str, count: usize) {
        for _ in 0..count {
            let id = self.pay(address).await.expect("accepted");
            assert_eq!(self.from.at(address).final_status(&id).await.expect("final"), "BOOKED");
        }
    }

    /// The creditor's balance and version, waited for until it has `entries` of them.
    async fn credited(&self, address: &str, entries: usize) -> serde_json::Value {
        let query = format!("{{ account(id: \"{}\") {{ balance {{ booked {{ amount }} version }} }} }}", self.target);
        tests::eventually("the credits", || async {
            let Ok(data) = self.to.at(address).execute(&query).await else { return Ok(None) };
            let balance = data["account"]["balance"].clone();
            Ok((balance["version"] == entries).then_some(balance))
        })
        .await
        .expect("credited")
    }
}

async fn holder(shard: u16, name: &str, address: &str) -> (Client, String, String) {
    for number in 0.. {
        let client = Client::new(address, None).register(&format!("{name}{shard}x{number}")).await.expect("registered");
        let (account, iban) = client.open_account("EUR").await.expect("opened");
        if Shard::of(account.parse::<AccountId>().expect("an id"), SHARDS) == Shard(shard) {
            return (client, account, iban);
        }
    }
    unreachable!("one of the customers lives on each shard")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn swap(from: &Path, to: &Path) {
    fs::remove_dir_all(to).expect("removed");
    copy(from, to);
}

/// Waits until these parts have halted because of `log`; says how all of them stand.
async fn halted_by(log: &str, parts: &[&str], serve: &Dev) -> serde_json::Value {
    tests::eventually("the shard is halted", || async {
        let (is_ready, all) = serve.ready().await?;
        let is_halted = |part: &&str| all[*part].as_str().is_some_and(|text| text.starts_with("halted") && text.contains(log));
        assert!(!is_ready || !parts.iter().any(is_halted), "what is halted is not ready");
        Ok(parts.iter().all(is_halted).then_some(all))
    })
    .await
    .expect("halted")
}

/// A deposit under a key, which might have been used for an account of a shard that cannot be asked.
async fn is_refused_for_now(operator: &Client, account: &str) {
    let input = format!("{{accountId: \"{account}\", amount: {{amount: \"5.00\", currency: \"EUR\"}}, idempotencyKey: \"k\"}}");
    let deposit = format!("mutation {{ deposit(input: {input}) {{ payment {{ id }} errors {{ code }} }} }}");
    let error = operator.execute(&deposit).await.expect_err("refused").to_string();
    assert!(error.contains("UNAVAILABLE"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_tail_halts_its_shard_and_no_other() {
    let mut nats = Nats::start().expect("a nats-server");
    let (data, before) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    let zero = Pair::on(0, &serve.address, &operator).await;
    let one = Pair::on(1, &serve.address, &operator).await;
    zero.book(&serve.address, 3).await;
    let mut watcher = zero.to.at(&serve.address).socket().await.expect("a socket");
    let watch = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", zero.target);
    watcher.subscribe("1", &watch).await.expect("sent");
    watcher.next("balanceChanged").await.expect("the balance");
    nats.kill().expect("killed");
    copy(&nats.stream_folder("fraud-0"), before.path());
    nats.start_again().expect("started");
    tests::eventually("payments flow", || async { Ok(zero.pay(&serve.address).await.ok()) }).await.expect("accepted");
    zero.credited(&serve.address, 4).await;
    nats.kill().expect("killed");
    swap(before.path(), &nats.stream_folder("fraud-0"));
    nats.start_again().expect("started");

    tests::eventually("payments of the other shard flow", || async { Ok(one.pay(&serve.address).await.ok()) }).await.expect("accepted");
    one.credited(&serve.address, 1).await;
    let parts = halted_by("fraud-0", &["ledger-0", "overview-0", "payment-history-0"], &serve).await;
    for part in ["payments-1", "fraud-1", "ledger-1", "overview-1", "payment-history-1", "accounts", "directory"] {
        assert_eq!(parts[part], "up", "{part} goes on: {parts}");
    }
    while !watcher.hear().await.expect("who watches hears of it").to_string().contains("UNAVAILABLE") {}
    // Started again, it comes to the same end, also where no snapshot of the owner has seen what is lost.
    serve.kill().await.expect("killed");
    for file in ["state/fraud-0.redb", "models/payment-history-0.redb"] {
        fs::remove_file(data.path().join(file)).expect("removed");
    }
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    halted_by("fraud-0", &["fraud-0", "ledger-0"], &serve).await;
    is_refused_for_now(&operator.at(&serve.address), &one.target).await;
    let id = tests::eventually("payments of the other shard flow", || async { Ok(one.pay(&serve.address).await.ok()) }).await;
    assert!(id.is_ok());
}

/// Takes all records of a log away, by nats-server's own protocol.
async fn purge(nats: &Nats, log: &str) {
    let purging = async {
        let mut wire = TcpStream::connect(nats.url().trim_start_matches("nats://")).await?;
        let inbox = "_INBOX.purge";
        wire.write_all(format!("CONNECT {{}}\r\nSUB {inbox} 1\r\nPUB $JS.API.STREAM.PURGE.{log} {inbox} 0\r\n\r\n").as_bytes()).await?;
        let mut lines = BufReader::new(wire).lines();
        while let Some(line) = lines.next_line().await? {
            if line.contains("purge_response") {
                return Ok::<_, std::io::Error>(line);
            }
        }
        Ok(String::new())
    };
    let answer = tokio::time::timeout(tests::PATIENCE, purging).await.expect("an answer").expect("a connection");
    assert!(answer.contains("\"success\":true"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_purged_halts_its_shard() {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let streams = data.path().join("streams.yaml");
    fs::write(&streams, include_str!("../../../streams.yaml").replace("deny_purge: true", "deny_purge: false")).expect("written");
    let arguments = ["--streams", streams.to_str().expect("text")];
    let serve = Dev::serve(&nats, data.path(), &arguments).await.expect("up");
    let zero = Pair::on(0, &serve.address, &operator(&serve.address).expect("a token")).await;
    zero.book(&serve.address, 3).await;
    assert!(serve.interrupt().await.expect("it ends").1);
    purge(&nats, "ledger-0").await;
    let serve = Dev::serve(&nats, data.path(), &arguments).await.expect("up again");
    halted_by("ledger-0", &["ledger-0", "overview-0", "payment-history-0"], &serve).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_that_are_deleted_or_damaged_come_back_equal() {
    let nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    let pairs = [Pair::on(0, &serve.address, &operator).await, Pair::on(1, &serve.address, &operator).await];
    for pair in &pairs {
        pair.book(&serve.address, 20).await;
    }
    let mut serve = serve;
    let damages: [fn(&Path); 4] = [
        |file| fs::remove_file(file).expect("removed"),
        |file| fs::write(file, b"no database at all").expect("written"),
        |file| {
            let length = fs::metadata(file).expect("a file").len();
            fs::File::options().write(true).open(file).expect("opens").set_len(length / 2).expect("truncated");
        },
        flip_bytes,
    ];
    for (round, damage) in damages.into_iter().enumerate() {
        serve.interrupt().await.expect("it ends");
        for folder in ["models", "state"] {
            for entry in fs::read_dir(data.path().join(folder)).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|extension| extension == "redb") {
                    damage(&path);
                }
            }
        }
        serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
        for pair in &pairs {
            let balance = pair.credited(&serve.address, 20 + round).await;
            assert_eq!(balance["booked"]["amount"], format!("{}.00", 20 + round));
            pair.book(&serve.address, 1).await;
        }
    }
    assert!(data.path().join("models/overview-0.redb.aside").exists(), "the damaged file is kept");
}

/// Damages each page in the second half of a file.
fn flip_bytes(file: &Path) {
    const PAGE_BYTES: usize = 4096;
    let mut bytes = fs::read(file).expect("a file");
    let half = bytes.len() / 2;
    bytes[half..].iter_mut().skip(100).step_by(PAGE_BYTES).for_each(|byte| *byte = !*byte);
    fs::write(file, bytes).expect("written");
}

const STREAMS: &str = "
shards: 1
stream: {storage: file, retention: limits, discard: new, num_replicas: 1, max_msgs: -1, max_bytes: -1, deny_delete: true, deny_purge: true}
logs:
  - {name: numbers, owner: gateway, readers: [copier]}
  - {name: copies, owner: copier, readers: [nobody]}
";

/// Says every number again.
struct Copier;

impl Service for Copier {
    type Event = u64;

    fn restore(&mut self) -> Result<Checkpoint, Fault> {
        Ok(Checkpoint::default())
    }

    fn evolve(&mut self, _: &u64) {}

    fn decide(&mut self, input: &Record, step: &mut Step<u64>) -> Result<(), Fault> {
        input.decode()?.into_iter().for_each(|number| step.say(number, None));
        Ok(())
    }

    fn snapshot(&mut self, _: &Checkpoint) -> Snapshot {
        Box::new(|| Ok(()))
    }
}

async fn feed(broker: &Broker, numbers: std::ops::Range<u64>) {
    let log = broker.log(LogName::new("numbers", None));
    let appender = CommandAppender::start(log, Arc::new(Cursor::default), CancellationToken::new());
    for number in numbers {
        tests::eventually("stored", || async { Ok(appender.append(number).await.ok()) }).await.expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_lost_its_tail_and_grew_again_is_recognised_by_who_reads_it_all_the_while() {
    let mut nats = Nats::start().expect("a nats-server");
    let before = tempfile::tempdir().expect("a folder");
    let broker = Broker::connect(&nats.url()).await.expect("connects");
    let topology = Arc::new(Topology::parse(STREAMS, "streams.yaml").expect("good"));
    streams::apply(&broker, &topology).await.expect("applies");
    feed(&broker, 0..5).await;
    nats.kill().expect("killed");
    copy(&nats.stream_folder("numbers"), before.path());
    nats.start_again().expect("started");
    let engine = Engine::new(&Host::new(broker.clone(), Arc::clone(&topology)), "copier", LogName::new("copies", None), Copier).run();
    let engine = tokio::spawn(engine);
    let (numbers, copies) = (LogName::new("numbers", None), broker.log(LogName::new("copies", None)));
    feed(&broker, 5..8).await;
    tests::eventually("all were read", || async {
        let LogInfo { last, created, .. } = copies.info().await.map_err(|why| anyhow::anyhow!(why))?;
        let is_read = last > 0 && copies.read(last, created).await.map_err(|why| anyhow::anyhow!(why))??.cursor.get(&numbers) == 8;
        Ok(is_read.then_some(()))
    })
    .await
    .expect("read");

    nats.kill().expect("killed");
    swap(before.path(), &nats.stream_folder("numbers"));
    nats.start_again().expect("started");
    // As fast as the connection is back: three take the places of those that are lost, and the next is handed on here.
    feed(&broker, 100..120).await;
    let fault = tokio::time::timeout(tests::PATIENCE, engine).await.expect("in time").expect("no panic").expect_err("it halts");
    assert!(matches!(&fault, Fault::Replaced { log, .. } if *log == numbers), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_lost_its_tail_and_grew_again_is_recognised() {
    let mut nats = Nats::start().expect("a nats-server");
    let before = tempfile::tempdir().expect("a folder");
    let broker = Broker::connect(&nats.url()).await.expect("connects");
    let topology = Arc::new(Topology::parse(STREAMS, "streams.yaml").expect("good"));
    streams::apply(&broker, &topology).await.expect("applies");
    let start = || Engine::new(&Host::new(broker.clone(), Arc::clone(&topology)), "copier", LogName::new("copies", None), Copier).run();
    feed(&broker, 0..5).await;
    nats.kill().expect("killed");
    copy(&nats.stream_folder("numbers"), before.path());
    nats.start_again().expect("started");
    feed(&broker, 5..10).await;
    let engine = tokio::spawn(start());
    let copies = broker.log(LogName::new("copies", None));
    tests::eventually("all are copied", || async {
        let mut log = copies.follow(streams::Mark::default());
        let last = copies.info().await.map(|info| info.last).unwrap_or_default();
        let mut count = 0;
        for _ in 0..last {
            count += log.next().await?.events::<u64>()?.len();
        }
        Ok((count == 10).then_some(()))
    })
    .await
    .expect("copied");
    engine.abort();

    nats.kill().expect("killed");
    swap(before.path(), &nats.stream_folder("numbers"));
    nats.start_again().expect("started");
    feed(&broker, 100..120).await;
    let fault = tokio::time::timeout(tests::PATIENCE, start()).await.expect("in time").expect_err("it halts");
    assert!(matches!(&fault, Fault::Replaced { log, .. } if log.as_str() == "numbers"), "{fault}");
}
