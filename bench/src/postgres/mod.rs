//! A PostgreSQL of the bench's own, on a port and in a folder of its own, and pgbench on it. This module
//! must never know a server in front of it.

mod cluster;
mod pgbench;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use tokio_postgres::{Client, NoTls};

use crate::watch::Ended;

pub use pgbench::{PgBench, PgBenchResult, Skew};

use cluster::Cluster;

const TABLES: &str = include_str!("../../sql/tables.sql");
const FILL: &str = include_str!("../../sql/fill.sql");
const KEYS: &str = include_str!("../../sql/keys.sql");
const TRANSFER: &str = include_str!("../../sql/transfer.sql");
const CHECK: &str = include_str!("../../sql/check.sql");

/// What decides when a commit is on disk, and what was tuned.
const SETTINGS: [&str; 14] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "wal_compression",
    "wal_level",
    "wal_buffers",
    "shared_buffers",
    "effective_cache_size",
    "max_wal_size",
    "checkpoint_timeout",
    "data_checksums",
    "jit",
    "random_page_cost",
];

/// A running PostgreSQL; it ends, and its data goes, when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    /// The accounts that are open.
    accounts: u64,
}

impl Postgres {
    /// Whether there is one here.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn available() -> anyhow::Result<()> {
        cluster::Programs::find().map(|_| ())
    }

    /// Starts one without a bank; see [`Self::load`].
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start() -> anyhow::Result<Self> {
        let postgres = Self { cluster: Cluster::start()?, accounts: 0 };
        let answers = tests::eventually("PostgreSQL answers", || async { Ok(postgres.connect().await.ok()) });
        answers.await.with_context(|| postgres.cluster.last_words())?;
        Ok(postgres)
    }

    /// The process id of the postmaster, whose children are the others.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.cluster.pid()
    }

    /// How many accounts of customers are open.
    #[must_use]
    pub fn accounts(&self) -> u64 {
        self.accounts
    }

    /// How clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.cluster.port())
    }

    /// A connection, which closes when it is dropped.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        // Ends with the client, who hears what went wrong.
        tokio::spawn(connection);
        Ok(client)
    }

    /// What the program that is started says of itself, where there is one.
    #[must_use]
    pub fn version_here() -> Option<String> {
        cluster::Programs::find().ok().map(|found| found.version)
    }

    /// What decides when a commit is on disk, and what was tuned, as the server itself says by `SHOW`.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn settings(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let client = self.connect().await?;
        let mut settings = BTreeMap::new();
        for name in SETTINGS {
            settings.insert(name.to_owned(), show(&client, name).await?);
        }
        Ok(settings)
    }

    /// When a commit is on disk, in one line.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn durability(&self) -> anyhow::Result<String> {
        let client = self.connect().await?;
        let mut parts = Vec::new();
        for name in &SETTINGS[..4] {
            parts.push(format!("{name}={}", show(&client, name).await?));
        }
        Ok(parts.join(", "))
    }

    /// Throws the bank away, and makes one with so many accounts of customers, numbered from 1, with 100,000.00
    /// EUR on each. Takes about 20 s a million.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn load(&mut self, accounts: u64) -> anyhow::Result<()> {
        ensure!(accounts >= 2, "who pays needs somebody to be paid");
        let client = self.connect().await?;
        let fill =
            format!("set bank.accounts = {accounts}; begin; drop schema public cascade; create schema public; {TABLES} {FILL} commit;");
        client.batch_execute(&fill).await.context("filling the bank")?;
        client.batch_execute(&format!("{KEYS} {TRANSFER}")).await.context("making its indexes")?;
        for statement in ["vacuum analyze", "checkpoint"] {
            client.batch_execute(statement).await?;
        }
        self.accounts = accounts;
        Ok(())
    }

    /// Runs pgbench over all accounts, then checks that balances sum to zero.
    ///
    /// # Errors
    /// Where a transfer fails, or they do not.
    pub async fn pgbench(&self, bench: PgBench) -> anyhow::Result<PgBenchResult> {
        let client = self.connect().await?;
        let before: i64 = client.query_one("select coalesce(max(id), 0) from payments", &[]).await?.get(0);
        let mut result = pgbench::run(&self.cluster, self.accounts, bench).await?;
        let count = "select count(*) from payments where id > $1 and status = 'REJECTED'";
        let refused: i64 = client.query_one(count, &[&before]).await?.get(0);
        result.refused = u64::try_from(refused)?;
        let balanced: bool = client.query_one("select coalesce(sum(balance), 0) = 0 from accounts", &[]).await?.get(0);
        ensure!(balanced, "PostgreSQL's balances do not sum to zero");
        Ok(result)
    }

    /// Checks that balances sum to zero, that every payment's entries do, and that each balance is what its entries
    /// say. Reads everything: seconds a million payments.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub async fn check_books(&self) -> anyhow::Result<()> {
        let row = self.connect().await?.query_one(CHECK, &[]).await?;
        for (index, column) in row.columns().iter().enumerate() {
            let wrong: i64 = row.get(index);
            ensure!(wrong == 0, "PostgreSQL's books are wrong: {} is {wrong}", column.name());
        }
        Ok(())
    }

    /// How many payments have reached an end.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn ended(&self) -> anyhow::Result<Ended> {
        let count = "select count(*) filter (where status = 'BOOKED'), count(*) filter (where status = 'REJECTED') from payments";
        let row = self.connect().await?.query_one(count, &[]).await?;
        Ok(Ended { booked: u64::try_from(row.get::<_, i64>(0))?, failed: u64::try_from(row.get::<_, i64>(1))? })
    }
}

async fn show(client: &Client, name: &str) -> anyhow::Result<String> {
    // None of the names has a character that would need quotes.
    Ok(client.query_one(&format!("show {name}"), &[]).await?.get(0))
}
