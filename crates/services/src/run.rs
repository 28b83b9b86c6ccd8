//! Starts services by role and shard. This module must never know what one decides.

use std::{
    hash::Hash,
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::{Shard, Table, fraud::Limits};
use projections::{Rows, SnapshotStore, StoreError};
use serde::Serialize;
use streams::{Checkpoint, Engine, Fault, Host, LogName, Service, Snapshot};

use crate::{
    accounts::AccountsService, customers::CustomersService, fraud::FraudService, ledger::LedgerService, payments::PaymentsService,
};

/// A service that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Who is a customer.
    Customers,
    /// Which accounts there are.
    Accounts,
    /// Whether an order makes sense.
    Payments,
    /// Whether it looks like fraud.
    Fraud,
    /// The books.
    Ledger,
}

/// All of them.
pub const ROLES: [Role; 5] = [Role::Customers, Role::Accounts, Role::Payments, Role::Fraud, Role::Ledger];

impl Role {
    /// Its name in `streams.yaml` and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Accounts => "accounts",
            Self::Payments => "payments",
            Self::Fraud => "fraud",
            Self::Ledger => "ledger",
        }
    }
}

/// What services are told by whoever starts them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shards to run.
    pub shards: Vec<u16>,
    /// Fraud detection's limits.
    pub limits: Limits,
}

/// Why services could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// `streams.yaml` does not say which log a service writes.
    #[error("streams.yaml must declare exactly one log with owner {0}")]
    NoLog(&'static str),
}

/// Starts `role` on every shard that it is to run on, each on its own, with its snapshots in `folder`.
///
/// # Errors
/// [`ServiceError`], before anything was started.
pub fn run(role: Role, settings: &Settings, host: &Host, folder: &Path) -> Result<(), ServiceError> {
    let mut logs = host.topology.owned_by(role.name());
    let (Some(declared), None) = (logs.next(), logs.next()) else { return Err(ServiceError::NoLog(role.name())) };
    let shards = if declared.sharded { settings.shards.iter().copied().map(Some).collect() } else { vec![None] };
    for shard in shards {
        let log = LogName::new(&declared.name, shard);
        let start = Start { role, path: folder.join(format!("{log}.redb")), log: log.clone(), limits: settings.limits, host: host.clone() };
        let start = Arc::new(start);
        host.run(log, move || {
            let start = Arc::clone(&start);
            async move { start.run().await }
        });
    }
    Ok(())
}

struct Start {
    role: Role,
    log: LogName,
    path: PathBuf,
    limits: Limits,
    host: Host,
}

impl Start {
    async fn run(&self) -> Result<(), Fault> {
        let store = tokio::task::block_in_place(|| SnapshotStore::open(&self.path))?;
        match self.role {
            Role::Customers => self.engine(CustomersService::new(store)).await,
            Role::Accounts => self.engine(AccountsService::new(store)).await,
            Role::Payments => self.engine(PaymentsService::new(store)).await,
            Role::Fraud => self.engine(FraudService::new(store, self.limits)).await,
            Role::Ledger => {
                let shard = Shard(self.log.shard().unwrap_or(0));
                self.engine(LedgerService::new(store, shard, self.host.topology.shards)).await
            }
        }
    }

    async fn engine<S: Service>(&self, service: S) -> Result<(), Fault> {
        let host = self.host.with_own_connection().await;
        Engine::new(&host, self.role.name(), self.log.clone(), service).run().await
    }
}

/// Adds the changed rows of a table to a snapshot.
pub(crate) fn write_table<K, V>(rows: &mut Rows, name: &'static str, table: &mut Table<K, V>) -> Result<(), StoreError>
where
    K: Eq + Hash + Copy + Serialize,
    V: Serialize,
{
    table.drain_changed(|key, row| rows.put(name, &key, row))
}

/// The write of a snapshot, to be run where blocking is allowed.
pub(crate) fn snapshot(store: SnapshotStore, rows: Rows, changed: Result<(), StoreError>, checkpoint: &Checkpoint) -> Snapshot {
    let checkpoint = checkpoint.clone();
    Box::new(move || {
        store.faulted(changed)?;
        store.write(rows, &checkpoint)
    })
}
