//! The monolith as a process. This module must never know what it does.

use crate::{party::Party, postgres::Postgres};

/// A running monolith; it ends when this is dropped.
#[derive(Debug)]
pub struct Monolith {
    /// `host:port` on which it listens.
    pub address: String,
    pid: u32,
}

impl Monolith {
    /// Starts one on a PostgreSQL, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn start(postgres: &Postgres) -> anyhow::Result<Self> {
        anyhow::bail!("not there yet: {postgres:?}")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The customers of the accounts numbered from `first` on, so many.
    ///
    /// # Errors
    /// Where no token can be signed.
    pub fn parties(first: u64, count: u64) -> anyhow::Result<Vec<Party>> {
        anyhow::bail!("not there yet: {first} {count}")
    }
}
