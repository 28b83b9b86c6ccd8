//! How much of everything is measured: enough for a figure that holds, or little for a look within three
//! minutes. This module must never measure.

/// Sizes of a whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Few runs of small sizes.
    pub quick: bool,
    /// Runs of each thing, the warm-up not counted.
    pub runs: usize,
    /// Accounts of a small bank.
    pub accounts: u64,
    /// Payments of a run of throughput: some seconds' worth.
    pub payments: u64,
    /// Payments in the logs that are rebuilt from.
    pub rebuild_payments: u64,
    /// Payments in the logs when a process starts again.
    pub restart_payments: u64,
    /// Accounts of the banks that are compared with the small one.
    pub many_accounts: Vec<u64>,
    /// Payments that a bank has behind it when it is compared with a small one.
    pub many_payments: u64,
    /// Shards whose curve is drawn.
    pub shards: Vec<u16>,
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
            payments: 400_000,
            rebuild_payments: 1_000_000,
            restart_payments: 10_000_000,
            many_accounts: vec![1_000_000, 10_000_000],
            many_payments: 20_000_000,
            shards: vec![1, 2, 4, 8, 16],
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
            payments: 30_000,
            rebuild_payments: 60_000,
            restart_payments: 60_000,
            many_accounts: vec![20_000],
            many_payments: 100_000,
            shards: vec![1, 2, 4],
            cross_percent: vec![0, 94],
        }
    }
}
