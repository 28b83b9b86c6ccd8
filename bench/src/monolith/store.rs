//! What is asked of PostgreSQL. A payment is written by a connection of its own from a pool, since a connection has
//! one transaction at a time; reads share two connections and are pipelined on them. This module must never know GraphQL.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::notify::{Change, Notifier};

/// Transactions at once. Commits wait for the disk, and share what they wait for: measured on two cores with 64 callers, 8
/// carried 4,200 payments/s, 16 carried 4,500 to 5,100, 32 carried 5,700 to 5,800.
const WRITERS: usize = 32;
/// Connections for reads: one a core, since each has one server process; with two a core they carried less.
fn reader_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Payments of a bulk in one transaction. More share an fsync; but rows stay locked until it is done, and bulks that pay the
/// same accounts wait for each other. Measured in bulks of 100 over 10 thousand accounts: one carried 3,200 payments/s,
/// 10 carried 13,000, 25 carried 15,800, all 100 carried 10,000. Booked by one statement for all 25, where nothing stands against any,
/// they took PostgreSQL as long as one after the other: 148 and 141 µs a payment, after 163 and 136, in turns.
const TOGETHER: usize = 25;

const TRANSFER: &str = "select * from transfer($1, $2, $3, (select id from accounts where iban = $4), $5, $6, $7)";
const TRANSFERS: &str = "select * from transfers($1, $2, $3, $4, $5, $6, $7)";
const ACCOUNT: &str = "select id, iban, currency, status, version, balance, overdraft, as_of from accounts where id = $1 and customer = $2";
const ENTRIES: &str = "select version, amount, balance_after, booked_at, reference from entries where account = $1 and version < $2 order by version desc limit $3";

/// A payment that is asked for.
pub(super) struct Order {
    pub(super) debtor: i64,
    pub(super) creditor_iban: domain::Iban,
    pub(super) amount: domain::Money,
    pub(super) reference: Option<String>,
    pub(super) key: Option<String>,
}

/// What became of it.
pub(super) enum Outcome {
    Stored { payment: i64, is_booked: bool, initiated_at: Timestamp },
    UnknownAccount,
    KeyReused,
}

/// An account with its balance.
#[derive(Clone)]
pub(super) struct AccountRow {
    pub(super) id: i64,
    pub(super) iban: String,
    pub(super) currency: domain::Currency,
    pub(super) status: String,
    pub(super) version: i64,
    pub(super) balance: i64,
    pub(super) overdraft: i64,
    pub(super) as_of: Timestamp,
}

/// One entry of an account.
pub(super) struct EntryRow {
    pub(super) version: i64,
    pub(super) amount: i64,
    pub(super) balance_after: i64,
    pub(super) booked_at: Timestamp,
    pub(super) reference: Option<String>,
}

struct Reader {
    client: Client,
    account: Statement,
    entries: Statement,
}

/// The bank.
pub(super) struct Store {
    writers: Pool,
    readers: Vec<Reader>,
    turn: AtomicUsize,
    notifier: Notifier,
}

impl Store {
    pub(super) async fn open(postgres: &str, notifier: Notifier) -> anyhow::Result<Self> {
        let config: Config = postgres.parse()?;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let writers = Pool::builder(manager).max_size(WRITERS).build()?;
        let mut readers = Vec::new();
        for _ in 0..reader_count() {
            let client = connect(postgres).await?;
            let (account, entries) = (client.prepare(ACCOUNT).await?, client.prepare(ENTRIES).await?);
            readers.push(Reader { client, account, entries });
        }
        Ok(Self { writers, readers, turn: AtomicUsize::new(0), notifier })
    }

    fn reader(&self) -> &Reader {
        &self.readers[self.turn.fetch_add(1, Ordering::Relaxed) % self.readers.len()]
    }

    pub(super) async fn account(&self, id: i64, customer: i64) -> anyhow::Result<Option<AccountRow>> {
        let reader = self.reader();
        let row = reader.client.query_opt(&reader.account, &[&id, &customer]).await?;
        row.map(|row| account(&row)).transpose()
    }

    /// Entries below a version, newest first.
    pub(super) async fn entries(&self, account: i64, below: i64, most: i64) -> anyhow::Result<Vec<EntryRow>> {
        let reader = self.reader();
        let rows = reader.client.query(&reader.entries, &[&account, &below, &most]).await?;
        rows.iter().map(entry).collect()
    }

    /// A payment in a transaction of its own.
    pub(super) async fn transfer(&self, customer: i64, order: &Order) -> anyhow::Result<Outcome> {
        let client = self.writers.get().await?;
        let statement = client.prepare_cached(TRANSFER).await?;
        let (iban, currency) = (order.creditor_iban.as_str(), order.amount.currency().code());
        let row = client
            .query_one(&statement, &[&customer, &order.key, &order.debtor, &iban, &order.amount.minor(), &currency, &order.reference])
            .await?;
        drop(client);
        let mut changes = Vec::new();
        let outcome = outcome(&row, order, &mut changes)?;
        self.notifier.tell(changes).await;
        Ok(outcome)
    }

    /// Many payments, [`TOGETHER`] in each transaction; all are on their way at once, on one connection.
    pub(super) async fn transfers(&self, customer: i64, orders: &[Order]) -> anyhow::Result<Vec<Outcome>> {
        let client = self.writers.get().await?;
        let statement = client.prepare_cached(TRANSFERS).await?;
        let parts = try_join_all(orders.chunks(TOGETHER).map(|part| transfers(&client, &statement, customer, part))).await?;
        drop(client);
        let mut changes = Vec::new();
        let rows = parts.iter().flatten().zip(orders);
        let outcomes = rows.map(|(row, order)| outcome(row, order, &mut changes)).collect::<Result<_, _>>()?;
        self.notifier.tell(changes).await;
        Ok(outcomes)
    }
}

/// Some payments in one transaction.
async fn transfers(client: &Client, statement: &Statement, customer: i64, orders: &[Order]) -> Result<Vec<Row>, tokio_postgres::Error> {
    let keys: Vec<_> = orders.iter().map(|order| order.key.as_deref()).collect();
    let debtors: Vec<_> = orders.iter().map(|order| order.debtor).collect();
    let ibans: Vec<_> = orders.iter().map(|order| order.creditor_iban.as_str()).collect();
    let amounts: Vec<_> = orders.iter().map(|order| order.amount.minor()).collect();
    let currencies: Vec<_> = orders.iter().map(|order| order.amount.currency().code()).collect();
    let references: Vec<_> = orders.iter().map(|order| order.reference.as_deref()).collect();
    client.query(statement, &[&customer, &keys, &debtors, &ibans, &amounts, &currencies, &references]).await
}

/// A connection, which closes when it is dropped.
pub(super) async fn connect(postgres: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(postgres, NoTls).await?;
    // Ends with the client, who hears what went wrong.
    tokio::spawn(connection);
    Ok(client)
}

fn account(row: &Row) -> anyhow::Result<AccountRow> {
    Ok(AccountRow {
        id: row.try_get(0)?,
        iban: row.try_get(1)?,
        currency: domain::Currency::parse(row.try_get(2)?)?,
        status: row.try_get(3)?,
        version: row.try_get(4)?,
        balance: row.try_get(5)?,
        overdraft: row.try_get(6)?,
        as_of: row.try_get(7)?,
    })
}

fn entry(row: &Row) -> anyhow::Result<EntryRow> {
    Ok(EntryRow {
        version: row.try_get(0)?,
        amount: row.try_get(1)?,
        balance_after: row.try_get(2)?,
        booked_at: row.try_get(3)?,
        reference: row.try_get(4)?,
    })
}

/// Reads the columns of the type `outcome`, and adds the accounts that changed.
fn outcome(row: &Row, order: &Order, changes: &mut Vec<Change>) -> anyhow::Result<Outcome> {
    match row.try_get::<_, Option<&str>>(8)? {
        Some("UNKNOWN_ACCOUNT") => return Ok(Outcome::UnknownAccount),
        Some("IDEMPOTENCY_KEY_REUSED") => return Ok(Outcome::KeyReused),
        Some(other) => anyhow::bail!("PostgreSQL has a problem of an unknown kind: {other}"),
        None => {}
    }
    let initiated_at: Timestamp = row.try_get(2)?;
    if let Some(version) = row.try_get::<_, Option<i64>>(3)? {
        let booked = "a booked payment has both accounts";
        changes.push(Change { account: order.debtor, version, balance: row.try_get(4)?, as_of: initiated_at });
        let (account, version) = (row.try_get::<_, Option<i64>>(5)?.context(booked)?, row.try_get::<_, Option<i64>>(6)?.context(booked)?);
        changes.push(Change { account, version, balance: row.try_get(7)?, as_of: initiated_at });
    }
    Ok(Outcome::Stored { payment: row.try_get(0)?, is_booked: row.try_get::<_, &str>(1)? == "BOOKED", initiated_at })
}

/// What resolvers share.
pub(super) type Shared = Arc<Store>;
