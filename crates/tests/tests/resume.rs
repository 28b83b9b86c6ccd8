//! Subscriptions that are broken in every way there is, by a schedule that follows a seed, and resumed
//! with the last version seen: nothing is missing, nothing comes twice, nothing goes back.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

mod twins;

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng, seq::SliceRandom as _};
use serde_json::Value;
use tests::{
    Dev, Nats, Socket,
    load::{Holder, holders, operator},
    money,
};
use twins::{Load, Paid, Twins};

/// How a subscription ends, or what happens to it.
#[derive(Debug, Clone, Copy)]
enum Break {
    /// The connection ends without a close frame.
    Dropped,
    /// The websocket is closed as the protocol wants.
    Closed,
    /// The operations are completed; new ones begin on the same websocket.
    Completed,
    /// The websocket is closed and another one opened at the other gateway, which is not behind for that.
    Switched,
    /// The gateway is killed; the other one is asked, or the same one once it is back.
    Killed,
    /// The other gateway is killed, which is no reason for this one to be silent.
    OtherKilled,
}

/// How often a schedule has each, in an order of its own.
const BREAKS: [(Break, usize); 6] =
    [(Break::Dropped, 5), (Break::Closed, 5), (Break::Completed, 5), (Break::Switched, 5), (Break::Killed, 4), (Break::OtherKilled, 2)];
/// So many messages are heard at most before the next break.
const MESSAGES: usize = 40;
const HOLDERS: usize = 6;
const SEED: &str = "MILLRACE_TEST_SEED";

/// What both subscriptions of an account said, over all breaks, checked as it comes.
#[derive(Default)]
struct Heard {
    /// The balance after each entry, from version 1 on.
    entries: Vec<i64>,
    /// Versions of the balance, and their cents.
    balances: Vec<(u64, i64)>,
    /// Whether a balance came since the last break.
    is_resumed: bool,
}

impl Heard {
    fn entry(&mut self, entry: &Value) {
        let version = entry["version"].as_u64().expect("a version");
        assert_eq!(version, self.entries.len() as u64 + 1, "each entry comes once, in its order: {entry}");
        self.entries.push(money(&entry["balanceAfter"]).expect("money"));
    }

    fn balance(&mut self, balance: &Value) {
        let version = balance["version"].as_u64().expect("a version");
        let before = self.balances.last().map(|(version, _)| *version);
        // A change of what is on its way out shows no new version; what is resumed begins with a newer one.
        let is_newer = before.is_none_or(|before| if self.is_resumed { version >= before } else { version > before });
        assert!(is_newer, "{balance} after {before:?}");
        self.balances.push((version, money(&balance["booked"]).expect("money")));
        self.is_resumed = true;
    }

    fn is_at(&self, newest: (u64, i64)) -> bool {
        self.entries.len() as u64 >= newest.0 && self.balances.last() == Some(&newest)
    }

    /// Every balance is the one after the entry that made its version.
    fn check_balances(&self) {
        for (version, cents) in &self.balances {
            let entry = usize::try_from(version - 1).expect("small");
            assert_eq!(self.entries[entry], *cents, "version {version}");
        }
    }
}

/// One who watches an account wherever there is a gateway.
struct Watcher {
    holder: Holder,
    gateway: usize,
    socket: Socket,
    /// How often the subscriptions were begun: part of their ids.
    number: usize,
    heard: Heard,
}

impl Watcher {
    async fn begin(holder: &Holder, twins: &Twins, gateway: usize) -> Self {
        let socket = holder.client.at(&twins.address(gateway)).socket().await.expect("a socket");
        let mut watcher = Self { holder: holder.clone(), gateway, socket, number: 0, heard: Heard::default() };
        watcher.subscribe().await;
        watcher
    }

    /// Goes on at a gateway, with another websocket; answers with the one before.
    async fn go_on_at(&mut self, twins: &Twins, gateway: usize) -> Socket {
        self.gateway = gateway;
        let socket = self.holder.client.at(&twins.address(gateway)).socket().await.expect("a socket");
        let before = std::mem::replace(&mut self.socket, socket);
        self.subscribe().await;
        before
    }

    async fn subscribe(&mut self) {
        self.number += 1;
        self.heard.is_resumed = false;
        let account = self.holder.account;
        let seen = self.heard.balances.last().map_or_else(|| "null".to_owned(), |(version, _)| version.to_string());
        for (field, after, cents) in
            [("transactionBooked", self.heard.entries.len().to_string(), "balanceAfter"), ("balanceChanged", seen, "booked")]
        {
            let query =
                format!("subscription {{ {field}(accountId: \"{account}\", afterVersion: {after}) {{ version {cents} {{ amount }} }} }}");
            self.socket.subscribe(&format!("{field} {}", self.number), &query).await.expect("subscribed");
        }
    }

    /// Hears a message.
    async fn hear(&mut self) -> anyhow::Result<()> {
        let message = self.socket.hear().await?;
        let (field, number) = message["id"].as_str().and_then(|id| id.split_once(' ')).unwrap_or_else(|| panic!("{message}"));
        // What was on its way when its operation was completed is nobody's any more.
        if number == self.number.to_string() {
            let data = &message["payload"]["data"][field];
            assert!(message["type"] == "next" && data.is_object(), "{message}");
            if field == "transactionBooked" { self.heard.entry(data) } else { self.heard.balance(data) }
        }
        Ok(())
    }

    async fn hear_some(&mut self, count: usize) {
        for _ in 0..count {
            self.hear().await.expect("payments flow, so there is always something to hear");
        }
    }

    async fn hear_until(&mut self, newest: (u64, i64)) {
        while !self.heard.is_at(newest) {
            self.hear().await.expect("the newest is never skipped");
        }
        assert_eq!(self.heard.entries.last(), Some(&newest.1));
        self.heard.check_balances();
    }

    /// Hears what arrived before the gateway was killed: whoever has heard it will not ask for it again.
    async fn hear_the_rest(&mut self) {
        let ended = loop {
            if let Err(ended) = self.hear().await {
                break ended;
            }
        };
        assert!(!ended.to_string().contains("silence"), "the connections of a killed gateway end");
    }

    async fn suffer(&mut self, what: Break, twins: &mut Twins, random: &mut ChaCha8Rng) {
        let (here, other) = (self.gateway, 1 - self.gateway);
        match what {
            Break::Dropped => drop(self.go_on_at(twins, here).await),
            Break::Closed => self.go_on_at(twins, here).await.close().await.expect("closed"),
            Break::Switched => self.go_on_at(twins, other).await.close().await.expect("closed"),
            Break::Completed => {
                for field in ["transactionBooked", "balanceChanged"] {
                    self.socket.complete(&format!("{field} {}", self.number)).await.expect("completed");
                }
                self.subscribe().await;
            }
            Break::Killed => {
                twins.kill(here).await;
                self.hear_the_rest().await;
                if random.random() {
                    drop(self.go_on_at(twins, other).await);
                    self.hear_some(random.random_range(0..MESSAGES)).await;
                    twins.start_again(here).await;
                } else {
                    twins.start_again(here).await;
                    drop(self.go_on_at(twins, here).await);
                }
            }
            Break::OtherKilled => {
                twins.kill(other).await;
                self.hear_some(MESSAGES).await;
                twins.start_again(other).await;
            }
        }
    }
}

/// A watched account that some pay and that pays one of them, all the while.
async fn flow(twins: &Twins) -> (Holder, Load) {
    let mut payers = holders(&twins.address(0), HOLDERS).await.expect("accounts with money");
    let watched = payers.remove(0);
    let back = (watched.clone(), payers[0].iban.clone());
    let pairs = payers.into_iter().map(|payer| (payer, watched.iban.clone())).chain([back]);
    let load = twins.load(pairs.collect());
    (watched, load)
}

/// The newest version and cents of an account, as both gateways show them where everybody's last payment was booked.
async fn newest(twins: &Twins, account: &Holder, paid: &[Paid]) -> (u64, i64) {
    let version = 1 + paid.iter().map(|paid| paid.accepted.len() as u64).sum::<u64>();
    let mut newest = Vec::new();
    for operator in [0, 1].map(|gateway| operator(&twins.address(gateway)).expect("a token")) {
        let mut balance = Value::Null;
        for last in paid.iter().map(|paid| paid.accepted.last().expect("a payment")) {
            assert_eq!(operator.final_status(last).await.expect("final"), "BOOKED");
            let payment = operator.execute(&format!("{{ payment(id: \"{last}\") {{ position }} }}")).await.expect("an answer");
            let at = &payment["payment"]["position"];
            let query =
                format!("{{ account(id: \"{}\", atLeast: {at}) {{ balance {{ version booked {{ amount }} }} }} }}", account.account);
            balance = operator.execute(&query).await.expect("an answer")["account"]["balance"].take();
        }
        assert_eq!(balance["version"], version, "every payment is booked once");
        newest.push((version, money(&balance["booked"]).expect("money")));
    }
    assert_eq!(newest[0], newest[1]);
    newest[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_a_subscription_that_is_resumed_misses_nothing_and_repeats_nothing() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut breaks: Vec<Break> = BREAKS.iter().flat_map(|(what, times)| std::iter::repeat_n(*what, *times)).collect();
    breaks.shuffle(&mut random);
    println!("{SEED}={seed} {breaks:?}");

    let mut twins = Twins::start().await;
    let (watched, load) = flow(&twins).await;
    let mut watcher = Watcher::begin(&watched, &twins, 0).await;
    for what in breaks {
        watcher.hear_some(random.random_range(0..MESSAGES)).await;
        watcher.suffer(what, &mut twins, &mut random).await;
    }
    let newest = newest(&twins, &watched, &load.stop().await).await;
    watcher.hear_until(newest).await;
    for gateway in [0, 1] {
        // From the first one on there are more than are read at once.
        let mut again = Watcher::begin(&watched, &twins, gateway).await;
        again.hear_until(newest).await;
        assert_eq!(again.heard.entries, watcher.heard.entries);
    }
    println!("{} entries, {} balances", watcher.heard.entries.len(), watcher.heard.balances.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_ends_a_subscription_at_once_and_what_is_told_is_as_it_is_now() {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let lisa = holders(&serve.address, 1).await.expect("an account").remove(0);
    let operator = operator(&serve.address).expect("a token");
    let set = async |status: &str| {
        let input = format!("{{accountId: \"{}\", status: {status}}}", lisa.account);
        let set = format!("mutation {{ setAccountStatus(input: {input}) {{ account {{ status }} }} }}");
        assert_eq!(operator.execute(&set).await.expect("set")["setAccountStatus"]["account"]["status"], status);
    };
    set("FROZEN").await;
    let mut socket = lisa.client.socket().await.expect("a socket");
    let watch = |after: u64, selected: &str| {
        format!("subscription {{ transactionBooked(accountId: \"{}\", afterVersion: {after}) {{ version {selected} }} }}", lisa.account)
    };
    // There is one entry, and none to come that would have the next one looked for.
    socket.subscribe("wrong", &watch(0, "account { payments(first: -1) { nodes { id } } }")).await.expect("subscribed");
    let told = socket.hear().await.expect("the failure");
    assert!(told["type"] == "next" && told["payload"]["errors"].is_array() && told["payload"]["data"].is_null(), "{told}");
    let end = socket.hear().await.expect("the end");
    assert!(end["type"] == "complete" && end["id"] == "wrong", "{end}");

    socket.subscribe("good", &watch(1, "account { status }")).await.expect("subscribed");
    set("OPEN").await;
    operator.deposit(&lisa.account.to_string(), "1.00", "EUR").await.expect("booked");
    let told = socket.next("transactionBooked").await.expect("an entry");
    assert!(told["version"] == 2 && told["account"]["status"] == "OPEN", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_more_than_a_gateway_has_hears_nothing_older_from_it() {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let lisa = holders(&serve.address, 1).await.expect("an account").remove(0);
    let operator = operator(&serve.address).expect("a token");
    let mut socket = lisa.client.socket().await.expect("a socket");
    let deposits = 4_u64;
    // At first there is version 1, which somebody may have seen who has seen more elsewhere.
    for field in ["transactionBooked", "balanceChanged"] {
        for seen in 1..=deposits {
            let query = format!("subscription {{ {field}(accountId: \"{}\", afterVersion: {seen}) {{ version }} }}", lisa.account);
            socket.subscribe(&format!("{field} {seen}"), &query).await.expect("subscribed");
        }
    }
    for _ in 0..deposits {
        operator.deposit(&lisa.account.to_string(), "1.00", "EUR").await.expect("booked");
    }
    let (newest, mut said) = (deposits + 1, BTreeMap::<String, Vec<u64>>::new());
    while said.values().filter(|versions| versions.contains(&newest)).count() < 2 * usize::try_from(deposits).expect("small") {
        let message = socket.hear().await.expect("the newest is never skipped");
        let (id, data) = (message["id"].as_str().expect("an id").to_owned(), &message["payload"]["data"]);
        let field = id.split(' ').next().expect("a field");
        said.entry(id.clone()).or_default().push(data[field]["version"].as_u64().unwrap_or_else(|| panic!("{message}")));
    }
    for seen in 1..=deposits {
        assert_eq!(said[&format!("transactionBooked {seen}")], (seen + 1..=newest).collect::<Vec<_>>());
        let balances = &said[&format!("balanceChanged {seen}")];
        assert!(balances[0] > seen && balances.is_sorted_by(|one, next| one < next), "{balances:?} after {seen}");
    }
}
