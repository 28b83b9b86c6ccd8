//! Clients that pay through whatever happens, and write down what they were told. This module must
//! never know which faults there are.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    bank::Bank,
    history::{Ended, History, Kind, Seen, Sent, Told},
    survey::FINAL,
};
use crate::{Client, money};

/// How many clients pay each other.
pub const CLIENTS: usize = 12;
/// After this long without an answer a client asks elsewhere.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Between two payments of a client, at most: some hundred a second in all, which leaves room for faults.
const THINK_MS: std::ops::Range<u64> = 5..60;
/// Between two changes of the account that is frozen and opened again.
const FREEZE_EVERY: Duration = Duration::from_millis(20);
/// Between two attempts at the same payment.
const AGAIN: Duration = Duration::from_millis(50);
/// A client that was never answered gives up this long after the end.
const GIVE_UP: Duration = Duration::from_secs(30);
/// More than any client has.
const OVERDRAFT_MINOR: i64 = 2_000_000;

/// Someone with an account.
#[derive(Debug, Clone)]
pub struct Customer {
    /// Signed in.
    pub client: Client,
    /// Account.
    pub account: String,
    /// IBAN.
    pub iban: String,
}

/// Everybody.
#[derive(Debug)]
pub struct World {
    /// Those who pay each other.
    pub customers: Vec<Customer>,
    /// Two more, on whom it is measured when payments flow again.
    pub probes: Vec<Customer>,
    /// An account that is frozen and opened again all the while.
    frozen: Customer,
    operator: Client,
    dollars: Customer,
    /// Where the gateways listen.
    pub gateways: [String; 2],
}

impl World {
    /// Registers everybody.
    ///
    /// # Errors
    /// Where something is refused.
    pub async fn set_up(bank: &Bank) -> anyhow::Result<Self> {
        let operator = bank.operator()?;
        let customer = async |name: String, currency: &str| {
            let client = Client::new(&bank.gateways[0], None).register(&name).await?;
            let (account, iban) = client.open_account(currency).await?;
            operator.deposit(&account, "5000.00", currency).await?;
            anyhow::Ok(Customer { client, account, iban })
        };
        let (mut customers, mut probes) = (Vec::new(), Vec::new());
        for number in 0..CLIENTS {
            customers.push(customer(format!("Client{number}"), "EUR").await?);
        }
        for number in 0..2 {
            probes.push(customer(format!("Probe{number}"), "EUR").await?);
        }
        let (frozen, dollars) = (customer("Frozen".to_owned(), "EUR").await?, customer("Dollars".to_owned(), "USD").await?);
        Ok(Self { customers, probes, frozen, operator, dollars, gateways: bank.gateways.clone() })
    }

    /// Freezes an account and opens it again, for as long as anybody waits: what was validated may come back then.
    pub async fn keep_freezing(self: Arc<Self>) {
        // Each gateway sets both, so that one that is away stops neither.
        let both = self.gateways.iter().flat_map(|gateway| ["FROZEN", "OPEN"].map(|status| (gateway, status)));
        for (gateway, status) in both.cycle() {
            let input = json!({ "accountId": self.frozen.account, "status": status });
            let query = "mutation($input: SetAccountStatusInput!) { setAccountStatus(input: $input) { account { status } } }";
            let request = json!({ "query": query, "variables": { "input": input } });
            // Where it fails, the next one is as good; that some are done is seen by what comes back.
            let _ = self.operator.at(gateway).post().timeout(ANSWER_WAIT).json(&request).send().await;
            tokio::time::sleep(FREEZE_EVERY).await;
        }
    }
}

/// How one request was answered.
enum Answer {
    /// Its id, and the status that it has.
    Accepted(String, String),
    Refused(String),
    /// Surely nothing was stored.
    NotStored,
    /// Something may have been stored.
    Unknown,
}

/// Asks for a payment, and waits until it is final where `wait` says so.
async fn ask(client: &Client, input: &Value, wait: &str) -> Answer {
    let query = "mutation($input: InitiatePaymentInput!, $wait: PaymentWait) { \
                 initiatePayment(input: $input, waitFor: $wait) { payment { id status } errors { code } } }";
    let variables = json!({ "input": input, "wait": wait });
    let post = client.post().timeout(ANSWER_WAIT).json(&json!({ "query": query, "variables": variables }));
    let answer = match post.send().await {
        Ok(response) => response.json::<Value>().await,
        Err(error) if error.is_connect() => return Answer::NotStored,
        Err(_) => return Answer::Unknown,
    };
    let Ok(answer) = answer else { return Answer::Unknown };
    let payload = &answer["data"]["initiatePayment"];
    let code = payload["errors"][0]["code"].as_str().or_else(|| answer["errors"][0]["extensions"]["code"].as_str());
    match (payload["payment"]["id"].as_str(), code) {
        (Some(id), _) => Answer::Accepted(id.to_owned(), payload["payment"]["status"].as_str().unwrap_or_default().to_owned()),
        (None, Some("OVERLOADED")) => Answer::NotStored,
        (None, Some(code)) if !["UNAVAILABLE", "STALE_READ", "INTERNAL", "TIMED_OUT"].contains(&code) => Answer::Refused(code.to_owned()),
        (None, _) => Answer::Unknown,
    }
}

/// One client, paying until it is told to stop.
pub struct Payer {
    world: Arc<World>,
    me: usize,
    random: ChaCha8Rng,
    history: History,
    seen_at: [u64; 2],
    stop: CancellationToken,
}

impl Payer {
    /// Client `me` of a campaign.
    #[must_use]
    pub fn new(world: Arc<World>, me: usize, seed: u64, stop: CancellationToken) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(me as u64));
        Self { world, me, random, history: History::default(), seen_at: [0; 2], stop }
    }

    /// Pays, repeats, and looks, until it is stopped.
    pub async fn run(mut self) -> History {
        let mut number = 0;
        while !self.stop.is_cancelled() {
            number += 1;
            let (kind, to, minor) = self.choose();
            let reference = format!("{}-{number}", self.me);
            let iban = match kind {
                Kind::Ordinary | Kind::Overdraft => &self.world.customers[to].iban,
                Kind::Frozen => &self.world.frozen.iban,
                Kind::OtherCurrency => &self.world.dollars.iban,
            };
            let amount = json!({ "amount": format!("{}.{:02}", minor / 100, minor % 100), "currency": "EUR" });
            let account = &self.world.customers[self.me].account;
            let mut input = json!({ "debtorAccountId": account, "creditorIban": iban, "amount": amount, "reference": reference });
            // One in eight has no key: its client never sends it again.
            let told = if self.random.random_ratio(1, 8) {
                self.once(&input).await
            } else {
                input["idempotencyKey"] = json!(format!("key-{reference}"));
                self.until_answered(&input).await
            };
            self.history.sent.push(Sent { from: self.me, to, reference, minor, kind, told: told.clone() });
            if let (Told::Accepted(id), true) = (told, input["idempotencyKey"].is_string()) {
                self.sometimes_again(&input, &id).await;
            }
            if self.random.random_ratio(1, 4) {
                self.look().await;
            }
            let think = Duration::from_millis(self.random.random_range(THINK_MS));
            tokio::time::sleep(think).await;
        }
        self.history
    }

    fn choose(&mut self) -> (Kind, usize, i64) {
        let to = (self.me + self.random.random_range(1..CLIENTS)) % CLIENTS;
        let minor = self.random.random_range(1..500);
        match self.random.random_range(0..100) {
            0..6 => (Kind::Frozen, to, minor),
            6..12 => (Kind::OtherCurrency, to, minor),
            12..20 => (Kind::Overdraft, to, OVERDRAFT_MINOR + minor),
            _ => (Kind::Ordinary, to, minor),
        }
    }

    fn at(&self, gateway: usize) -> Client {
        self.world.customers[self.me].client.at(&self.world.gateways[gateway])
    }

    /// Most do not wait for the end of what they ask for.
    fn wait(&mut self) -> &'static str {
        if self.random.random_ratio(1, 4) { "FINAL" } else { "ACCEPTED" }
    }

    fn accepted(&mut self, id: String, status: String) -> Told {
        if FINAL.contains(&&*status) {
            self.history.ended.push(Ended { id: id.clone(), status });
        }
        Told::Accepted(id)
    }

    async fn once(&mut self, input: &Value) -> Told {
        let (gateway, wait) = (self.random.random_range(0..2), self.wait());
        match ask(&self.at(gateway), input, wait).await {
            Answer::Accepted(id, status) => self.accepted(id, status),
            Answer::Refused(code) => Told::Refused(code),
            Answer::NotStored => Told::NotTaken,
            Answer::Unknown => {
                self.history.unanswered += 1;
                Told::Nothing
            }
        }
    }

    /// Sends it, here and there, until it is known.
    async fn until_answered(&mut self, input: &Value) -> Told {
        let (mut gateway, wait, stop) = (self.random.random_range(0..2), self.wait(), self.stop.clone());
        let give_up = async {
            stop.cancelled().await;
            tokio::time::sleep(GIVE_UP).await;
        };
        tokio::pin!(give_up);
        loop {
            let client = self.at(gateway);
            let answer = tokio::select! {
                answer = ask(&client, input, wait) => answer,
                () = &mut give_up => return Told::Nothing,
            };
            match answer {
                Answer::Accepted(id, status) => return self.accepted(id, status),
                Answer::Refused(code) => return Told::Refused(code),
                Answer::NotStored => {}
                Answer::Unknown => self.history.unanswered += 1,
            }
            self.history.repeats += 1;
            gateway = 1 - gateway;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The same again at both gateways at once, or with another amount: it is the payment it was.
    async fn sometimes_again(&mut self, input: &Value, id: &str) {
        let mut input = input.clone();
        let is_other = match self.random.random_range(0..20) {
            0..3 => false,
            3 => {
                input["amount"]["amount"] = json!("0.77");
                true
            }
            _ => return,
        };
        self.history.repeats += 2;
        let (first, second) = (self.at(0), self.at(1));
        let (first, second) = tokio::join!(ask(&first, &input, "FINAL"), ask(&second, &input, "FINAL"));
        for answer in [first, second] {
            match answer {
                // While a read model is built again, a gateway takes any order: the log knows that it is a repeat.
                Answer::Accepted(same, status) if same == id => drop(self.accepted(same, status)),
                Answer::Refused(code) if is_other && code == "IDEMPOTENCY_KEY_REUSED" => {}
                Answer::NotStored | Answer::Unknown => {}
                Answer::Accepted(other, _) => self.contradiction(&format!("{id} was repeated and became {other}")),
                Answer::Refused(code) => self.contradiction(&format!("{id} was repeated and refused with {code}")),
            }
        }
    }

    /// What one gateway shows never gets older.
    async fn look(&mut self) {
        let gateway = self.random.random_range(0..2);
        let Ok((version, booked_minor)) = balance(&self.at(gateway), &self.world.customers[self.me].account).await else { return };
        if version < self.seen_at[gateway] {
            let before = self.seen_at[gateway];
            self.contradiction(&format!("gateway {gateway} showed client {} version {before}, and then {version}", self.me));
        }
        self.seen_at[gateway] = version;
        self.history.seen.push(Seen { client: self.me, version, booked_minor });
    }

    fn contradiction(&mut self, what: &str) {
        self.history.contradictions.push(what.to_owned());
    }
}

/// Version and booked cents of an account, as a gateway shows them now.
///
/// # Errors
/// Where it does not.
pub async fn balance(client: &Client, account: &str) -> anyhow::Result<(u64, i64)> {
    let query = format!("{{ account(id: \"{account}\") {{ balance {{ version booked {{ amount }} }} }} }}");
    let answer: Value = client.post().timeout(ANSWER_WAIT).json(&json!({ "query": query })).send().await?.json().await?;
    let balance = &answer["data"]["account"]["balance"];
    Ok((balance["version"].as_u64().context("a version")?, money(&balance["booked"])?))
}
