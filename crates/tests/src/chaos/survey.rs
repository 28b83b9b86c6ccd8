//! What both gateways show in the end. This module must never know what clients were told.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bank::Bank,
    clients::{Customer, World, balance},
    history::{Account, Entry, Payment},
};
use crate::{Client, money};

/// How long the bank may take to come to rest by itself once everything is mended.
const REST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What one page has at most.
const PAGE: usize = 100;
/// Statuses that no other follows.
pub(super) const FINAL: [&str; 3] = ["BOOKED", "REJECTED", "RETURNED"];

/// Waits until nothing is under way and both gateways show the same; says how long that took.
///
/// # Errors
/// What still moves after half a minute.
pub async fn rest(bank: &Bank, world: &World) -> anyhow::Result<Duration> {
    let since = Instant::now();
    loop {
        match is_at_rest(bank, world).await {
            Ok(()) => return Ok(since.elapsed()),
            Err(why) if since.elapsed() > REST => return Err(why.context("no rest after half a minute")),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn is_at_rest(bank: &Bank, world: &World) -> anyhow::Result<()> {
    ensure!(bank.is_ready().await, "a gateway is not ready");
    for customer in world.customers.iter().chain(&world.probes) {
        let [first, second] = world.gateways.each_ref().map(|gateway| customer.client.at(gateway));
        let (first_balance, second_balance) = (balance(&first, &customer.account).await?, balance(&second, &customer.account).await?);
        ensure!(first_balance == second_balance, "{}: {first_balance:?} and {second_balance:?}", customer.account);
        for client in [first, second] {
            let (payments, _) = page(&client, &customer.account, "payments", PAYMENT, None).await?;
            for payment in payments {
                ensure!(payment["status"].as_str().is_some_and(|status| FINAL.contains(&status)), "{payment}");
            }
        }
    }
    Ok(())
}

/// What a gateway shows of everybody.
///
/// # Errors
/// Where it does not answer.
pub async fn accounts(world: &World, gateway: usize) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for customer in &world.customers {
        accounts.push(account(&customer.client.at(&world.gateways[gateway]), customer).await?);
    }
    Ok(accounts)
}

const PAYMENT: &str = "id reference status rejection { code }";
const ENTRY: &str = "version direction amount { amount } balanceAfter { amount } payment { id }";

async fn account(client: &Client, customer: &Customer) -> anyhow::Result<Account> {
    let payments = all(client, &customer.account, "payments", PAYMENT).await?;
    let entries = all(client, &customer.account, "transactions", ENTRY).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let payment = |node: &Value| Payment {
        id: text(&node["id"]),
        reference: text(&node["reference"]),
        status: text(&node["status"]),
        rejection: node["rejection"]["code"].as_str().map(str::to_owned),
    };
    let entry = |node: &Value| {
        let sign = if node["direction"] == "DEBIT" { -1 } else { 1 };
        anyhow::Ok(Entry {
            version: node["version"].as_u64().context("a version")?,
            minor: sign * money(&node["amount"])?,
            balance_minor: money(&node["balanceAfter"])?,
            payment: text(&node["payment"]["id"]),
        })
    };
    Ok(Account { payments: payments.iter().map(payment).collect(), entries: entries.iter().rev().map(entry).collect::<Result<_, _>>()? })
}

/// A whole connection, newest first.
async fn all(client: &Client, account: &str, field: &str, selection: &str) -> anyhow::Result<Vec<Value>> {
    let (mut nodes, mut after) = page(client, account, field, selection, None).await?;
    while let Some(cursor) = after {
        let (more, next) = page(client, account, field, selection, Some(&cursor)).await?;
        nodes.extend(more);
        after = next;
    }
    Ok(nodes)
}

async fn page(
    client: &Client,
    account: &str,
    field: &str,
    selection: &str,
    after: Option<&str>,
) -> anyhow::Result<(Vec<Value>, Option<String>)> {
    let query = format!(
        "query($after: String) {{ account(id: \"{account}\") {{ {field}(first: {PAGE}, after: $after) {{ \
         nodes {{ {selection} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
    );
    let mut answer = client.send(json!({ "query": query, "variables": { "after": after } })).await?;
    let mut connection = answer["data"]["account"][field].take();
    let nodes = connection["nodes"].take();
    let more = connection["pageInfo"]["hasNextPage"] == true;
    let cursor = connection["pageInfo"]["endCursor"].as_str().map(str::to_owned).filter(|_| more);
    Ok((nodes.as_array().with_context(|| format!("{field}: {answer}"))?.clone(), cursor))
}
