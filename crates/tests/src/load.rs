//! Customers with money, and payments by the hundred thousand straight into the command logs.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use domain::{AccountId, Currency, CustomerId, Debtor, Iban, Initiator, Money, PaymentId, PaymentOrder, payments::PaymentCommand};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use streams::{Broker, CommandAppender, Cursor, LogName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Client, Nats, tokens};

/// What the built-in streams.yaml has.
pub const SHARDS: u16 = 2;
/// Customers that are made at once.
const AT_ONCE: usize = 64;
/// Orders that wait for their acknowledgement at most.
const WINDOW: usize = 8_192;

/// A customer with an account.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Signed in.
    pub client: Client,
    /// Who.
    pub customer: CustomerId,
    /// The account.
    pub account: AccountId,
    /// Its IBAN.
    pub iban: String,
}

/// An operator of a gateway that has the tests' secret.
///
/// # Errors
/// Where no token can be had.
pub fn operator(address: &str) -> anyhow::Result<Client> {
    Ok(Client::new(address, Some(&tokens::of_operator()?)))
}

/// Makes customers with 100,000.00 each.
///
/// # Errors
/// Where one is refused.
pub async fn holders(address: &str, count: usize) -> anyhow::Result<Vec<Holder>> {
    let operator = operator(address)?;
    let open = |number: usize| {
        let operator = operator.clone();
        async move {
            let client = Client::new(address, None).register(&format!("Holder{number}")).await?;
            let (account, iban) = client.open_account("EUR").await?;
            operator.deposit(&account, "100000.00", "EUR").await?;
            let data = client.execute("{ viewer { id } }").await?;
            let customer = data["viewer"]["id"].as_str().context("an id")?.parse()?;
            anyhow::Ok(Holder { client, customer, account: account.parse()?, iban })
        }
    };
    stream::iter(0..count).map(open).buffer_unordered(AT_ONCE).try_collect().await
}

/// Stores payments of a cent each among `holders`, with ids from 1 on; answers with the last of each
/// shard and whose it is.
///
/// # Errors
/// Where one is not stored.
pub async fn store_payments(nats: &Nats, holders: &[Holder], count: u64) -> anyhow::Result<Vec<(Client, PaymentId)>> {
    let broker = Broker::connect(&nats.url()).await?;
    let append = |shard| {
        let log = broker.log(LogName::new("payment-commands", Some(shard)));
        CommandAppender::start(log, Arc::new(Cursor::default), CancellationToken::new())
    };
    let logs: Vec<CommandAppender<PaymentCommand>> = (0..SHARDS).map(append).collect();
    let mut last = vec![None; usize::from(SHARDS)];
    let mut stored = Vec::new();
    for number in 0..count {
        let (from, order) = order(holders, number)?;
        let shard = usize::from(order.debtor.shard(SHARDS).0);
        last[shard] = Some((from.client.clone(), order.id));
        stored.push(logs[shard].reserve()?.submit(PaymentCommand::Initiated(order)));
        if stored.len() >= WINDOW {
            for answer in stored.drain(..) {
                answer.await??;
            }
        }
    }
    for answer in stored {
        answer.await??;
    }
    Ok(last.into_iter().flatten().collect())
}

fn order(holders: &[Holder], number: u64) -> anyhow::Result<(&Holder, PaymentOrder)> {
    let index = usize::try_from(number)?;
    let from = &holders[index % holders.len()];
    let to = &holders[(index * 7 + 1 + index / holders.len()) % holders.len()];
    let to = if from.account == to.account { &holders[(index + 1) % holders.len()] } else { to };
    let order = PaymentOrder {
        id: PaymentId::from_bytes((u128::from(number) + 1).to_be_bytes()),
        by: Initiator::Customer(from.customer),
        debtor: Debtor::Account(from.account),
        creditor: Iban::parse(&to.iban).map_err(|why| anyhow::anyhow!(why))?,
        amount: Money::from_minor(1, Currency::parse("EUR")?),
        reference: None,
        at: streams::now(),
    };
    Ok((from, order))
}

/// How many entries the holders' accounts have together: two for each payment among them.
///
/// # Errors
/// Where one cannot be asked.
pub async fn entries(holders: &[Holder]) -> anyhow::Result<u64> {
    let of = |holder: &Holder| {
        let (client, query) = (holder.client.clone(), format!("{{ account(id: \"{}\") {{ balance {{ version }} }} }}", holder.account));
        async move { client.execute(&query).await?["account"]["balance"]["version"].as_u64().context("a version") }
    };
    stream::iter(holders.iter().map(of)).buffer_unordered(AT_ONCE).try_fold(0, async |sum, entries| Ok(sum + entries)).await
}

/// Between two looks at all entries: each is a query for every account.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until the holders' accounts have as many entries.
///
/// # Errors
/// Where they have more, or never as many within `patience`.
pub async fn until_entries(holders: &[Holder], count: u64, patience: Duration) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        // With a backlog a balance may be asked for in vain.
        let there = entries(holders).await;
        if there.as_ref().is_ok_and(|there| *there == count) {
            return Ok(());
        }
        ensure!(there.as_ref().map_or(true, |there| *there < count), "{there:?} entries, where {count} are expected");
        ensure!(since.elapsed() < patience, "{there:?} entries, where {count} are expected");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until every read model has folded all of its logs, as they are now: a service may still have
/// something to say of what it was told.
///
/// # Errors
/// Where they never have within `patience`.
pub async fn all_level(operator: &Client, patience: Duration) -> anyhow::Result<()> {
    let lag = "{ system { readModels { lag } } }";
    let wait = async {
        loop {
            if let Ok(data) = operator.execute(lag).await {
                let models = data["system"]["readModels"].as_array().context("models")?;
                if models.iter().all(|model| model["lag"] == "0") {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, wait).await.context("the read models never become level")?
}
