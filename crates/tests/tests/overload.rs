//! More than can be taken: refused at once, with a hint when to come again, and nothing of it stored.

use futures_util::future::join_all;
use reqwest::header::RETRY_AFTER;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Dev, Nats, eventually, freeze, load::holders};

/// With the longest references, together more than the bodies that a gateway lets in at once.
const BULKS: usize = 30;
const BULK: usize = 250;
const REFERENCE_CHARS: usize = 140;

/// A bulk of payments of a cent each, with keys of its own.
fn bulk(account: &str, iban: &str, number: usize) -> Value {
    let input = |item: usize| {
        let amount = json!({ "amount": "0.01", "currency": "EUR" });
        json!({ "debtorAccountId": account, "creditorIban": iban, "amount": amount, "reference": "€".repeat(REFERENCE_CHARS), "idempotencyKey": format!("{number}-{item}") })
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
    nats.signal(Signal::CONT).expect("goes on");

    let answers: Vec<_> = join_all(sent).await.into_iter().map(|answer| answer.expect("no panic")).collect();
    let refused: Vec<_> = answers.iter().filter(|(_, status, ..)| *status == 503).collect();
    assert!(!refused.is_empty(), "not everything is let in");
    for (_, _, retry_after, answer) in &refused {
        assert_eq!(retry_after.as_ref().map(|value| value.as_bytes()), Some(&b"1"[..]));
        assert_eq!(answer["errors"][0]["extensions"], json!({ "code": "OVERLOADED", "retryAfterMs": 1_000 }));
    }
    let status = lisa.execute("{ viewer { accounts { nodes { payments(first: 1) { nodes { id } } } } } }").await;
    assert!(status.is_ok(), "reads go on: {status:?}");

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
