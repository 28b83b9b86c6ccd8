//! The auditor against a real bank: good ones pass, and what is planted is named.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{cell::Cell, fs, path::Path, process::Output};

use domain::{
    AccountId, Shard,
    ledger::{LedgerEvent, Leg, Transaction},
};
use redb::{Database, Key, ReadableTable as _, TableDefinition, Value};
use serde_json::Value as Json;
use streams::Cursor;
use tempfile::TempDir;
use tests::{
    Client, Dev, Nats,
    load::{all_level, operator},
    plant::{Copied, copy},
};

const SHARDS: u16 = 2;

struct Holder {
    client: Client,
    account: String,
    iban: String,
}

async fn holder(shard: u16, name: &str, address: &str) -> Holder {
    for number in 0.. {
        let client = Client::new(address, None).register(&format!("{name}{number}")).await.expect("registered");
        let (account, iban) = client.open_account("EUR").await.expect("opened");
        if Shard::of(account.parse::<AccountId>().expect("an id"), SHARDS) == Shard(shard) {
            return Holder { client, account, iban };
        }
    }
    unreachable!("one of the customers lives on each shard")
}

impl Holder {
    async fn pay(&self, to: &Self, amount: &str) -> Json {
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"{amount}\", currency: \"EUR\"}}}}",
            self.account, to.iban
        );
        let mutation = format!("mutation {{ initiatePayment(input: {input}, waitFor: FINAL) {{ payment {{ id status }} }} }}");
        self.client.execute(&mutation).await.expect("an answer")["initiatePayment"]["payment"].clone()
    }

    async fn set_status(&self, operator: &Client, status: &str) {
        let input = format!("{{accountId: \"{}\", status: {status}}}", self.account);
        operator.execute(&format!("mutation {{ setAccountStatus(input: {input}) {{ errors {{ code }} }} }}")).await.expect("set");
    }
}

/// Payments of every kind: within and between shards, rejected, held, released, returned.
async fn payments(address: &str, operator: &Client) {
    let (lisa, david, ada) = (holder(0, "Lisa", address).await, holder(1, "David", address).await, holder(0, "Ada", address).await);
    operator.deposit(&lisa.account, "100.00", "EUR").await.expect("deposited");
    operator.deposit(&david.account, "100.00", "EUR").await.expect("deposited");
    for (from, to, amount, status) in [
        (&lisa, &ada, "1.00", "BOOKED"),
        (&lisa, &david, "2.00", "BOOKED"),
        (&david, &lisa, "3.00", "BOOKED"),
        (&lisa, &ada, "4.00", "BOOKED"),
        (&ada, &lisa, "49.00", "REJECTED"),
        (&lisa, &david, "60.00", "HELD"),
    ] {
        assert_eq!(from.pay(to, amount).await["status"], status);
    }
    let held = lisa.pay(&david, "55.00").await;
    let review = format!("mutation {{ reviewPayment(input: {{paymentId: {}, decision: RELEASE}}) {{ errors {{ code }} }} }}", held["id"]);
    operator.execute(&review).await.expect("reviewed");
    assert_eq!(lisa.client.final_status(held["id"].as_str().expect("an id")).await.expect("final"), "BOOKED");
    // A debit that meets an account that was frozen meanwhile comes back.
    tests::eventually("one is returned", || async {
        let paid = futures_util::future::join_all((0..4).map(|_| lisa.pay(&david, "0.01")));
        let (paid, ()) = tokio::join!(paid, david.set_status(operator, "FROZEN"));
        david.set_status(operator, "OPEN").await;
        Ok(paid.iter().any(|payment| payment["status"] == "RETURNED").then_some(()))
    })
    .await
    .expect("returned");
}

/// A bank that has stopped, and its data folder.
async fn bank() -> (Nats, TempDir) {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &["--hold-from", "5000"]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    payments(&serve.address, &operator).await;
    all_level(&operator, tests::PATIENCE).await.expect("level");
    assert!(serve.interrupt().await.expect("it ends").1);
    (nats, data)
}

async fn audit(nats: &str, data: Option<&Path>) -> (Option<i32>, Json) {
    let mut arguments = vec!["audit", "--json", "--nats", nats];
    let data = data.map(|path| path.to_str().expect("text"));
    arguments.extend(data.into_iter().flat_map(|path| ["--data", path]));
    report(&Dev::output(&arguments).await.expect("it runs"))
}

fn report(output: &Output) -> (Option<i32>, Json) {
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

/// Whether a violation of a check is listed for a log, record and event.
fn names(report: &Json, check: &str, log: &str, place: (u64, Option<u64>)) -> bool {
    let is_it = |found: &Json| {
        (found["check"].as_str(), found["log"].as_str()) == (Some(check), Some(log))
            && (found["seq"].as_u64(), found["event"].as_u64()) == (Some(place.0), place.1)
    };
    report["listed"].as_array().expect("a list").iter().any(is_it)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_passes_while_it_runs_and_when_it_has_stopped() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &["--hold-from", "5000"]).await.expect("up");
    let folder = data.path().to_str().expect("text");
    let token = Dev::output(&["token", "--role", "operator", "--data", folder]).await.expect("a token");
    let operator = Client::new(&dev.address, Some(String::from_utf8(token.stdout).expect("text").trim()));
    let arguments = ["audit", "--json", "--data", folder];
    let address = dev.address.clone();
    let (rounds, is_audited) = (Cell::new(0), Cell::new(false));
    let traffic = async {
        while !is_audited.get() {
            payments(&address, &operator).await;
            rounds.set(rounds.get() + 1);
        }
    };
    let audited = async {
        let (code, report) = report(&Dev::output(&arguments).await.expect("it runs"));
        assert_eq!((code, &report["violations"]), (Some(0), &0.into()), "{report:#}");
        assert_eq!(report["models"][0]["state"]["not-compared"], "it is in use by a running process");
        is_audited.set(true);
    };
    tokio::time::timeout(tests::PATIENCE, async { tokio::join!(traffic, audited) }).await.expect("the audit ends");
    assert!(dev.interrupt().await.expect("it ends").1);
    let (code, report) = report(&Dev::output(&arguments).await.expect("it runs"));
    assert_eq!(code, Some(0), "{report:#}");
    assert!(report["models"].as_array().expect("a list").iter().all(|model| model["state"] == "compared" && model["rows"] != 0));
    let sum = |field: &str| {
        report["shards"].as_array().expect("a list").iter().map(|shard| shard["payments"][field].as_u64()).sum::<Option<u64>>()
    };
    assert_eq!((sum("under_way"), sum("held")), (Some(0), Some(rounds.get())));
    assert!(sum("returned") > Some(0) && sum("rejected") > Some(0));
}

/// Plants something at the first booking of this kind in ledger-0; says where.
async fn plant(nats: &Nats, is_it: fn(&Leg) -> bool, mut change: impl FnMut(&mut Copied, usize)) -> (Nats, (u64, Option<u64>)) {
    let mut place = None;
    let copied = copy(nats, |record| {
        let found = record.events.iter().position(|event| matches!(event, LedgerEvent::Booked(booked) if is_it(&booked.leg)));
        if let (Some(index), None, 0) = (found, place, record.log.shard().unwrap_or(0)) {
            place = Some((record.seq, Some(index as u64 + 1)));
            change(record, index);
        }
    })
    .await
    .expect("copied");
    (copied, place.expect("there is one"))
}

fn booked(record: &mut Copied, index: usize) -> &mut Transaction {
    match &mut record.events[index] {
        LedgerEvent::Booked(transaction) => transaction,
        LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } | LedgerEvent::Rejected { .. } => {
            unreachable!("a booking")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_into_the_logs_is_named() {
    let (nats, _data) = bank().await;
    let outgoing = |leg: &Leg| matches!(leg, Leg::Outgoing { .. });
    let incoming = |leg: &Leg| matches!(leg, Leg::Incoming { .. });
    let any = |_: &Leg| true;
    let same = copy(&nats, |_| {}).await.expect("copied");
    let (code, report) = audit(&same.url(), None).await;
    assert_eq!(code, Some(0), "a copy that is not changed passes: {report:#}");

    let (copied, (seq, event)) = plant(&nats, outgoing, |record, index| record.events.insert(index, record.events[index].clone())).await;
    expect(&copied, "payments", "ledger-0", (seq, event.map(|event| event + 1)), "a duplicated debit").await;
    let (copied, _) = plant(&nats, incoming, |record, index| drop(record.events.remove(index))).await;
    let (code, report) = audit(&copied.url(), None).await;
    let is_missing = |found: &Json| found["check"] == "credits" && found["log"] == "ledger-1" && found["event"].is_u64();
    assert!(code == Some(1) && report["listed"].as_array().expect("a list").iter().any(is_missing), "a missing credit: {report:#}");
    let (copied, place) = plant(&nats, any, |record, index| booked(record, index).postings[1].version += 1).await;
    expect(&copied, "versions", "ledger-0", place, "a version gap").await;
    let (copied, place) = plant(&nats, any, |record, index| booked(record, index).postings[1].amount_minor += 1).await;
    expect(&copied, "sums", "ledger-0", place, "a cent too much").await;
    let (copied, (seq, _)) = plant(&nats, outgoing, |record, _| record.cursor = Cursor::default()).await;
    expect(&copied, "cursors", "ledger-0", (seq, None), "a cursor that goes back").await;
}

async fn expect(nats: &Nats, check: &str, log: &str, place: (u64, Option<u64>), what: &str) {
    let (code, report) = audit(&nats.url(), None).await;
    assert!(code == Some(1) && names(&report, check, log, place), "{what} at {place:?}: {report:#}");
}

type Change = fn(&Path);

/// Puts each of the first two rows of a table in the other's place.
fn swap_rows<K: Key + Copy + for<'a> Value<SelfType<'a> = K> + 'static>(file: &Path, table: TableDefinition<K, &[u8]>) {
    let db = Database::open(file).expect("opens");
    let tx = db.begin_write().expect("begins");
    {
        let mut table = tx.open_table(table).expect("a table");
        let row = |row: Result<(redb::AccessGuard<'_, K>, redb::AccessGuard<'_, &[u8]>), _>| {
            let (key, value) = row.expect("a row");
            (key.value(), value.value().to_vec())
        };
        let rows: Vec<(K, Vec<u8>)> = table.iter().expect("rows").take(2).map(row).collect();
        table.insert(rows[0].0, rows[1].1.as_slice()).expect("put");
        table.insert(rows[1].0, rows[0].1.as_slice()).expect("put");
    }
    tx.commit().expect("committed");
}

/// Changes what the first account has booked: in a chunk, the numbers of all follow their ids, six of each.
fn change_balance(file: &Path) {
    let db = Database::open(file).expect("opens");
    let tx = db.begin_write().expect("begins");
    {
        let mut table = tx.open_table(TableDefinition::<(u64, u32), &[u8]>::new("balances")).expect("a table");
        let (place, mut chunk) = {
            let (place, chunk) = table.first().expect("rows").expect("a chunk");
            (place.value(), chunk.value().to_vec())
        };
        let ids = chunk.len() / (16 + 6 * 8) * 16;
        chunk[ids + 7] ^= 1;
        table.insert(place, chunk.as_slice()).expect("put");
    }
    tx.commit().expect("committed");
}

/// Empties the filters by which balances are found, which are the ends of their runs' heads: all are there, and nobody finds them.
fn empty_filters(file: &Path) {
    /// How many entries there are, and the first key of the only chunk.
    const BEFORE_FILTER: usize = 8 + 16;
    let db = Database::open(file).expect("opens");
    let tx = db.begin_write().expect("begins");
    {
        let mut table = tx.open_table(TableDefinition::<(u64, u32), &[u8]>::new("balance-heads")).expect("a table");
        let mut heads = Vec::new();
        for row in table.iter().expect("rows") {
            let (place, head) = row.expect("a head");
            heads.push((place.value(), head.value().to_vec()));
        }
        for (place, mut head) in heads {
            head[BEFORE_FILTER..].fill(0);
            table.insert(place, head.as_slice()).expect("put");
        }
    }
    tx.commit().expect("committed");
}

/// Changes the last field of a row that lies in a block, where it is the last one.
fn change_row(file: &Path, blocks: &str) {
    let db = Database::open(file).expect("opens");
    let tx = db.begin_write().expect("begins");
    {
        let mut table = tx.open_table(TableDefinition::<u64, &[u8]>::new(blocks)).expect("a table");
        let (first, mut block) = {
            let (first, block) = table.last().expect("rows").expect("a block");
            (first.value(), block.value().to_vec())
        };
        *block.last_mut().expect("a row") ^= 1;
        table.insert(first, block.as_slice()).expect("put");
    }
    tx.commit().expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_of_a_read_model_is_named() {
    let (nats, data) = bank().await;
    let (code, report) = audit(&nats.url(), Some(data.path())).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert!(report["models"].as_array().expect("a list").iter().all(|model| model["state"] == "compared"));
    let unreadable = data.path().join("models/overview-9.redb");
    fs::write(&unreadable, b"no database at all").expect("written");
    let (code, report) = audit(&nats.url(), Some(data.path())).await;
    assert_eq!((code, &report["passed"], &report["violations"]), (Some(2), &false.into(), &0.into()), "{report:#}");
    fs::remove_file(unreadable).expect("removed");
    let plants: [(&str, Change); 5] = [
        ("overview-0.redb", change_balance),
        ("overview-0.redb", empty_filters),
        ("overview-1.redb", |file| change_row(file, "entry-blocks")),
        ("payment-history-0.redb", |file| change_row(file, "payment-blocks")),
        ("directory.redb", |file| swap_rows(file, TableDefinition::<[u8; 16], &[u8]>::new("customers"))),
    ];
    for (file, change) in plants {
        let path = data.path().join("models").join(file);
        let before = fs::read(&path).expect("a file");
        change(&path);
        let (code, report) = audit(&nats.url(), Some(data.path())).await;
        let listed = report["listed"].as_array().expect("a list");
        let is_named = |found: &Json| found["check"] == "models" && found["model"] == path.to_str().expect("text") && found["seq"].is_u64();
        assert!(code == Some(1) && !listed.is_empty() && listed.iter().all(is_named), "{file}: {report:#}");
        fs::write(&path, before).expect("put back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_look_says_so() {
    let output = Dev::output(&["audit", "--nats", "nats://127.0.0.1:1"]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("no nats-server answers") && said.trim().lines().count() == 1, "{said}");
    let empty = Nats::start().expect("a nats-server");
    let output = Dev::output(&["audit", "--nats", &empty.url()]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no log"));
    let data = tempfile::tempdir().expect("a folder");
    for file in ["lock", "models"] {
        fs::write(data.path().join(file), b"").expect("written");
    }
    let output = Dev::output(&["audit", "--nats", &empty.url(), "--data", data.path().to_str().expect("text")]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("models cannot be listed"));
}
