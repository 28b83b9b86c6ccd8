//! Load over HTTP/1.1 keep-alive, closed-loop for throughput, open-loop for latencies. It runs on one
//! thread of its own, whose processor time is counted. This module must never know which server it is.

use std::{sync::Arc, time::Duration};

use hdrhistogram::Histogram;

use crate::party::Party;

/// What is asked.
#[derive(Debug, Clone)]
pub enum Work {
    /// `{ __typename }`, by a customer: what the server costs before any of its work.
    Typename,
    /// `initiatePayment` of a cent each, with an idempotency key each.
    Pay,
    /// `initiatePayments` of so many from one payer, at most 1,000.
    PayBulk(usize),
    /// `account { balance transactions(first: 20) }` of the payer.
    Read,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each connection sends as soon as it has its answer; latencies say little then.
    Closed,
    /// So many requests a second in all, whether answers come or not; latencies count from when a request was due.
    Open(u64),
}

/// A load.
#[derive(Debug, Clone)]
pub struct HttpLoad {
    /// `host:port` of the server.
    pub address: String,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// What is asked.
    pub work: Work,
    /// When.
    pub pace: Pace,
    /// Who asks in turns, and pays others of these; two at least.
    pub parties: Arc<Vec<Party>>,
    /// Not measured, before it.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
}

/// What came of a load, in the measured time only.
#[derive(Debug, Clone)]
pub struct LoadResult {
    /// Requests that were answered as they should be.
    pub requests: u64,
    /// Payments that these requests carried.
    pub payments: u64,
    /// The time in which they were.
    pub elapsed: Duration,
    /// Of the good answers, in microseconds: since the request was sent (closed), or was due (open).
    pub latency: Histogram<u64>,
    /// Requests that were answered otherwise, or not at all.
    pub errors: u64,
    /// What was wrong with the first of them.
    pub first_error: Option<String>,
    /// Processor time of the load client.
    pub client_cpu: Duration,
}

impl HttpLoad {
    /// Makes the load, on a thread of its own.
    ///
    /// # Errors
    /// Where a connection cannot be opened at the start. What fails later is counted.
    pub async fn run(self) -> anyhow::Result<LoadResult> {
        anyhow::bail!("not there yet: {self:?}")
    }
}
