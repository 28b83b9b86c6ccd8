//! 10: what three replicas of every log cost, beside one, in the same run. This module must never know
//! how replicas agree.

use crate::{
    bank::{Bank, Setting, ensure_room},
    bench::Bench,
    mix::Mix,
    server::Server,
};

use super::{
    latency,
    payments::{run, throughput},
};

const NUMBER: u8 = 10;
/// One, to compare with, and the fewest that survive the loss of a node.
const REPLICAS: [usize; 2] = [1, 3];

/// Accounts and payments of all its banks, as if each replica had read models as well, which leaves room for the latencies.
pub fn needs(bench: &Bench) -> (u64, u64) {
    let copies = (REPLICAS.iter().sum::<usize>() * bench.plan.replica_shards.len()) as u64;
    (copies * bench.plan.accounts, copies * bench.rounds().count() as u64 * bench.plan.payments_of_many)
}

/// Measures it.
///
/// # Errors
/// Where a payment is not booked, or there is no room.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let (all_accounts, all_payments) = needs(bench);
    ensure_room(all_accounts, all_payments)?;
    let accounts = bench.plan.accounts;
    let mut banks = Vec::new();
    for shards in bench.plan.replica_shards.clone() {
        for replicas in REPLICAS {
            bench.doing(&format!("10. Making {accounts} accounts on {shards} shards with {replicas} replicas"));
            banks.push(Bank::open(Setting { shards, replicas, accounts }).await?);
        }
    }
    for round in bench.rounds() {
        for turn in round.turns(banks.len()) {
            let (bank, payments) = (&mut banks[turn], bench.plan.payments_of_many);
            let (id, what) = words(bank.setting);
            run(bench, round, bank, Mix::Uniform, payments, throughput(NUMBER, &format!("uniform/{id}"), &what)).await?;
        }
    }
    let servers: Vec<_> = banks.into_iter().map(|bank| (words(bank.setting), Server::Millrace(Box::new(bank)))).collect();
    for round in bench.rounds() {
        for per_second in bench.plan.again_per_second.clone() {
            for turn in round.turns(servers.len()) {
                let ((id, what), server) = &servers[turn];
                latency::run(bench, round, server, NUMBER, per_second, (id, what)).await?;
            }
        }
    }
    Ok(())
}

/// What stands in an id, and in words.
fn words(Setting { shards, replicas, .. }: Setting) -> (String, String) {
    let what = format!("{replicas} {}, {shards} {}", plural(replicas, "replica"), plural(shards.into(), "shard"));
    (format!("{replicas}-replicas/{shards}-shards"), what)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
