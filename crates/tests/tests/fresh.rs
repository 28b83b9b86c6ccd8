//! What was made at one gateway a moment ago is found at the other.

use serde_json::{Value, json};
use tests::{Client, Dev, Nats};

/// How often a gateway stands still while something is made at the other.
const ROUNDS: usize = 6;

fn payment(account: &str, iban: &str) -> Value {
    json!({ "debtorAccountId": account, "creditorIban": iban, "amount": { "amount": "0.01", "currency": "EUR" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_and_opens_an_account_at_one_gateway_uses_it_at_the_other() {
    let nats = Nats::start().expect("a nats-server");
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let one = Dev::serve(&nats, folders[0].path(), &[]).await.expect("up");
    let other = Dev::serve(&nats, folders[1].path(), &[]).await.expect("up");
    let pay = "mutation($input: InitiatePaymentInput!) { initiatePayment(input: $input) { payment { status } errors { code } } }";
    for round in 0..ROUNDS {
        let (here, there) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        // What is asked there is read at once with what was made here meanwhile.
        there.stand_still().expect("stopped");
        let customer = Client::new(&here.address, None).register(&format!("Ada{round}")).await.expect("registered");
        let away = customer.at(&there.address);
        let (opened, goes_on) = tokio::join!(away.open_account("EUR"), there.go_on_once_asked(1));
        goes_on.expect("goes on");
        let (_, iban) = opened.expect("a customer there too");

        there.stand_still().expect("stopped");
        let (account, _) = customer.open_account("EUR").await.expect("opened");
        let input = json!({ "query": pay, "variables": { "input": payment(&account, &iban) } });
        let (paid, goes_on) = tokio::join!(away.send(input), there.go_on_once_asked(1));
        goes_on.expect("goes on");
        let paid = paid.expect("an answer");
        assert_eq!(paid["data"]["initiatePayment"]["payment"]["status"], "ACCEPTED", "{paid}");

        let (account, _) = customer.open_account("EUR").await.expect("opened");
        let mut socket = away.socket().await.expect("a socket");
        let watch = format!("subscription {{ balanceChanged(accountId: \"{account}\") {{ version }} }}");
        socket.subscribe("1", &watch).await.expect("sent");
        assert_eq!(socket.next("balanceChanged").await.expect("the balance")["version"], 0);
    }
}
