//! What HTTP and websocket load is made on: a bank, or the monolith on its PostgreSQL, alike for whoever
//! measures. This module must never know what is measured.

use std::sync::Arc;

use tests::tokens;

use crate::{
    bank::{Bank, LONG, Setting},
    cpu::Group,
    monolith_process::Monolith,
    party::Party,
    postgres::Postgres,
    result::System,
    watch,
};

/// One of them, running, with accounts.
#[derive(Debug)]
pub enum Server {
    /// Ours.
    Millrace(Box<Bank>),
    /// What people would write.
    Monolith {
        /// The process.
        monolith: Monolith,
        /// Its database.
        postgres: Box<Postgres>,
        /// As the database says.
        durability: String,
    },
}

impl Server {
    /// A bank.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn millrace(shards: u16, replicas: usize, accounts: u64) -> anyhow::Result<Self> {
        Ok(Self::Millrace(Box::new(Bank::open(Setting { shards, replicas, accounts }).await?)))
    }

    /// The monolith.
    ///
    /// # Errors
    /// Where there is no PostgreSQL, or one of them does not come up.
    pub async fn monolith(accounts: u64) -> anyhow::Result<Self> {
        Postgres::available()?;
        let mut postgres = Postgres::start().await?;
        postgres.load(accounts).await?;
        let (monolith, durability) = (Monolith::start(&postgres).await?, postgres.durability().await?);
        Ok(Self::Monolith { monolith, postgres: Box::new(postgres), durability })
    }

    /// Whose it is.
    #[must_use]
    pub const fn system(&self) -> System {
        match self {
            Self::Millrace(_) => System::Millrace,
            Self::Monolith { .. } => System::Monolith,
        }
    }

    /// What of it stands in an id, and in words.
    #[must_use]
    pub fn variant(&self) -> (String, String) {
        match self {
            Self::Millrace(bank) => {
                let Setting { shards, replicas, .. } = bank.setting;
                let plural = if shards == 1 { "" } else { "s" };
                let more = if replicas == 1 { String::new() } else { format!(", {replicas} replicas") };
                (format!("{shards}-shards/{replicas}-replicas"), format!("{shards} shard{plural}{more}"))
            }
            Self::Monolith { .. } => ("monolith".to_owned(), "one database".to_owned()),
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Millrace(bank) => bank.address().to_owned(),
            Self::Monolith { monolith, .. } => monolith.address.clone(),
        }
    }

    /// When what is acknowledged is on disk, as the server that stores it says.
    #[must_use]
    pub fn durability(&self) -> String {
        match self {
            Self::Millrace(bank) => bank.durability.clone(),
            Self::Monolith { durability, .. } => durability.clone(),
        }
    }

    /// All its processes and the load client.
    ///
    /// # Errors
    /// Where one has ended.
    pub fn groups(&self) -> anyhow::Result<Vec<Group>> {
        Ok(match self {
            Self::Millrace(bank) => bank.all_groups()?,
            Self::Monolith { monolith, postgres, .. } => {
                vec![Group::trees("monolith", &[monolith.pid()]), Group::trees("postgres", &[postgres.pid()]), Group::load_client()]
            }
        })
    }

    /// The processes that hold websockets.
    ///
    /// # Errors
    /// Where one has ended.
    pub fn pids(&self) -> anyhow::Result<Vec<u32>> {
        Ok(vec![match self {
            Self::Millrace(bank) => bank.pid()?,
            Self::Monolith { monolith, .. } => monolith.pid(),
        }])
    }

    /// The customers of so many accounts, from the one of this ordinal (from 0) on.
    ///
    /// # Errors
    /// Where no tokens can be had.
    pub fn parties(&self, first: u64, count: u64) -> anyhow::Result<Arc<Vec<Party>>> {
        let of_bank = |bank: &Bank, ordinal: u64| {
            let token = tokens::of_customer(&bank.accounts.customer(ordinal).to_string())?;
            let (account, iban) = (bank.accounts.account(ordinal).to_string(), bank.accounts.iban(ordinal)?.to_string());
            anyhow::Ok(Party { token, account, iban })
        };
        Ok(Arc::new(match self {
            Self::Millrace(bank) => (first..first + count).map(|ordinal| of_bank(bank, ordinal)).collect::<anyhow::Result<_>>()?,
            Self::Monolith { .. } => Monolith::parties(first + 1, count)?,
        }))
    }

    /// The same with a new process that holds websockets. Of ours nothing that was booked stays: what a process takes and
    /// frees while it reads that, it would use again for websockets.
    ///
    /// # Errors
    /// Where it does not end well, or does not come up again.
    pub async fn renewed(self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Millrace(bank) => {
                let setting = bank.setting;
                drop(bank.stop(false).await?);
                Self::Millrace(Box::new(Bank::open(setting).await?.stop(false).await?.start().await?.0))
            }
            Self::Monolith { monolith, postgres, durability } => {
                drop(monolith);
                Self::Monolith { monolith: Monolith::start(&postgres).await?, postgres, durability }
            }
        })
    }

    /// How many payments it has booked since the process that counts them was started.
    ///
    /// # Errors
    /// Where it does not say.
    pub async fn booked(&self) -> anyhow::Result<u64> {
        match self {
            Self::Millrace(bank) => bank.booked().await,
            Self::Monolith { postgres, .. } => {
                let last = "select coalesce(max(id), 0) from payments";
                let last: i64 = postgres.connect().await?.query_one(last, &[]).await?.get(0);
                Ok(u64::try_from(last)?)
            }
        }
    }

    /// Waits until what was accepted is worked off.
    ///
    /// # Errors
    /// Where it is not.
    pub async fn settle(&self) -> anyhow::Result<()> {
        match self {
            Self::Millrace(bank) => watch::level(&bank.operator()?, LONG).await,
            // It has booked what it has answered.
            Self::Monolith { .. } => Ok(()),
        }
    }
}
