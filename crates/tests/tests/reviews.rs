//! What waits for a review, and what an account has ordered in a day, outlive the process that knows it.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Client, Dev, Nats,
    load::{Holder, holders, operator},
};

/// Held from 50.00 on, and 100.00 in a day.
const LIMITS: [&str; 4] = ["--hold-from", "5000", "--daily-limit", "10000"];
/// All of the test lies in one day of UTC: it takes seconds.
const BEFORE_MIDNIGHT: i64 = 60;

async fn pay(from: &Holder, at: &str, iban: &str, amount: &str) -> Value {
    let input =
        json!({ "debtorAccountId": from.account.to_string(), "creditorIban": iban, "amount": { "amount": amount, "currency": "EUR" } });
    let query = "mutation($input: InitiatePaymentInput!) { initiatePayment(input: $input, waitFor: FINAL) { payment { id status rejection { code } } } }";
    let mut answer = from.client.at(at).send(json!({ "query": query, "variables": { "input": input } })).await.expect("an answer");
    answer["data"]["initiatePayment"]["payment"].take()
}

async fn review(operator: &Client, payment: &Value, decision: &str) -> String {
    let query = format!(
        "mutation {{ reviewPayment(input: {{paymentId: {}, decision: {decision}}}) {{ payment {{ status }} errors {{ code }} }} }}",
        payment["id"]
    );
    let done = operator.execute(&query).await.expect("reviewed");
    assert_eq!(done["reviewPayment"]["errors"], json!([]));
    operator.final_status(payment["id"].as_str().expect("an id")).await.expect("final")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_and_what_was_spent_today_outlive_a_stop_and_a_kill() {
    let left = 86_400 - (streams::now().micros() / 1_000_000).rem_euclid(86_400);
    if left < BEFORE_MIDNIGHT {
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs())).await;
    }
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &LIMITS).await.expect("up");
    let two = holders(&serve.address, 2).await.expect("two with an account");
    let (lisa, iban) = (&two[0], &two[1].iban);
    let (released, declined) = (pay(lisa, &serve.address, iban, "50.00").await, pay(lisa, &serve.address, iban, "50.00").await);
    assert_eq!((&released["status"], &declined["status"]), (&json!("HELD"), &json!("HELD")), "all of the day's");
    let too_much = json!({ "code": "LIMIT_EXCEEDED" });
    assert_eq!(pay(lisa, &serve.address, iban, "0.01").await["rejection"], too_much);

    // It comes back from its snapshot.
    assert!(serve.interrupt().await.expect("it ends").1);
    let serve = Dev::serve(&nats, data.path(), &LIMITS).await.expect("up again");
    assert_eq!(pay(lisa, &serve.address, iban, "0.01").await["rejection"], too_much, "what is held counts");
    let bank = operator(&serve.address).expect("a token");
    assert_eq!(review(&bank, &declined, "DECLINE").await, "REJECTED");
    assert_eq!(pay(lisa, &serve.address, iban, "40.00").await["status"], "BOOKED", "what was declined was given back");

    // And from what its log has beside it.
    serve.kill().await.expect("killed");
    let serve = Dev::serve(&nats, data.path(), &LIMITS).await.expect("up again");
    assert_eq!(pay(lisa, &serve.address, iban, "10.01").await["rejection"], too_much, "what was booked counts");
    let bank = operator(&serve.address).expect("a token");
    assert_eq!(review(&bank, &released, "RELEASE").await, "BOOKED");
    assert_eq!(pay(lisa, &serve.address, iban, "10.00").await["status"], "BOOKED", "up to the last cent");
    assert_eq!(pay(lisa, &serve.address, iban, "0.01").await["rejection"], too_much);
}
