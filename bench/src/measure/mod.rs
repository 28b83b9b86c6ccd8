//! The measurements, one module each, by their numbers. None may know another, but those that take 1 again under other circumstances.

pub mod fan_out;
pub mod growth;
pub mod http;
pub mod latency;
pub mod payments;
pub mod queries;
pub mod rebuild;
pub mod replicas;
pub mod restart;
pub mod shards;

use crate::bench::Bench;

/// Measurements that are wired.
pub const NUMBERS: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Takes a measurement.
///
/// # Errors
/// Where it comes to no end; what it read before is kept.
pub async fn take(number: u8, bench: &mut Bench) -> anyhow::Result<()> {
    match number {
        1 => payments::take(bench).await,
        2 => latency::take(bench).await,
        3 => http::take(bench).await,
        4 => queries::take(bench).await,
        5 => fan_out::take(bench).await,
        6 => rebuild::take(bench).await,
        7 => restart::take(bench).await,
        8 => growth::take(bench).await,
        9 => shards::take(bench).await,
        10 => replicas::take(bench).await,
        _ => anyhow::bail!("measurement {number} is not there yet"),
    }
}
