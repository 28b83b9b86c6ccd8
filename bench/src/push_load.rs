//! Load whose answers come over websockets: payments over HTTP, open-loop, and `balanceChanged` of their
//! creditors. This module must never know which server it is.

use std::{sync::Arc, time::Duration};

use hdrhistogram::Histogram;

use crate::party::Party;

/// A load of payments, and of subscribers who watch what they bring.
#[derive(Debug, Clone)]
pub struct PushLoad {
    /// `host:port` of the server.
    pub address: String,
    /// Who pays, in turns. Nobody watches these.
    pub payers: Arc<Vec<Party>>,
    /// Who is paid, in turns; each has a websocket of its own. None of these may be a payer, or be paid
    /// by anybody else meanwhile.
    pub creditors: Arc<Vec<Party>>,
    /// Connections over which payments are sent.
    pub connections: usize,
    /// Payments a second, whether answers come or not.
    pub per_second: u64,
    /// Payments in one request: 1 is `initiatePayment`, more are `initiatePayments`.
    pub per_request: usize,
    /// Not measured, before it.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
    /// Server processes whose memory is read before and after the websockets are opened.
    pub server_pids: Vec<u32>,
}

/// What came of it, in the measured time only.
#[derive(Debug, Clone)]
pub struct PushResult {
    /// Payments that were due.
    pub payments: u64,
    /// Time in which they were due.
    pub elapsed: Duration,
    /// Of each payment whose message came, in microseconds, from when the payment was due until its creditor had it.
    pub latency: Histogram<u64>,
    /// Payments whose message did not come within [`LAST_WAIT`], requests that were refused, and messages that were not
    /// as they should be.
    pub errors: u64,
    /// What was wrong with the first of them.
    pub first_error: Option<String>,
    /// Of the server processes together, before websockets were opened, in KiB.
    pub memory_before_kib: u64,
    /// The same, with all websockets open and each subscribed, before the first payment.
    pub memory_after_kib: u64,
    /// Processor time of the load client.
    pub client_cpu: Duration,
}

/// How long the last messages are waited for.
pub const LAST_WAIT: Duration = Duration::from_secs(10);

impl PushResult {
    /// Bytes of the servers' memory a subscriber.
    #[must_use]
    pub fn bytes_a_subscriber(&self, subscribers: u64) -> u64 {
        self.memory_after_kib.saturating_sub(self.memory_before_kib) * 1_024 / subscribers.max(1)
    }
}

impl PushLoad {
    /// Makes the load, on a thread of its own.
    ///
    /// # Errors
    /// Where a connection cannot be opened, or subscribers do not hear the first balance. What fails later is counted.
    pub async fn run(self) -> anyhow::Result<PushResult> {
        anyhow::bail!("not there yet: {self:?}")
    }
}
