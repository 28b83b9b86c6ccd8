//! What HTTP and websocket load is made on: a bank, or the monolith on its PostgreSQL, alike for whoever
//! measures. This module must never know what is measured.

use std::{sync::Arc, time::Duration};

use tests::tokens;

use crate::{
    bank::{Bank, Setting},
    cpu::Group,
    monolith_process::Monolith,
    party::Party,
    postgres::Postgres,
    result::System,
    watch::Ended,
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

    /// How many accounts it has.
    #[must_use]
    pub fn accounts(&self) -> u64 {
        match self {
            Self::Millrace(bank) => bank.setting.accounts,
            Self::Monolith { postgres, .. } => postgres.accounts(),
        }
    }

    /// The customers of the accounts of these ordinals, from 0.
    ///
    /// # Errors
    /// Where no tokens can be had.
    pub fn parties(&self, ordinals: impl IntoIterator<Item = u64>) -> anyhow::Result<Arc<Vec<Party>>> {
        let of_bank = |bank: &Bank, ordinal: u64| {
            let token = tokens::of_customer(&bank.accounts.customer(ordinal).to_string())?;
            let (account, iban) = (bank.accounts.account(ordinal).to_string(), bank.accounts.iban(ordinal)?.to_string());
            anyhow::Ok(Party { token, account, iban })
        };
        let party = |ordinal| match self {
            Self::Millrace(bank) => of_bank(bank, ordinal),
            Self::Monolith { .. } => Monolith::party(ordinal + 1),
        };
        Ok(Arc::new(ordinals.into_iter().map(party).collect::<anyhow::Result<_>>()?))
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

    /// How many payments have reached an end, since the process that counts them was started.
    ///
    /// # Errors
    /// Where it does not say.
    pub async fn ended(&self) -> anyhow::Result<Ended> {
        match self {
            Self::Millrace(bank) => bank.ended().await,
            Self::Monolith { postgres, .. } => postgres.ended().await,
        }
    }

    /// Waits until what was accepted since `before`, so many payments, is booked and shown, and nothing was left to be done for
    /// as long as `rest`.
    ///
    /// # Errors
    /// Where one of them is not booked.
    pub async fn settle(&self, before: Ended, accepted: u64, rest: Duration) -> anyhow::Result<()> {
        match self {
            Self::Millrace(bank) => bank.settle(before, accepted, rest).await,
            // It has booked what it has answered.
            Self::Monolith { .. } => {
                let (now, expected) = (self.ended().await?, Ended { booked: before.booked + accepted, ..before });
                anyhow::ensure!(now == expected, "of {accepted} payments since {before:?} there are {now:?}");
                Ok(())
            }
        }
    }
}
