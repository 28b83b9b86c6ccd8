//! 7: from the start of a process with much in its logs to its first booking, after an orderly stop and after
//! a kill behind a burst of payments. This module must never know what a process does meanwhile.

use crate::{
    bank::{Bank, DEFAULT_SHARDS, LONG, Setting, ensure_room},
    bench::{Bench, Watch, subject},
    mix::Mix,
    result::{Better, Subject},
    watch::until,
};

const NUMBER: u8 = 7;
const GOAL_S: f64 = 2.0;
const WAYS: [(bool, &str, &str); 2] =
    [(false, "stop", "after an orderly stop"), (true, "killed", "after kill -9 behind a burst of payments")];

/// Accounts and payments of its bank.
pub fn needs(bench: &Bench) -> (u64, u64) {
    (bench.plan.accounts, bench.plan.restart_payments + bench.plan.restart_burst * bench.rounds().count() as u64)
}

/// Measures it.
///
/// # Errors
/// Where nothing is booked again, or there is no room.
pub async fn take(bench: &mut Bench) -> anyhow::Result<()> {
    let (accounts, payments, burst) = (bench.plan.accounts, bench.plan.restart_payments, bench.plan.restart_burst);
    ensure_room(accounts, needs(bench).1)?;
    bench.doing(&format!("7. Making {payments} payments"));
    let mut bank = Bank::open(Setting { shards: DEFAULT_SHARDS, replicas: 1, accounts }).await?;
    bank.pay_many(Mix::Uniform, payments).await?;
    for round in bench.rounds() {
        for (kill, id, what) in WAYS {
            bench.running(round, &format!("7. Restart {what}"));
            if kill {
                // No snapshot and hardly a read model has these when it is killed.
                bank.pay_many(Mix::Uniform, burst).await?;
            }
            let stopped = bank.stop(kill).await?;
            let watch = Watch::start(stopped.groups())?;
            let (again, since) = stopped.start().await?;
            let watch = watch.and_started(again.serve_group()?);
            bank = again;
            first_booking(&bank).await?;
            let took = since.elapsed();
            let used = watch.stop()?;
            let sizes = [("accounts", accounts), ("payments", payments), ("payments of a burst", burst)];
            let parameters = sizes.map(|(name, size)| (name.to_owned(), size)).into();
            let what = format!("{what}, {payments} payments in the logs");
            let subject = Subject {
                goal: Some(GOAL_S),
                durability: bank.durability.clone(),
                parameters,
                ..subject(NUMBER, id, &what, "s", Better::Lower)
            };
            bench.keep(round, subject, took.as_secs_f64(), &used);
        }
    }
    Ok(())
}

/// Sends a payment over HTTP as soon as one is taken, and waits until the ledger's log has a booking more.
async fn first_booking(bank: &Bank) -> anyhow::Result<()> {
    let (from, to) = (bank.accounts.account(0), bank.accounts.iban(1)?);
    let input = format!("{{debtorAccountId: \"{from}\", creditorIban: \"{to}\", amount: {{amount: \"0.01\", currency: \"EUR\"}}}}");
    let mutation = format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} }} }}");
    let (client, before) = (bank.client(0)?, bank.ledger_records().await?);
    until("a payment is accepted", LONG, || async {
        let answer = client.execute(&mutation).await.ok();
        Ok(answer.filter(|answer| answer["initiatePayment"]["payment"]["id"].is_string()))
    })
    .await?;
    until("a payment is booked", LONG, || async { Ok((bank.ledger_records().await? > before).then_some(())) }).await
}
