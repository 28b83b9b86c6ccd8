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

use crate::{bank::ensure_room, bench::Bench};

/// Measurements that are wired.
pub const NUMBERS: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Those that others are measured beside.
pub const RIVALLED: [u8; 6] = [1, 2, 3, 4, 5, 8];

/// Accounts of 2, 3, 4 or 5 at most, and payments that the fastest of them make in a second of load: more than was seen on two cores.
const OTHERS_ACCOUNTS: u64 = 20_000;
const OTHERS_PAYMENTS: u64 = 80_000;

/// Accounts and payments of what is under load for a while in each round.
fn under_load(bench: &Bench) -> (u64, u64) {
    // One more than whole ones: a quick look's load is no whole number of them.
    let seconds = (bench.plan.load_warm_up + bench.plan.load).as_secs() + 1;
    (OTHERS_ACCOUNTS, bench.rounds().count() as u64 * seconds * OTHERS_PAYMENTS)
}

/// What of a measurement will be left out as the disk is now: it is better known before hours have gone by.
#[must_use]
pub fn without_room(number: u8, bench: &Bench) -> Vec<String> {
    let banks = match number {
        1 => vec![payments::needs(bench)],
        6 => vec![rebuild::needs(bench)],
        7 => vec![restart::needs(bench)],
        8 => growth::needs(bench),
        9 => shards::needs(bench),
        10 => vec![replicas::needs(bench)],
        _ => vec![under_load(bench)],
    };
    banks.into_iter().filter_map(|(accounts, payments)| ensure_room(accounts, payments).err()).map(|why| why.to_string()).collect()
}

/// Makes sure that a measurement may have as many connections as it takes.
///
/// # Errors
/// A sentence that says how many are missing.
pub fn ensure_files(number: u8, bench: &Bench) -> anyhow::Result<()> {
    if number == 5 { fan_out::ensure_files(bench) } else { Ok(()) }
}

/// Takes a measurement.
///
/// # Errors
/// Where it comes to no end; what it read before is kept.
pub async fn take(number: u8, bench: &mut Bench) -> anyhow::Result<()> {
    if (2..=5).contains(&number) {
        let (accounts, payments) = under_load(bench);
        ensure_room(accounts, payments)?;
    }
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
