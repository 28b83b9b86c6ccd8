//! The monolith as a process. This module must never know what it does.

use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::Signal;
use tests::{Client, tokens};

use crate::{
    children,
    monolith::{SECRET, account_id, customer_id},
    party::Party,
    postgres::Postgres,
};

/// A running monolith; it ends when this is dropped.
#[derive(Debug)]
pub struct Monolith {
    /// `host:port` on which it listens.
    pub address: String,
    child: Child,
}

impl Monolith {
    /// Starts one on a PostgreSQL whose bank is loaded, and waits until it answers. A load afterwards
    /// needs another monolith.
    ///
    /// # Errors
    /// Where it was not built, or does not come up.
    pub async fn start(postgres: &Postgres) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        // Tests lie in `deps`, a folder below the binaries.
        let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("monolith")).find(|binary| binary.exists());
        let binary = beside.with_context(|| format!("there is no monolith beside {}: cargo build --bin monolith", own.display()))?;
        let address = format!("127.0.0.1:{}", tests::free_port()?);
        let mut command = Command::new(binary);
        command.args(["--postgres", &postgres.url(), "--listen", &address]).env(SECRET, tokens::SECRET).stdin(Stdio::null());
        let monolith = Self { child: children::spawn(command)?, address };
        let client = Client::new(&monolith.address, None);
        tests::eventually("the monolith answers", || async { Ok(client.execute("{ __typename }").await.ok()) }).await?;
        Ok(monolith)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The customer of the account of this number, the least of which is 1, and whose IBAN is that of the ordinal before.
    ///
    /// # Errors
    /// Where no token can be signed.
    pub fn party(number: u64) -> anyhow::Result<Party> {
        let iban = domain::account_iban(number - 1).context("no IBANs are left")?.to_string();
        let number = i64::try_from(number)?;
        Ok(Party { token: tokens::of_customer(&customer_id(number))?, account: account_id(number), iban })
    }
}

impl Drop for Monolith {
    fn drop(&mut self) {
        children::end(&mut self.child, Signal::KILL);
    }
}
