//! Subscriptions that are opened again wherever they break, from the last version that they said.
//! This module must never judge what they say.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use tokio::sync::Mutex;

use super::{clients::World, history::Watched};
use crate::{Client, money};

/// A subscription that is silent for this long is opened again elsewhere: TCP alone does not say that
/// the other side is gone.
const SILENCE: Duration = Duration::from_secs(3);
/// Before it is opened again.
const AGAIN: Duration = Duration::from_millis(50);

/// What a watcher has heard, to look at while it hears more.
pub type Heard = Arc<Mutex<Watched>>;

/// Watches one client's account until it is dropped.
pub async fn watch(world: Arc<World>, heard: Heard) {
    let (client, is_every) = {
        let heard = heard.lock().await;
        (heard.client, heard.is_every)
    };
    let customer = &world.customers[client];
    for gateway in world.gateways.iter().cycle() {
        // However it ended, it goes on from where it was.
        let _ = follow(&customer.client.at(gateway), &customer.account, is_every, &heard).await;
        heard.lock().await.reconnects += 1;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow(client: &Client, account: &str, is_every: bool, heard: &Heard) -> anyhow::Result<()> {
    let last = heard.lock().await.said.last().map(|(version, _)| *version);
    let mut socket = tokio::time::timeout(SILENCE, client.socket()).await??;
    let after = match last {
        Some(version) => format!(", afterVersion: {version}"),
        None if is_every => ", afterVersion: 0".to_owned(),
        None => String::new(),
    };
    let (field, selection) =
        if is_every { ("transactionBooked", "version balanceAfter { amount }") } else { ("balanceChanged", "version booked { amount }") };
    socket.subscribe("1", &format!("subscription {{ {field}(accountId: \"{account}\"{after}) {{ {selection} }} }}")).await?;
    loop {
        let Ok(value) = tokio::time::timeout(SILENCE, socket.next(field)).await else { bail!("silence") };
        let value = value?;
        let balance = if is_every { &value["balanceAfter"] } else { &value["booked"] };
        heard.lock().await.said.push((value["version"].as_u64().context("a version")?, money(balance)?));
    }
}
