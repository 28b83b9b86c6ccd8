//! More than can be taken: refused at once, with a hint when to come again, and nothing of it stored.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{collections::BTreeSet, sync::Arc};

use domain::{CommandId, CustomerId, Email, customers::CustomerCommand};
use futures_util::future::join_all;
use reqwest::header::RETRY_AFTER;
use rustix::process::Signal;
use serde_json::{Value, json};
use streams::{Broker, CommandAppender, Cursor, LogName};
use tests::{
    Client, Dev, Nats, PATIENCE, eventually, freeze,
    load::{all_level, holders, operator},
};
use tokio_util::sync::CancellationToken;

/// With the longest references, together more than the bodies that a gateway lets in at once.
const BULKS: usize = 30;
const BULK: usize = 250;
const REFERENCE_CHARS: usize = 140;
const PAGE: usize = 100;

/// As long as may be; it says which bulk it is of.
fn reference(number: usize) -> String {
    format!("{number:02}{}", "€".repeat(REFERENCE_CHARS - 2))
}

/// The references of all payments of an account.
async fn references(client: &Client, account: &str) -> BTreeSet<String> {
    let (mut all, mut after) = (BTreeSet::new(), Value::Null);
    loop {
        let query = format!(
            "query($after: String) {{ account(id: \"{account}\") {{ payments(first: {PAGE}, after: $after) {{ nodes {{ reference }} \
             pageInfo {{ hasNextPage endCursor }} }} }} }}"
        );
        let mut answer = client.send(json!({ "query": query, "variables": { "after": after } })).await.expect("an answer");
        let payments = answer["data"]["account"]["payments"].take();
        all.extend(payments["nodes"].as_array().expect("a page").iter().map(|node| node["reference"].as_str().expect("text").to_owned()));
        if payments["pageInfo"]["hasNextPage"] == false {
            return all;
        }
        after = payments["pageInfo"]["endCursor"].clone();
    }
}

/// A bulk of payments of a cent each, with keys of its own.
fn bulk(account: &str, iban: &str, number: usize) -> Value {
    let input = |item: usize| {
        let amount = json!({ "amount": "0.01", "currency": "EUR" });
        json!({ "debtorAccountId": account, "creditorIban": iban, "amount": amount, "reference": reference(number), "idempotencyKey": format!("{number}-{item}") })
    };
    let query = "mutation($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { payment { id } errors { code } } }";
    json!({ "query": query, "variables": { "inputs": (0..BULK).map(input).collect::<Vec<_>>() } })
}

fn is_accepted(answer: &Value) -> bool {
    let payloads = answer["data"]["initiatePayments"].as_array();
    payloads.is_some_and(|payloads| payloads.len() == BULK && payloads.iter().all(|payload| payload["payment"]["id"].is_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_at_once_and_nothing_of_it_is_stored() {
    let nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let holders = holders(&serve.address, 2).await.expect("two with an account");
    let (lisa, account, iban) = (&holders[0].client, holders[0].account.to_string(), &holders[1].iban);

    // Nothing can be appended, so what is let in stays under way.
    freeze(nats.pid()).expect("stopped");
    let send = |number: usize| {
        let post = lisa.post().json(&bulk(&account, iban, number));
        tokio::spawn(async move {
            let response = post.send().await.expect("an answer");
            let (status, retry_after) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
            (number, status.as_u16(), retry_after, response.json::<Value>().await.expect("JSON"))
        })
    };
    let sent: Vec<_> = (0..BULKS).map(send).collect();
    eventually("some are refused while nothing moves", || async {
        Ok(sent.iter().any(tokio::task::JoinHandle::is_finished).then_some(()))
    })
    .await
    .expect("refused");
    let read = lisa.execute("{ viewer { accounts { nodes { payments(first: 1) { nodes { id } } } } } }").await;
    assert!(read.is_ok(), "reads go on while nothing can be appended: {read:?}");
    nats.signal(Signal::CONT).expect("goes on");

    let answers: Vec<_> = join_all(sent).await.into_iter().map(|answer| answer.expect("no panic")).collect();
    let refused: Vec<_> = answers.iter().filter(|(_, status, ..)| *status == 503).collect();
    assert!(!refused.is_empty(), "not everything is let in");
    for (_, _, retry_after, answer) in &refused {
        assert_eq!(retry_after.as_ref().map(|value| value.as_bytes()), Some(&b"1"[..]));
        assert_eq!(answer["errors"][0]["extensions"], json!({ "code": "OVERLOADED", "retryAfterMs": 1_000 }));
    }

    all_level(&operator(&serve.address).expect("a token"), PATIENCE).await.expect("level");
    let stored = references(lisa, &account).await;
    assert!(!stored.is_empty(), "some were let in");
    let of_refused = refused.iter().map(|(number, ..)| reference(*number)).filter(|reference| stored.contains(reference)).count();
    assert_eq!(of_refused, 0, "nothing of what was refused is stored");

    // Whoever was refused, or does not know, comes again with the same keys: every payment is made once.
    for number in 0..BULKS {
        let again = || async { Ok(Some(lisa.send(bulk(&account, iban, number)).await?).filter(is_accepted)) };
        eventually("a bulk is accepted", again).await.expect("accepted");
    }
    let query = format!("{{ account(id: \"{account}\") {{ balance {{ booked {{ amount }} version }} }} }}");
    let all = json!({ "booked": { "amount": "99925.00" }, "version": BULKS * BULK + 1 });
    let is_booked = || async { Ok((lisa.execute(&query).await?["account"]["balance"] == all).then_some(())) };
    eventually("every payment is booked, and once", is_booked).await.expect("booked");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_much_larger_than_their_commands_fit_into_the_servers_messages() {
    // Each brings back the whole customer, with a name of half a kilobyte; a message has a mebibyte, as nats-server has it by itself.
    const CHANGES: u128 = 4_000;
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let lisa = Client::new(&serve.address, None).register("Lisa").await.expect("registered");
    let change = format!("mutation {{ changeCustomer(input: {{ name: \"{}\" }}) {{ customer {{ id }} }} }}", "𠮷".repeat(140));
    let changed = lisa.execute(&change).await.expect("changed");
    let customer: CustomerId = changed["changeCustomer"]["customer"]["id"].as_str().expect("an id").parse().expect("an id");
    assert!(serve.interrupt().await.expect("it ends").1);

    let broker = Broker::connect(&nats.url()).await.expect("connects");
    let log = broker.log(LogName::new("customer-commands", None));
    let appender = CommandAppender::start(log, Arc::new(Cursor::default), CancellationToken::new());
    let change = |number: u128| CustomerCommand::Change {
        command: CommandId::from_bytes(number.to_be_bytes()),
        customer,
        name: None,
        email: Email::parse(&format!("lisa{number}@example.org")).ok(),
        at: streams::now(),
    };
    for stored in join_all((1..=CHANGES).map(|number| appender.append(change(number)))).await {
        stored.expect("stored");
    }

    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up again");
    let lisa = lisa.at(&serve.address);
    let last = format!("lisa{CHANGES}@example.org");
    let is_last = || async { Ok((lisa.execute("{ viewer { email } }").await?["viewer"]["email"] == last).then_some(())) };
    eventually("every change is made", is_last).await.expect("changed");
}
