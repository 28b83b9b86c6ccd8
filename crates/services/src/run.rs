//! Starts services by role and shard. This module must never know what one decides.

use std::{hash::Hash, path::Path};

use domain::{Shard, Table, fraud::Limits};
use projections::{Rows, SnapshotStore, StoreError};
use serde::Serialize;
use streams::{Broker, Checkpoint, Engine, Fault, LogName, Record, Service, Snapshot, Topology};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
    /// A snapshot cannot be opened.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Starts `role` on every shard it is to run on; each halts on its own if it must.
///
/// # Errors
/// [`ServiceError`], before anything was started.
pub fn run(
    role: Role,
    settings: &Settings,
    broker: &Broker,
    topology: &Topology,
    folder: &Path,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ServiceError> {
    let mut logs = topology.owned_by(role.name());
    let (Some(declared), None) = (logs.next(), logs.next()) else { return Err(ServiceError::NoLog(role.name())) };
    let shards = if declared.sharded { settings.shards.iter().copied().map(Some).collect() } else { vec![None] };
    for shard in shards {
        let log = LogName::new(&declared.name, shard);
        let store = SnapshotStore::open(&folder.join(format!("{log}.redb")))?;
        let start = Start { role, log, broker, topology, tasks, stop };
        match role {
            Role::Customers => start.engine(CustomersService::new(store)),
            Role::Accounts => start.engine(AccountsService::new(store)),
            Role::Payments => start.engine(PaymentsService::new(store)),
            Role::Fraud => start.engine(FraudService::new(store, settings.limits)),
            Role::Ledger => start.engine(LedgerService::new(store, Shard(shard.unwrap_or(0)), topology.shards)),
        }
    }
    Ok(())
}

struct Start<'a> {
    role: Role,
    log: LogName,
    broker: &'a Broker,
    topology: &'a Topology,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Start<'_> {
    fn engine<S: Service>(self, service: S) {
        let log = self.log.clone();
        let engine = Engine::new(self.broker, self.topology, self.role.name(), self.log, service);
        let run = engine.run(self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(fault) = run.await {
                tracing::error!(%log, %fault, "A service has halted; the others go on");
            }
        });
    }
}

/// Adds the changed rows of a table to a snapshot.
pub(crate) fn write_table<K, V>(rows: &mut Rows, name: &'static str, table: &mut Table<K, V>) -> Result<(), StoreError>
where
    K: Eq + Hash + Copy + Serialize,
    V: Serialize,
{
    table.drain_changed().try_for_each(|(key, row)| rows.put(name, &key, row))
}

/// The write of a snapshot, to be run where blocking is allowed.
pub(crate) fn snapshot(store: SnapshotStore, rows: Rows, changed: Result<(), StoreError>, checkpoint: &Checkpoint) -> Snapshot {
    let checkpoint = checkpoint.clone();
    Box::new(move || {
        store.faulted(changed)?;
        store.write(rows, &checkpoint)
    })
}

/// A record of a log that the service is not made to read.
pub(crate) fn unexpected(record: &Record) -> Fault {
    let why = "this service does not read such a log; see its readers in streams.yaml".to_owned();
    Fault::Unreadable { log: record.log.clone(), seq: record.seq, why }
}
