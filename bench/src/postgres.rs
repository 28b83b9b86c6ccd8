//! A PostgreSQL of the bench's own, on a port and in a folder of its own, and pgbench on it. This module
//! must never know a server in front of it.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// A running PostgreSQL; it ends, and its data goes, when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    _private: (),
}

/// Which accounts pay and are paid how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// All alike.
    Uniform,
    /// By Zipf's law with the exponent 1.001, which is the least that pgbench takes; the first is the hot one.
    Zipf,
}

/// A run of pgbench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgBench {
    /// Which accounts.
    pub skew: Skew,
    /// Connections, each with one transfer at a time.
    pub clients: usize,
    /// Not measured, before it.
    pub warm_up: Duration,
    /// Measured; whole seconds.
    pub duration: Duration,
}

/// What came of it, in the measured time only.
#[derive(Debug, Clone)]
pub struct PgBenchResult {
    /// Transfers that were committed.
    pub transfers: u64,
    /// Of these, those that were refused for insufficient funds.
    pub refused: u64,
    /// The time in which they were.
    pub elapsed: Duration,
    /// Of each, in microseconds.
    pub latency: Histogram<u64>,
    /// Processor time of all PostgreSQL processes.
    pub server_cpu: Duration,
    /// Processor time of pgbench.
    pub client_cpu: Duration,
}

impl Postgres {
    /// Whether there is one here; what is missing, where there is none.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn available() -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }

    /// Starts one with the bank's schema and no accounts.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start() -> anyhow::Result<Self> {
        anyhow::bail!("not there yet")
    }

    /// The process id of the postmaster, whose children are the others.
    #[must_use]
    pub fn pid(&self) -> u32 {
        0
    }

    /// How clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        String::new()
    }

    /// `PostgreSQL 15.x`, as the server itself says.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn version(&self) -> anyhow::Result<String> {
        anyhow::bail!("not there yet")
    }

    /// What decides when a commit is on disk, and what was tuned, as the server itself says by `SHOW`.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn settings(&self) -> anyhow::Result<BTreeMap<String, String>> {
        anyhow::bail!("not there yet")
    }

    /// Empties the bank and opens so many accounts of customers, numbered from 1, with money on each.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn load(&self, accounts: u64) -> anyhow::Result<()> {
        anyhow::bail!("not there yet: {accounts}")
    }

    /// Runs pgbench over all accounts, then checks the books.
    ///
    /// # Errors
    /// Where a transfer fails, or the books are wrong.
    pub async fn pgbench(&self, bench: PgBench) -> anyhow::Result<PgBenchResult> {
        anyhow::bail!("not there yet: {bench:?}")
    }

    /// Checks that balances sum to zero, that every payment's entries do, and that each balance is what its entries say.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub async fn check_books(&self) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }

    /// Bytes of the bank's tables and indexes.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn bytes(&self) -> anyhow::Result<u64> {
        anyhow::bail!("not there yet")
    }
}
