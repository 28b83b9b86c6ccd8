//! The payments service recognises an order by its id, for ever, whatever gateways let through.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

use std::sync::Arc;

use domain::{AccountId, Currency, CustomerId, Debtor, Iban, Initiator, Money, PaymentId, PaymentOrder, Shard, payments::PaymentCommand};
use serde_json::{Value, json};
use streams::{Broker, CommandAppender, Cursor, LogName};
use tests::{
    Client, Dev, Nats, eventually,
    load::{holders, operator, store_payments},
};
use tokio_util::sync::CancellationToken;

const SHARDS: u16 = 2;
/// Orders that take longer to be read than a request takes.
const BACKLOG: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_stands_in_the_log_three_times_is_one_payment() {
    let nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let operator = operator(&serve.address).expect("a token");
    let lisa = Client::new(&serve.address, None).register("Lisa").await.expect("registered");
    let david = Client::new(&serve.address, None).register("David").await.expect("registered");
    let (account, _) = lisa.open_account("EUR").await.expect("opened");
    let (_, iban) = david.open_account("EUR").await.expect("opened");
    operator.deposit(&account, "100.00", "EUR").await.expect("deposited");
    let viewer = lisa.execute("{ viewer { id } }").await.expect("an answer");

    let customer: CustomerId = viewer["viewer"]["id"].as_str().expect("an id").parse().expect("an id");
    let debtor: AccountId = account.parse().expect("an id");
    let order = |id: u8| PaymentOrder {
        id: PaymentId::from_bytes([id; 16]),
        by: Initiator::Customer(customer),
        debtor: Debtor::Account(debtor),
        creditor: Iban::parse(&iban).expect("an IBAN"),
        amount: Money::from_minor(1_000, Currency::parse("EUR").expect("in use")),
        reference: None,
        at: streams::now(),
    };
    let broker = Broker::connect(&nats.url()).await.expect("connects");
    let log = broker.log(LogName::new("payment-commands", Some(order(1).debtor.shard(SHARDS).0)));
    let appender = CommandAppender::start(log, Arc::new(Cursor::default), CancellationToken::new());
    let append = async |id: u8| appender.append(PaymentCommand::Initiated(order(id))).await.expect("stored");

    append(1).await;
    append(1).await;
    assert_eq!(lisa.final_status(&order(1).id.to_string()).await.expect("final"), "BOOKED");
    // It comes back from its snapshot, which must have the id.
    assert!(serve.interrupt().await.expect("it ends").1);
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up again");
    let lisa = lisa.at(&serve.address);
    append(1).await;
    append(2).await;
    assert_eq!(lisa.final_status(&order(2).id.to_string()).await.expect("final"), "BOOKED");
    // The balance is in another read model than the status.
    let query = format!("{{ account(id: \"{account}\") {{ balance {{ booked {{ amount }} version }} }} }}");
    let booked = serde_json::json!({ "booked": { "amount": "80.00" }, "version": 3 });
    let is_booked = || async { Ok((lisa.execute(&query).await?["account"]["balance"] == booked).then_some(())) };
    eventually("two payments are booked and no more", is_booked).await.expect("booked");
}

/// Payments in one request; what became of each.
async fn bulk(client: &Client, inputs: Vec<Value>) -> Vec<Value> {
    let query = "mutation($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { payment { id } errors { code } } }";
    let mut answer = client.send(json!({ "query": query, "variables": { "inputs": inputs } })).await.expect("an answer");
    serde_json::from_value(answer["data"]["initiatePayments"].take()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Each of them waits for what the others have in the queue.
#[tokio::test(flavor = "multi_thread")]
async fn of_bulks_that_share_keys_in_any_order_each_order_is_stored_once() {
    const KEYS: usize = 100;
    const REQUESTS: usize = 12;
    const ROUNDS: usize = 8;
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &["--no-demo"]).await.expect("up");
    let lisa = Client::new(&dev.address, None).register("Lisa").await.expect("registered");
    let david = Client::new(&dev.address, None).register("David").await.expect("registered");
    let (account, _) = lisa.open_account("EUR").await.expect("opened");
    let (_, iban) = david.open_account("EUR").await.expect("opened");
    let input = |key: &str, amount: &str| {
        let amount = json!({ "amount": amount, "currency": "EUR" });
        json!({ "debtorAccountId": account, "creditorIban": iban, "amount": amount, "idempotencyKey": key })
    };
    for round in 0..ROUNDS {
        let forth: Vec<_> = (0..KEYS).map(|key| input(&format!("{round}-{key}"), "1.00")).collect();
        let back: Vec<_> = forth.iter().rev().cloned().collect();
        let twice = [forth.clone(), back.clone()].concat();
        let requests = (0..REQUESTS).map(|number| bulk(&lisa, if number % 2 == 0 { forth.clone() } else { back.clone() }));
        let (answers, twice) = tokio::join!(futures_util::future::join_all(requests), bulk(&lisa, twice));
        let made = &answers[0];
        assert!(made.iter().all(|made| made["payment"]["id"].is_string()), "{made:?}");
        for (number, mut answer) in answers.iter().cloned().enumerate() {
            if number % 2 == 1 {
                answer.reverse();
            }
            assert_eq!(answer, *made);
        }
        assert!(twice[..KEYS] == *made && twice[KEYS..].iter().rev().eq(made));
    }
    let mut unkeyed = input("a", "1.00");
    unkeyed.as_object_mut().expect("an object").remove("idempotencyKey");
    let others = [input("a", "1.00"), input("b", "0"), input("a", "2.00"), input("0-0", "1.00"), unkeyed, input("a", "1.00")];
    let mixed = bulk(&lisa, others.to_vec()).await;
    let codes: Vec<_> = mixed.iter().map(|made| made["errors"][0]["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("INVALID_AMOUNT"), Some("IDEMPOTENCY_KEY_REUSED"), None, None, None]);
    assert_eq!(mixed[0], mixed[5]);
    // Of the last ones, `a` and the one without a key were new.
    let metrics = reqwest::get(format!("http://{}/metrics", dev.address)).await.expect("an answer").text().await.expect("text");
    let accepted = format!("millrace_payments_total{{status=\"ACCEPTED\"}} {}", ROUNDS * KEYS + 2);
    assert!(metrics.lines().any(|line| line == accepted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_bank_is_that_of_one_deposit_whichever_gateway_and_shard_it_is_for() {
    let nats = Nats::start().expect("a nats-server");
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let first = Dev::serve(&nats, folders[0].path(), &[]).await.expect("up");
    let second = Dev::serve(&nats, folders[1].path(), &[]).await.expect("up");
    let holders = holders(&first.address, 2).await.expect("accounts");
    let account = holders[0].account;
    let shard = Shard::of(account, SHARDS);
    let mut others = 0;
    let elsewhere = loop {
        others += 1;
        let other = Client::new(&first.address, None).register(&format!("Other{others}")).await.expect("registered");
        let (account, _) = other.open_account("EUR").await.expect("opened");
        if Shard::of(account.parse().expect("an id"), SHARDS) != shard {
            break account;
        }
    };
    let bank = operator(&first.address).expect("a token");
    let deposit = async |gateway: &Dev, account: &str, amount: &str| {
        let input = json!({ "accountId": account, "amount": { "amount": amount, "currency": "EUR" }, "idempotencyKey": "once" });
        let query = "mutation($input: DepositInput!) { deposit(input: $input) { payment { id } errors { code } } }";
        // While it is far behind it may say so.
        let known = || async {
            let answer = bank.at(&gateway.address).send(json!({ "query": query, "variables": { "input": input } })).await?;
            Ok(Some(answer).filter(|answer| answer["errors"][0]["extensions"]["code"] != "UNAVAILABLE"))
        };
        let answer = eventually("a key is known, or known to be new", known).await.expect("an answer");
        let made = &answer["data"]["deposit"];
        (made["payment"]["id"].as_str().map(str::to_owned), made["errors"][0]["code"].as_str().map(str::to_owned))
    };
    // The second stands still, and has much to read before it comes to the key.
    second.stand_still().expect("stopped");
    store_payments(&nats, &holders, BACKLOG).await.expect("stored");
    let account = account.to_string();
    let (made, error) = deposit(&first, &account, "1.00").await;
    assert!(made.is_some() && error.is_none(), "{error:?}");
    let reused = || (None, Some("IDEMPOTENCY_KEY_REUSED".to_owned()));
    let (asked, goes_on) = tokio::join!(deposit(&second, &elsewhere, "1.00"), second.go_on_once_asked(1));
    goes_on.expect("goes on");
    assert_eq!(asked, reused(), "it waits for what it has not read");
    for gateway in [&second, &first] {
        assert_eq!(deposit(gateway, &elsewhere, "1.00").await, reused(), "it was another account's");
        assert_eq!(deposit(gateway, &account, "2.00").await, reused(), "it was another amount");
        assert_eq!(deposit(gateway, &account, "1.00").await, (made.clone(), None), "it is the same");
    }
    assert_eq!(bank.final_status(&made.expect("an id")).await.expect("final"), "BOOKED");
}
