//! How much of everything is measured: enough for a figure that holds, or little for a look within three
//! minutes. This module must never measure.

use std::time::Duration;

/// Sizes of a whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Few runs of small sizes.
    pub quick: bool,
    /// Runs of each thing, the warm-up not counted.
    pub runs: usize,
    /// Accounts of a small bank.
    pub accounts: u64,
    /// Payments of a run of throughput: more than read models gather before they write, several times over.
    pub payments: u64,
    /// The same where many banks stand beside each other, whose disk this bounds.
    pub payments_of_many: u64,
    /// How long HTTP, websocket and PostgreSQL are under load before it is measured; for pgbench what is no whole second is left out.
    pub load_warm_up: Duration,
    /// And while it is; whole seconds.
    pub load: Duration,
    /// How long processes have had nothing to do when the next one's turn begins: longer than the pauses between what they do
    /// by themselves, as models and services write every five seconds.
    pub rest: Duration,
    /// The same for the memory of processes that it is measured of.
    pub memory_rest: Duration,
    /// Websockets, each on an account of its own.
    pub subscribers: Vec<u64>,
    /// Payments in the logs that are rebuilt from.
    pub rebuild_payments: u64,
    /// Payments in the logs when a process starts again.
    pub restart_payments: u64,
    /// Payments that a process has just booked when it is killed: a second of them.
    pub restart_burst: u64,
    /// Accounts of the banks that are compared with the small one.
    pub many_accounts: Vec<u64>,
    /// Payments that a bank has behind it when it is compared with a small one.
    pub many_payments: u64,
    /// Shards whose curve is drawn.
    pub shards: Vec<u16>,
    /// Shards of the banks that replicas are compared on.
    pub replica_shards: Vec<u16>,
    /// Payments a second at which latencies are taken again on large banks and replicas.
    pub again_per_second: Vec<u64>,
    /// Percentages of payments between shards.
    pub cross_percent: Vec<u8>,
}

/// The fewest runs whose median says something.
const RUNS: usize = 5;
const QUICK_RUNS: usize = 2;

impl Plan {
    /// The one that figures are published of.
    #[must_use]
    pub fn full() -> Self {
        Self {
            quick: false,
            runs: RUNS,
            accounts: 10_000,
            payments: 800_000,
            payments_of_many: 400_000,
            load_warm_up: Duration::from_secs(2),
            load: Duration::from_secs(10),
            rest: Duration::from_secs(6),
            memory_rest: Duration::from_secs(6),
            subscribers: vec![1_000, 10_000],
            rebuild_payments: 1_000_000,
            restart_payments: 10_000_000,
            restart_burst: 100_000,
            many_accounts: vec![1_000_000, 10_000_000],
            many_payments: 20_000_000,
            shards: vec![1, 2, 4, 8, 16],
            replica_shards: vec![1, 2],
            again_per_second: vec![100, 1_000],
            cross_percent: vec![0, 25, 50, 75, 94],
        }
    }

    /// A look.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            quick: true,
            runs: QUICK_RUNS,
            accounts: 1_000,
            payments: 20_000,
            payments_of_many: 20_000,
            load_warm_up: Duration::from_millis(300),
            load: Duration::from_secs(1),
            rest: Duration::ZERO,
            memory_rest: Duration::from_secs(1),
            subscribers: vec![200],
            rebuild_payments: 50_000,
            restart_payments: 50_000,
            restart_burst: 10_000,
            many_accounts: vec![10_000],
            many_payments: 60_000,
            shards: vec![1, 2],
            replica_shards: vec![2],
            again_per_second: vec![100],
            cross_percent: vec![0, 94],
        }
    }
}
