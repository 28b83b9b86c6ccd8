//! Killed in the middle, by two writers, and with a broker that goes away: nothing is lost or doubled.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use rustix::process::Signal;
use tests::{Client, Dev, Nats, freeze, load::operator, money, tokens::SECRET};

/// What each of the payers starts with, in cents.
const START_MINOR: i64 = 1_000_000;
const PAYERS: usize = 4;

struct Payer {
    client: Client,
    account: String,
    iban: String,
}

async fn payers(address: &str, operator: &Client) -> Vec<Payer> {
    let mut payers = Vec::new();
    for number in 0..PAYERS {
        let client = Client::new(address, None).register(&format!("Payer{number}")).await.expect("registered");
        let (account, iban) = client.open_account("EUR").await.expect("opened");
        operator.deposit(&account, "10000.00", "EUR").await.expect("deposited");
        payers.push(Payer { client, account, iban });
    }
    payers
}

/// Sends payment `number` of a payer to the next one; answers with its id once it is accepted.
async fn pay(payers: &[Payer], address: &str, payer: usize, number: usize) -> anyhow::Result<String> {
    let (from, to) = (&payers[payer], &payers[(payer + 1) % payers.len()]);
    let key = format!("key-{payer}-{number}");
    let input = format!(
        "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"0.{:02}\", currency: \"EUR\"}}, idempotencyKey: \"{key}\"}}",
        from.account,
        to.iban,
        number % 99 + 1
    );
    let data = from
        .client
        .at(address)
        .execute(&format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} errors {{ code }} }} }}"))
        .await?;
    data["initiatePayment"]["payment"]["id"].as_str().map(str::to_owned).ok_or_else(|| anyhow::anyhow!("{data}"))
}

/// Sends each payment until it is accepted, at the gateways in turn, whatever happens to them.
async fn pay_all(payers: &[Payer], addresses: &[&str], payer: usize, numbers: std::ops::Range<usize>) -> BTreeMap<usize, String> {
    let mut accepted = BTreeMap::new();
    for number in numbers {
        let id = tests::eventually("a payment is accepted", || async {
            for address in addresses {
                if let Ok(id) = pay(payers, address, payer, number).await {
                    return Ok(Some(id));
                }
            }
            Ok(None)
        });
        accepted.insert(number, id.await.expect("accepted"));
    }
    accepted
}

/// Every accepted payment is booked once, and the sums are right.
async fn check(payers: &[Payer], address: &str, accepted: &[BTreeMap<usize, String>]) {
    for (payer, payments) in payers.iter().zip(accepted) {
        let client = payer.client.at(address);
        let statuses = join_all(payments.values().map(|id| client.final_status(id))).await;
        assert!(statuses.iter().all(|status| status.as_deref().ok() == Some("BOOKED")), "{statuses:?}");
    }
    let sent = |payer: usize| accepted[payer].keys().map(|number| i64::try_from(number % 99).expect("small") + 1).sum::<i64>();
    for (index, payer) in payers.iter().enumerate() {
        let expected = START_MINOR - sent(index) + sent((index + PAYERS - 1) % PAYERS);
        let entries = accepted[index].len() + accepted[(index + PAYERS - 1) % PAYERS].len() + 1;
        let query = format!("{{ account(id: \"{}\") {{ balance {{ booked {{ amount }} version }} }} }}", payer.account);
        tests::eventually("all credits are booked", || async {
            let data = payer.client.at(address).execute(&query).await?;
            let balance = &data["account"]["balance"];
            assert!(balance["version"].as_u64().is_some_and(|version| version <= entries as u64), "something is booked twice: {data}");
            Ok((balance["version"] == entries && money(&balance["booked"])? == expected).then_some(()))
        })
        .await
        .expect("the right sums");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_thousand_payments() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &["--no-demo", "--jwt-secret", SECRET]).await.expect("up");
    let operator = operator(&dev.address).expect("a token");
    let payers = payers(&dev.address, &operator).await;
    let address = std::sync::Mutex::new(dev.address.clone());
    let current = || address.lock().expect("not poisoned").clone();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let load = join_all((0..PAYERS).map(|payer| {
        let (payers, current, done) = (&payers, &current, &done);
        async move {
            let mut accepted = BTreeMap::new();
            for number in 0..250 {
                accepted.extend(
                    tests::eventually("accepted", || async {
                        Ok(pay(payers, &current(), payer, number).await.ok().map(|id| (number, id)))
                    })
                    .await,
                );
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            accepted
        }
    }));
    let kill = async {
        let mut dev = dev;
        for at in [150, 500, 850] {
            let reached = || async { Ok((done.load(std::sync::atomic::Ordering::Relaxed) >= at).then_some(())) };
            tests::eventually("the middle", reached).await.expect("reached");
            dev.kill().await.expect("killed");
            dev = Dev::start(data.path(), &["--no-demo", "--jwt-secret", SECRET]).await.expect("up again");
            *address.lock().expect("not poisoned") = dev.address.clone();
        }
        dev
    };
    let (accepted, dev) = tokio::join!(load, kill);
    assert!(accepted.iter().all(|payments| payments.len() == 250));
    check(&payers, &dev.address, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_the_same_roles_and_shards_book_everything_once() {
    let nats = Nats::start().expect("a nats-server");
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = Dev::serve(&nats, one.path(), &[]).await.expect("up");
    let second = Dev::serve(&nats, two.path(), &[]).await.expect("up");
    let operator = operator(&first.address).expect("a token");
    let payers = payers(&first.address, &operator).await;
    let addresses = [first.address.as_str(), second.address.as_str()];
    let reversed = [addresses[1], addresses[0]];
    let load = |payer| pay_all(&payers, if payer % 2 == 0 { &addresses } else { &reversed }, payer, 0..100);
    let accepted = join_all((0..PAYERS).map(load)).await;
    check(&payers, &first.address, &accepted).await;
    check(&payers, &second.address, &accepted).await;
    let second_address = second.address.clone();
    let survivor = [second_address.as_str()];
    first.kill().await.expect("killed");
    let more = join_all((0..PAYERS).map(|payer| pay_all(&payers, &survivor, payer, 100..120))).await;
    let all: Vec<BTreeMap<_, _>> =
        accepted.into_iter().zip(more).map(|(before, after)| before.into_iter().chain(after).collect()).collect();
    check(&payers, &second_address, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_refuses_clearly_and_loses_nothing() {
    let mut nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    let payers = payers(&serve.address, &operator).await;
    let gateway = [serve.address.as_str()];
    let before = join_all((0..PAYERS).map(|payer| pay_all(&payers, &gateway, payer, 0..25))).await;
    nats.kill().expect("killed");
    let refused = tests::eventually("payments are refused", || async { Ok(pay(&payers, &serve.address, 0, 1_000).await.err()) }).await;
    let refused = refused.expect("refused").to_string();
    assert!(refused.contains("UNAVAILABLE"), "{refused}");
    let since = tokio::time::Instant::now();
    pay(&payers, &serve.address, 1, 1_000).await.expect_err("refused");
    assert!(since.elapsed() < Duration::from_secs(5), "a refusal does not keep its caller waiting");
    nats.start_again().expect("started");
    let after = join_all((0..PAYERS).map(|payer| pay_all(&payers, &gateway, payer, 25..50))).await;
    let mut all: Vec<BTreeMap<_, _>> =
        before.into_iter().zip(after).map(|(before, after)| before.into_iter().chain(after).collect()).collect();
    // What had no answer may have been stored: asked again with its key, it is the same payment.
    for payer in [0, 1] {
        all[payer].extend(pay_all(&payers, &gateway, payer, 1_000..1_001).await);
    }
    check(&payers, &serve.address, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_broker_leaves_open_is_known_once_it_is_asked_again() {
    let nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    let payers = payers(&serve.address, &operator).await;
    freeze(nats.pid()).expect("stopped");
    let unknown = pay(&payers, &serve.address, 0, 1).await.expect_err("no answer from the log").to_string();
    assert!(unknown.contains("UNAVAILABLE") && unknown.contains("may have been stored") && unknown.contains("retryAfterMs"), "{unknown}");
    nats.signal(Signal::CONT).expect("goes on");
    let gateway = [serve.address.as_str()];
    let accepted = join_all((0..PAYERS).map(|payer| pay_all(&payers, &gateway, payer, 1..3))).await;
    check(&payers, &serve.address, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_payments_fit_into_a_server_with_default_limits() {
    let nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    let payers = payers(&serve.address, &operator).await;
    let reference = "𝄞".repeat(140);
    let bulk = |payer: usize| {
        let (from, to) = (&payers[payer], &payers[(payer + 1) % PAYERS]);
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"0.01\", currency: \"EUR\"}}, reference: \"{reference}\"}}",
            from.account, to.iban
        );
        let inputs = vec![input; 1_000].join(", ");
        from.client.execute_owned(format!("mutation {{ initiatePayments(inputs: [{inputs}]) {{ payment {{ id }} errors {{ code }} }} }}"))
    };
    let answers = join_all((0..PAYERS).map(bulk)).await;
    for (payer, answer) in payers.iter().zip(answers) {
        let answer = answer.expect("an answer");
        let payments = answer["initiatePayments"].as_array().expect("a list");
        assert_eq!(payments.len(), 1_000);
        let last = payments[999]["payment"]["id"].as_str().expect("an id");
        assert_eq!(payer.client.final_status(last).await.expect("final"), "BOOKED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_nothing_older_is_read_than_was_told() {
    let data = tempfile::tempdir().expect("a folder");
    let arguments = ["--no-demo", "--jwt-secret", SECRET];
    let dev = Dev::start(data.path(), &arguments).await.expect("up");
    let operator = operator(&dev.address).expect("a token");
    let payers = payers(&dev.address, &operator).await;
    let accepted = pay_all(&payers, &[&dev.address], 0, 0..300).await;
    for id in accepted.values() {
        payers[0].client.final_status(id).await.expect("final");
    }
    dev.kill().await.expect("killed");
    let dev = Dev::start(data.path(), &arguments).await.expect("up again");
    let client = payers[0].client.at(&dev.address);
    let query = format!("{{ viewer {{ name }} account(id: \"{}\") {{ balance {{ version }} }} }}", payers[0].account);
    let told = client.execute(&query).await.expect("an answer");
    assert_eq!(told, serde_json::json!({ "viewer": { "name": "Payer0" }, "account": { "balance": { "version": 301 } } }));
}
