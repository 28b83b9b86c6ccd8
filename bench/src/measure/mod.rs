//! The measurements, one module each, by their numbers. None may know another.

pub mod payments;
pub mod rebuild;
pub mod restart;

use crate::bench::Bench;

/// Measurements that are wired.
pub const NUMBERS: [u8; 3] = [1, 6, 7];

/// Takes a measurement.
///
/// # Errors
/// Where it comes to no end; what it read before is kept.
pub async fn take(number: u8, bench: &mut Bench) -> anyhow::Result<()> {
    match number {
        1 => payments::take(bench).await,
        6 => rebuild::take(bench).await,
        7 => restart::take(bench).await,
        _ => anyhow::bail!("measurement {number} is not there yet"),
    }
}
