//! What was written at one gateway is shown by the other one at its position, and nothing older, while
//! payments flow and gateways are killed.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

mod twins;

use domain::{AccountId, Shard};
use serde_json::{Value, json};
use tests::{
    Client, eventually,
    load::{Holder, SHARDS, holders, operator},
    money,
};
use twins::{Twins, initiate, order, passes};

const ROUNDS: u32 = 25;
/// How often each gateway writes and is killed, and reads and was away.
const KILL_ROUNDS: u32 = 4;
const DIRECTORY_ROUNDS: usize = 5;
/// Lisa, and those who pay each other meanwhile.
const HOLDERS: usize = 7;

/// An account that is paid and pays in this test alone, and what it must show.
struct Account {
    holder: Holder,
    version: u64,
    booked_minor: i64,
}

impl Account {
    fn of(holder: Holder) -> Self {
        Self { holder, version: 1, booked_minor: 10_000_000 }
    }

    fn book(&mut self, minor: i64) {
        self.version += 1;
        self.booked_minor += minor;
    }

    /// What a gateway shows at a position.
    async fn at(&self, address: &str, position: &Value) -> anyhow::Result<Value> {
        let fields = "balance { version booked { amount } available { amount } } transactions(first: 1) { nodes { version payment { id } } } payments(first: 1) { nodes { id } }";
        let query = format!("{{ account(id: \"{}\", atLeast: {position}) {{ {fields} }} }}", self.holder.account);
        Ok(self.holder.client.at(address).execute(&query).await?["account"].take())
    }

    /// Makes sure that this is what was booked, to the cent, by `payment` at last.
    fn check(&self, shown: &Value, payment: &Value) {
        let booked_minor = money(&shown["balance"]["booked"]).expect("money");
        assert_eq!((&shown["balance"]["version"], booked_minor), (&json!(self.version), self.booked_minor), "{shown}");
        assert_eq!(shown["transactions"]["nodes"], json!([{ "version": self.version, "payment": { "id": payment } }]), "{shown}");
    }
}

/// A bank with Lisa, David, and others.
async fn bank() -> (Twins, Account, Account, Vec<(Holder, String)>) {
    let twins = Twins::start().await;
    let mut others = holders(&twins.address(0), HOLDERS).await.expect("accounts with money");
    let lisa = others.remove(0);
    let david = on_another_shard(&lisa, &twins.address(0)).await;
    let ring = (0..others.len()).map(|payer| (others[payer].clone(), others[(payer + 1) % others.len()].iban.clone())).collect();
    (twins, Account::of(lisa), Account::of(david), ring)
}

/// Somebody with as much money whose account lives elsewhere, so that a payment has two positions.
async fn on_another_shard(than: &Holder, address: &str) -> Holder {
    let shard = |account| Shard::of(account, SHARDS);
    for number in 0.. {
        let client = Client::new(address, None).register(&format!("David{number}")).await.expect("registered");
        let (account, iban) = client.open_account("EUR").await.expect("opened");
        let account: AccountId = account.parse().expect("an id");
        if shard(account) != shard(than.account) {
            operator(address).expect("a token").deposit(&account.to_string(), "100000.00", "EUR").await.expect("deposited");
            let viewer = client.execute("{ viewer { id } }").await.expect("an answer");
            let customer = viewer["viewer"]["id"].as_str().expect("an id").parse().expect("an id");
            return Holder { client, customer, account, iban };
        }
    }
    unreachable!("one of the customers lives on each shard")
}

/// Lisa pays at one gateway and is answered at once: the other one shows the payment, and has taken it
/// from what is available.
async fn accepted_here_is_seen_there(lisa: &Account, david: &Account, here: &str, there: &str, minor: u32) {
    let paid =
        initiate(&lisa.holder.client.at(here), &order(&lisa.holder, &david.holder.iban, minor, None), "ACCEPTED").await.expect("paid");
    let shown = lisa.at(there, &paid["position"]).await.expect("an answer");
    assert_eq!(shown["payments"]["nodes"], json!([{ "id": paid["payment"]["id"] }]), "{shown}");
    let available = money(&shown["balance"]["available"]).expect("money");
    assert_eq!(available, lisa.booked_minor - i64::from(minor), "{shown}");
    let query = format!("{{ payment(id: {}, atLeast: {}) {{ id }} }}", paid["payment"]["id"], paid["position"]);
    let payment = lisa.holder.client.at(there).execute(&query).await.expect("an answer");
    assert_eq!(payment["payment"]["id"], paid["payment"]["id"]);
}

/// Lisa is given money at one gateway; at the deposit's position, the other one shows it, and once it
/// is booked, the money.
async fn deposited_here_is_seen_there(lisa: &mut Account, operator: &Client, here: &str, there: &str, minor: u32) {
    let input = json!({ "accountId": lisa.holder.account.to_string(), "amount": { "amount": format!("0.{minor:02}"), "currency": "EUR" } });
    let deposit = "mutation($input: DepositInput!) { deposit(input: $input) { payment { id } position errors { code } } }";
    let answer = operator.at(here).send(json!({ "query": deposit, "variables": { "input": input } })).await.expect("an answer");
    let (id, position) = (&answer["data"]["deposit"]["payment"]["id"], &answer["data"]["deposit"]["position"]);
    let at = |position: &Value| format!("{{ payment(id: {id}, atLeast: {position}) {{ id position }} }}");
    let shown = operator.at(there).execute(&at(position)).await.expect("an answer");
    assert_eq!(&shown["payment"]["id"], id, "{answer}");
    operator.at(here).final_status(id.as_str().expect("an id")).await.expect("final");
    let booked = operator.at(here).execute(&at(position)).await.expect("an answer");
    lisa.book(i64::from(minor));
    lisa.check(&lisa.at(there, &booked["payment"]["position"]).await.expect("an answer"), id);
}

/// Lisa pays at a gateway and waits; the payment's id and position.
async fn book(lisa: &mut Account, david: &mut Account, here: &str, minor: u32) -> (Value, Value) {
    let order = order(&lisa.holder, &david.holder.iban, minor, None);
    let mut paid = initiate(&lisa.holder.client.at(here), &order, "FINAL").await.expect("paid");
    assert_eq!(paid["payment"]["status"], "BOOKED", "{paid}");
    lisa.book(-i64::from(minor));
    david.book(i64::from(minor));
    (paid["payment"]["id"].take(), paid["position"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_here_is_read_there_at_its_position_under_load() {
    let (twins, mut lisa, mut david, others) = bank().await;
    let operator = operator(&twins.address(0)).expect("a token");
    let load = twins.load(others);
    for round in 0..ROUNDS {
        let (writes, reads) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let (here, there) = (twins.address(writes), twins.address(reads));
        accepted_here_is_seen_there(&lisa, &david, &here, &there, 10 + round).await;
        lisa.book(-i64::from(10 + round));
        david.book(i64::from(10 + round));
        // Lisa's payments are booked in their order, and so are their credits.
        let (payment, position) = book(&mut lisa, &mut david, &here, 50 + round).await;
        for account in [&lisa, &david] {
            account.check(&account.at(&there, &position).await.expect("an answer"), &payment);
        }
        deposited_here_is_seen_there(&mut lisa, &operator, &here, &there, 1 + round).await;
    }
    for round in 0..DIRECTORY_ROUNDS {
        opened_here_is_there(&operator, round, &twins.address(round % 2), &twins.address(1 - round % 2)).await;
    }
    let paid = load.stop().await;
    assert!(paid.iter().all(|paid| paid.accepted.len() > 20 && paid.repeats == 0), "nothing was in the way of those who pay meanwhile");
}

/// Somebody registers, opens an account, and an operator freezes it, all at one gateway: the other one
/// shows each at its position.
async fn opened_here_is_there(operator: &Client, round: usize, here: &str, there: &str) {
    let name = format!("Newcomer{round}");
    let customer = Client::new(here, None).register(&name).await.expect("registered");
    let change = format!("mutation {{ changeCustomer(input: {{name: \"{name} II\"}}) {{ position }} }}");
    let changed = customer.execute(&change).await.expect("an answer");
    let query = format!("{{ viewer(atLeast: {}) {{ name }} }}", changed["changeCustomer"]["position"]);
    let shown = customer.at(there).execute(&query).await.expect("an answer");
    assert_eq!(shown["viewer"]["name"], format!("{name} II"));

    let open = "mutation { openAccount(input: {currency: \"EUR\"}) { account { id } position } }";
    let opened = customer.execute(open).await.expect("an answer")["openAccount"].take();
    let id = &opened["account"]["id"];
    let status = |position: &Value| format!("{{ account(id: {id}, atLeast: {position}) {{ status }} }}");
    let shown = customer.at(there).execute(&status(&opened["position"])).await.expect("an answer");
    assert_eq!(shown["account"]["status"], "OPEN");
    for (index, to) in ["FROZEN", "OPEN", "FROZEN"].into_iter().enumerate() {
        let (here, there) = if index % 2 == 0 { (here, there) } else { (there, here) };
        let set = format!("mutation {{ setAccountStatus(input: {{accountId: {id}, status: {to}}}) {{ position }} }}");
        let set = operator.at(here).execute(&set).await.expect("an answer");
        let shown = customer.at(there).execute(&status(&set["setAccountStatus"]["position"])).await.expect("an answer");
        assert_eq!(shown["account"]["status"], to);
    }
}

/// What a gateway that may still be on its way up shows at a position: it may refuse for a while, but
/// only so that one may ask again.
async fn after_restart(account: &Account, address: &str, position: &Value) -> Value {
    let ask = || async {
        match account.at(address, position).await {
            Ok(shown) => Ok(Some(shown)),
            Err(refused) => passes(refused).map(|()| None),
        }
    };
    eventually("a gateway has come to the position", ask).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_holds_when_its_gateway_is_killed_and_when_the_other_one_was_away() {
    let (mut twins, mut lisa, mut david, others) = bank().await;
    let load = twins.load(others);
    for round in 0..KILL_ROUNDS {
        let (minor, (writes, reads)) = (10 + round, if round % 2 == 0 { (0, 1) } else { (1, 0) });
        // Whoever took the payment is killed the moment it said so.
        let (payment, position) = book(&mut lisa, &mut david, &twins.address(writes), minor).await;
        twins.kill(writes).await;
        for account in [&lisa, &david] {
            account.check(&after_restart(account, &twins.address(reads), &position).await, &payment);
        }
        twins.start_again(writes).await;
        for account in [&lisa, &david] {
            account.check(&after_restart(account, &twins.address(writes), &position).await, &payment);
        }
        // Whoever is asked was away when the payment was made.
        twins.kill(reads).await;
        let (payment, position) = book(&mut lisa, &mut david, &twins.address(writes), minor).await;
        twins.start_again(reads).await;
        for account in [&lisa, &david] {
            account.check(&after_restart(account, &twins.address(reads), &position).await, &payment);
        }
    }
    let paid = load.stop().await;
    assert!(paid.iter().all(|paid| paid.accepted.len() > 20), "payments flowed all the while");
}

/// Lisa pays and changes her name at a gateway: the payment, its position, and that of the name.
async fn write(lisa: &mut Account, david: &mut Account, here: &str, name: &str) -> (Value, Value, Value) {
    let change = format!("mutation {{ changeCustomer(input: {{name: \"{name}\"}}) {{ position }} }}");
    let mut changed = lisa.holder.client.at(here).execute(&change).await.expect("an answer");
    let (payment, position) = book(lisa, david, here, 10).await;
    (payment, position, changed["changeCustomer"]["position"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stood_still_answers_once_it_has_come_to_the_position() {
    let (twins, mut lisa, mut david, _) = bank().await;
    for round in 0..KILL_ROUNDS {
        let (writes, reads) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let (here, there, name) = (twins.address(writes), twins.address(reads), format!("Lisa {round}"));
        twins.gateway(reads).stand_still().expect("stopped");
        let (payment, position, named) = write(&mut lisa, &mut david, &here, &name).await;
        let client = lisa.holder.client.at(&there);
        let viewer = format!("{{ viewer(atLeast: {named}) {{ name }} }}");
        let status = format!("{{ payment(id: {payment}, atLeast: {position}) {{ status }} }}");
        let (of_lisa, of_david, viewer, status, goes_on) = tokio::join!(
            lisa.at(&there, &position),
            david.at(&there, &position),
            client.execute(&viewer),
            client.execute(&status),
            twins.gateway(reads).go_on_once_asked(4)
        );
        goes_on.expect("goes on");
        lisa.check(&of_lisa.expect("an answer"), &payment);
        david.check(&of_david.expect("an answer"), &payment);
        assert_eq!(viewer.expect("an answer")["viewer"]["name"], name);
        assert_eq!(status.expect("an answer")["payment"]["status"], "BOOKED");
    }
}
