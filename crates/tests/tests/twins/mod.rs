//! Two gateways on one nats-server, each with every role, which are killed and come back, and payments
//! that flow meanwhile. This module must never judge what a gateway shows.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Client, Dev, Nats, eventually, load::Holder};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where the two listen now.
type Addresses = Arc<Mutex<[String; 2]>>;

/// Two gateways.
pub struct Twins {
    serves: [Option<Dev>; 2],
    folders: [tempfile::TempDir; 2],
    addresses: Addresses,
    nats: Nats,
}

impl Twins {
    /// Starts both on an empty bank.
    pub async fn start() -> Self {
        let nats = Nats::start().expect("a nats-server");
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let mut twins = Self { serves: [None, None], folders, addresses: Addresses::default(), nats };
        twins.start_again(0).await;
        twins.start_again(1).await;
        twins
    }

    /// One of them, while it runs.
    pub fn gateway(&self, gateway: usize) -> &Dev {
        self.serves[gateway].as_ref().expect("it runs")
    }

    /// Where one of them listens now.
    pub fn address(&self, gateway: usize) -> String {
        self.gateway(gateway).address.clone()
    }

    /// Ends one with SIGKILL.
    pub async fn kill(&mut self, gateway: usize) {
        self.serves[gateway].take().expect("it runs").kill().await.expect("killed");
    }

    /// Starts one on the folder that it had.
    pub async fn start_again(&mut self, gateway: usize) {
        let serve = Dev::serve(&self.nats, self.folders[gateway].path(), &[]).await.expect("up");
        self.addresses.lock().expect("not poisoned")[gateway].clone_from(&serve.address);
        self.serves[gateway] = Some(serve);
    }

    /// Lets each of `payers` pay a cent to the IBAN beside it again and again, at both in turn, until
    /// it is stopped.
    pub fn load(&self, payers: Vec<(Holder, String)>) -> Load {
        let stop = CancellationToken::new();
        let pay = |(number, (from, iban))| tokio::spawn(pay_on(Arc::clone(&self.addresses), number, from, iban, stop.clone()));
        Load { payers: payers.into_iter().enumerate().map(pay).collect(), stop }
    }
}

fn address(addresses: &Addresses, gateway: usize) -> String {
    addresses.lock().expect("not poisoned")[gateway].clone()
}

/// Payments that flow.
pub struct Load {
    payers: Vec<JoinHandle<Paid>>,
    stop: CancellationToken,
}

/// What a payer was told.
#[derive(Default)]
pub struct Paid {
    /// The payments that were accepted, in their order.
    pub accepted: Vec<String>,
    /// How often it had to ask again elsewhere.
    pub repeats: usize,
}

impl Load {
    /// Stops it; says what each payer was told.
    pub async fn stop(self) -> Vec<Paid> {
        self.stop.cancel();
        join_all(self.payers).await.into_iter().map(|paid| paid.expect("no panic")).collect()
    }
}

async fn pay_on(addresses: Addresses, payer: usize, from: Holder, iban: String, stop: CancellationToken) -> Paid {
    let mut paid = Paid::default();
    for number in (0..).take_while(|_| !stop.is_cancelled()) {
        // With a key it is one payment, at whichever gateway it is asked for again.
        let order = order(&from, &iban, 1, Some(&format!("{payer}-{number}")));
        let attempts = AtomicUsize::new(0);
        let ask = || async {
            let gateway = (number + attempts.fetch_add(1, Relaxed)) % 2;
            let client = from.client.at(&address(&addresses, gateway));
            match initiate(&client, &order, "ACCEPTED").await {
                Ok(accepted) => Ok(Some(accepted)),
                Err(killed) if killed.is::<reqwest::Error>() => Ok(None),
                Err(refused) => passes(refused).map(|()| None),
            }
        };
        let accepted = eventually("a payment is accepted", ask).await.expect("accepted");
        paid.repeats += attempts.into_inner() - 1;
        paid.accepted.push(accepted["payment"]["id"].as_str().expect("an id").to_owned());
    }
    paid
}

/// Takes a refusal that says that the same may work a moment later, and no other.
pub fn passes(refused: anyhow::Error) -> anyhow::Result<()> {
    let text = refused.to_string();
    if text.contains("retryAfterMs") { Ok(()) } else { Err(refused) }
}

/// An order of some cents.
pub fn order(from: &Holder, iban: &str, minor: u32, key: Option<&str>) -> Value {
    let amount = json!({ "amount": format!("{}.{:02}", minor / 100, minor % 100), "currency": "EUR" });
    json!({ "debtorAccountId": from.account.to_string(), "creditorIban": iban, "amount": amount, "idempotencyKey": key })
}

/// Asks for a payment; its payload.
pub async fn initiate(client: &Client, order: &Value, wait_for: &str) -> anyhow::Result<Value> {
    let query = "mutation($input: InitiatePaymentInput!, $wait: PaymentWait) { initiatePayment(input: $input, waitFor: $wait) {
        payment { id status } position errors { code } } }";
    let mut answer = client.send(json!({ "query": query, "variables": { "input": order, "wait": wait_for } })).await?;
    let payload = answer["data"]["initiatePayment"].take();
    anyhow::ensure!(payload["payment"].is_object(), "{answer} {payload}");
    Ok(payload)
}
