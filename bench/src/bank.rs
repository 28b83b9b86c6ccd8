//! A bank under test: nats-server, or a cluster, one `serve` with every role, and accounts with money.
//! This module must never know what is measured on it.

use std::{fs, ops::Deref, path::PathBuf, time::Duration};

use ::tests::{Client, Dev, load::operator};
use anyhow::{Context as _, anyhow, ensure};
use domain::PaymentOrder;
use streams::{Broker, Cursor, LogName};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    accounts::Accounts,
    cpu::Group,
    mix::{Mix, Pairs},
    orders::{append_all, append_payments},
    servers::{Servers, disk_bytes},
    watch::{self, Ended},
};

/// The declaration that everybody starts with, of which only shards and replicas are changed here.
const STREAMS: &str = include_str!("../../streams.yaml");
/// Shards that a bank has unless somebody says otherwise, as in `streams.yaml`.
pub const DEFAULT_SHARDS: u16 = 2;
/// What an account and what a payment may take on disk at most, all logs, read models and snapshots
/// together: a quarter more than was seen of an account, a third more of a payment. What needs more than there is must not
/// begin.
const ACCOUNT_BYTES: u64 = 5_000;
const PAYMENT_BYTES: u64 = 2_400;
/// Longest that anything is waited for: ten million accounts are made within it, at a tenth of what was seen.
pub const LONG: Duration = Duration::from_secs(4 * 3_600);

/// What a bank is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Shards.
    pub shards: u16,
    /// Replicas of each log; more than one makes a cluster.
    pub replicas: usize,
    /// Accounts, each of a customer of its own.
    pub accounts: u64,
}

/// Makes sure that there is room for so many accounts and payments where banks have their data.
///
/// # Errors
/// A sentence that says how much is missing.
pub fn ensure_room(accounts: u64, payments: u64) -> anyhow::Result<()> {
    const GIB: u64 = 1 << 30;
    let disk = rustix::fs::statvfs(std::env::temp_dir())?;
    let (free, needed) = (disk.f_bavail * disk.f_frsize, accounts * ACCOUNT_BYTES + payments * PAYMENT_BYTES);
    let asked = format!("{accounts} accounts and {payments} payments may take {} GiB of disk", needed / GIB);
    ensure!(free > needed, "{asked}, and there are {} (TMPDIR says where banks have their data)", free / GIB);
    Ok(())
}

/// A bank of which only nats-server runs.
#[derive(Debug)]
pub struct Stopped {
    /// What it is like.
    pub setting: Setting,
    /// Its accounts.
    pub accounts: Accounts,
    /// When what it acknowledges is on disk, by its nats-servers' word.
    pub durability: String,
    /// Payments that were made so far, deposits not counted.
    payments: u64,
    /// How they were drawn: the mix, the first one's number, and how many.
    drawn: Vec<(Mix, u64, u64)>,
    /// What a gateway would have seen when it took payments.
    seen: Cursor,
    broker: Broker,
    servers: Servers,
    data: TempDir,
    streams: PathBuf,
}

/// A bank that runs.
#[derive(Debug)]
pub struct Bank {
    // Ends before its nats-server does.
    serve: Dev,
    inner: Stopped,
}

impl Deref for Bank {
    type Target = Stopped;

    fn deref(&self) -> &Stopped {
        &self.inner
    }
}

impl Stopped {
    async fn new(setting: Setting) -> anyhow::Result<Self> {
        let (servers, data) = (Servers::start(setting.replicas).await?, tempfile::tempdir()?);
        let streams = data.path().join("streams.yaml");
        fs::write(&streams, declaration(setting.shards, setting.replicas)?)?;
        let accounts = Accounts::new(setting.accounts, setting.shards)?;
        let (durability, broker) = (servers.durability().await?, Broker::connect(&servers.url()).await?);
        let (drawn, seen) = (Vec::new(), Cursor::default());
        Ok(Self { setting, accounts, durability, payments: 0, drawn, seen, broker, servers, data, streams })
    }

    /// Starts `serve`; also says when.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn start(self) -> anyhow::Result<(Bank, Instant)> {
        let streams = self.streams.to_str().context("a path that is text")?;
        let since = Instant::now();
        let serve = Dev::serve_with(&self.servers.url(), self.data.path(), &["--streams", streams], &[]).await?;
        Ok((Bank { serve, inner: self }, since))
    }

    /// The folder of its read models.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.data.path().join("models")
    }

    /// What runs besides `serve`, for counting what it uses.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        vec![Group::trees("nats-server", &self.servers.pids()), Group::load_client()]
    }

    /// How many records the ledgers' logs have.
    ///
    /// # Errors
    /// Where one does not answer.
    pub async fn ledger_records(&self) -> anyhow::Result<u64> {
        let mut records = 0;
        for shard in 0..self.setting.shards {
            records += self.broker.log(LogName::new("ledger", Some(shard))).info().await.map_err(|why| anyhow!(why))?.last;
        }
        Ok(records)
    }

    /// How many events read models fold, each counted once: three an account, four a payment and a fifth one
    /// of those between shards.
    ///
    /// # Errors
    /// Where payments cannot be drawn again.
    pub fn events(&self) -> anyhow::Result<u64> {
        let mut between = 0;
        for (mix, first, count) in &self.drawn {
            let mut pairs = Pairs::new(self.accounts, *mix, *first)?;
            for _ in 0..*count {
                let (from, to) = pairs.draw()?;
                between += u64::from(self.accounts.shard(from) != self.accounts.shard(to));
            }
        }
        Ok(3 * self.accounts.count + 4 * (self.accounts.count + self.payments) + between)
    }

    /// How many bytes logs, read models and snapshots take on disk.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn disk_bytes(&self) -> anyhow::Result<u64> {
        let mut folders = self.servers.stores();
        folders.push(self.data.path().to_owned());
        disk_bytes(&folders)
    }
}

impl Bank {
    /// Starts one and makes its accounts.
    ///
    /// # Errors
    /// Where something does not come up, or is refused.
    pub async fn open(setting: Setting) -> anyhow::Result<Self> {
        let (mut bank, _) = Stopped::new(setting).await?.start().await?;
        bank.make_accounts().await?;
        Ok(bank)
    }

    async fn make_accounts(&mut self) -> anyhow::Result<()> {
        let (accounts, none) = (self.accounts, Cursor::default());
        let registrations = (0..accounts.count).map(|ordinal| accounts.registration(ordinal));
        let openings = (0..accounts.count).map(|ordinal| Ok(accounts.opening(ordinal)));
        tokio::try_join!(
            append_all(&self.broker, "customer-commands", &none, registrations),
            append_all(&self.broker, "account-commands", &none, openings),
        )?;
        let (operator, last) = (self.operator()?, accounts.count - 1);
        watch::known(&operator, &accounts.customer(last).to_string(), LONG).await?;
        watch::known(&operator, &accounts.account(last).to_string(), LONG).await?;
        // As a gateway whose directory has come so far would say.
        let log = LogName::new("accounts", None);
        let info = self.broker.log(log.clone()).info().await.map_err(|why| anyhow!(why))?;
        self.inner.seen.advance(&log, info.last);
        if info.replicas > 1 {
            self.inner.durability += &format!(", {} replicas", info.replicas);
        }
        let before = Ended::now(&self.serve).await?;
        let deposits = (0..accounts.count).map(|ordinal| accounts.deposit(ordinal));
        append_payments(&self.broker, self.setting.shards, &self.seen, deposits).await?;
        watch::booked(&self.serve, before, accounts.count, LONG).await?;
        watch::level(&operator, LONG).await
    }

    /// Draws orders that were not made before.
    ///
    /// # Errors
    /// Where the mix asks for what there is not.
    pub fn draw(&mut self, mix: Mix, count: u64) -> anyhow::Result<impl Iterator<Item = anyhow::Result<PaymentOrder>> + use<>> {
        let (accounts, first) = (self.accounts, self.payments);
        let mut pairs = Pairs::new(accounts, mix, first)?;
        self.inner.payments += count;
        self.inner.drawn.push((mix, first, count));
        Ok((first..first + count).map(move |number| {
            let (from, to) = pairs.draw()?;
            accounts.payment(number, from, to)
        }))
    }

    /// Makes payments that were drawn, and waits until all are booked and in the read models; how long that took from the
    /// first append on.
    ///
    /// # Errors
    /// Where one is not booked.
    pub async fn pay(&self, orders: Vec<PaymentOrder>) -> anyhow::Result<Duration> {
        let count = orders.len() as u64;
        self.make(orders.into_iter().map(Ok), count).await
    }

    /// The same for more payments than fit into memory, so that drawing them takes its part of the time.
    ///
    /// # Errors
    /// Where one is not booked.
    pub async fn pay_many(&mut self, mix: Mix, count: u64) -> anyhow::Result<Duration> {
        let orders = self.draw(mix, count)?;
        self.make(orders, count).await
    }

    async fn make(&self, orders: impl Iterator<Item = anyhow::Result<PaymentOrder>>, count: u64) -> anyhow::Result<Duration> {
        let (operator, before) = (self.operator()?, Ended::now(&self.serve).await?);
        let since = Instant::now();
        append_payments(&self.broker, self.setting.shards, &self.seen, orders).await?;
        watch::booked(&self.serve, before, count, LONG).await?;
        watch::level(&operator, LONG).await?;
        Ok(since.elapsed())
    }

    /// Stops `serve`, in order or with SIGKILL.
    ///
    /// # Errors
    /// Where it does not end as asked.
    pub async fn stop(self, kill: bool) -> anyhow::Result<Stopped> {
        if kill {
            self.serve.kill().await?;
        } else {
            ensure!(self.serve.interrupt().await?.1, "serve stops as asked");
        }
        Ok(self.inner)
    }

    /// An operator of it.
    ///
    /// # Errors
    /// Where no token can be had.
    pub fn operator(&self) -> anyhow::Result<Client> {
        operator(&self.serve.address)
    }

    /// The customer of this ordinal, signed in.
    ///
    /// # Errors
    /// Where no token can be had.
    pub fn client(&self, ordinal: u64) -> anyhow::Result<Client> {
        Ok(Client::new(&self.serve.address, Some(&::tests::tokens::of_customer(&self.accounts.customer(ordinal).to_string())?)))
    }

    /// Where its gateway listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.serve.address
    }

    /// How many payments have reached an end since `serve` was started.
    ///
    /// # Errors
    /// Where it does not say.
    pub async fn ended(&self) -> anyhow::Result<Ended> {
        Ended::now(&self.serve).await
    }

    /// Waits until so many payments more than `before` are booked and in the read models, and then see [`Self::quiet`].
    ///
    /// # Errors
    /// Where one is not booked.
    pub async fn settle(&self, before: Ended, payments: u64, rest: Duration) -> anyhow::Result<()> {
        watch::booked(&self.serve, before, payments, LONG).await?;
        watch::level(&self.operator()?, LONG).await?;
        self.quiet(rest).await
    }

    /// Waits until its processes are at rest for so long: read models and services write what they have gathered some seconds later, which
    /// is not to fall upon whoever is measured next.
    ///
    /// # Errors
    /// Where they never are.
    pub async fn quiet(&self, rest: Duration) -> anyhow::Result<()> {
        watch::quiet(rest, || self.all_groups()).await
    }

    /// All that runs, for counting what it uses.
    ///
    /// # Errors
    /// Where `serve` has ended.
    pub fn all_groups(&self) -> anyhow::Result<Vec<Group>> {
        let mut groups = self.groups();
        groups.push(self.serve_group()?);
        Ok(groups)
    }

    /// `serve` alone.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn serve_group(&self) -> anyhow::Result<Group> {
        Ok(Group::trees("millrace", &[self.serve.pid()?]))
    }

    /// The process id of `serve`.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.serve.pid()
    }
}

/// `streams.yaml` with other numbers of shards and replicas.
fn declaration(shards: u16, replicas: usize) -> anyhow::Result<String> {
    let mut changed = 0;
    let mut line = |line: &str| match line.trim_start().split_once(':') {
        Some(("shards", _)) => {
            changed += 1;
            format!("shards: {shards}\n")
        }
        Some(("num_replicas", _)) => {
            changed += 1;
            format!("  num_replicas: {replicas}\n")
        }
        Some(_) | None => format!("{line}\n"),
    };
    let text = STREAMS.lines().map(&mut line).collect();
    ensure!(changed == 2, "streams.yaml says shards and num_replicas once each");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use streams::Topology;

    use super::*;

    #[test]
    fn the_declaration_has_what_was_asked_for_and_else_what_it_had() {
        let text = declaration(7, 3).expect("changed");
        let topology = Topology::parse(&text, "changed").expect("valid");
        assert_eq!(topology.shards, 7);
        assert_eq!(Topology::parse(STREAMS, "built in").expect("valid").shards, DEFAULT_SHARDS);
        assert!(text.contains("num_replicas: 3"));
        let built_in = Topology::parse(STREAMS, "built in").expect("valid");
        topology.check_logs(&built_in, "changed").expect("the same logs");
    }
}
