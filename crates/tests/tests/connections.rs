//! Relay connections: while rows arrive, paging gives each row that was there exactly once; cursors lead
//! where they say, from any row; what is no cursor is refused.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{collections::HashSet, sync::Arc};

use domain::{Currency, Debtor, Iban, Initiator, Money, PaymentId, PaymentOrder, Timestamp, payments::PaymentCommand};
use futures_util::future::join_all;
use serde_json::{Value, json};
use streams::{Broker, CommandAppender, Cursor, LogName};
use tests::{
    Client, Dev, Nats, eventually,
    load::{Holder, SHARDS, holders, operator},
};
use tokio_util::sync::CancellationToken;

/// The most that a page has, whatever is asked for.
const MOST: usize = 100;
/// Without being asked, a page has so many.
const DEFAULT: usize = 20;
/// Lisa's payments, more than a page has.
const PAYMENTS: usize = 110;
const HELD: usize = 24;
const ACCOUNTS: usize = 23;
/// More than any list here has.
const MOST_PAGES: usize = 50;

struct Bank {
    nats: Nats,
    _data: tempfile::TempDir,
    _serve: Dev,
    operator: Client,
    /// Lisa first.
    holders: Vec<Holder>,
}

impl Bank {
    /// A bank where what is 50.00 or more waits for an operator.
    async fn new() -> Self {
        let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
        let serve = Dev::serve(&nats, data.path(), &["--hold-from", "5000"]).await.expect("up");
        let holders = holders(&serve.address, 4).await.expect("accounts with money");
        Self { nats, _data: data, operator: operator(&serve.address).expect("a token"), holders, _serve: serve }
    }

    /// A bank whose lists all have rows.
    async fn with_rows() -> Self {
        let bank = Self::new().await;
        let booked = (0..PAYMENTS).map(|_| bank.pay(0, "0.01"));
        let held = (0..HELD).map(|number| bank.pay(number % bank.holders.len(), "60.00"));
        join_all(booked.chain(held)).await;
        for _ in 1..ACCOUNTS {
            bank.holders[0].client.open_account("EUR").await.expect("opened");
        }
        let [transactions, ..] = bank.lists();
        let is_booked = || async { Ok((transactions.all().await.len() > PAYMENTS).then_some(())) };
        eventually("all entries are there", is_booked).await.expect("booked");
        bank
    }

    /// Somebody pays the next one, until it is booked or held.
    async fn pay(&self, payer: usize, amount: &str) {
        let (from, to) = (&self.holders[payer], &self.holders[(payer + 1) % self.holders.len()]);
        let money = json!({ "amount": amount, "currency": "EUR" });
        let input = json!({ "debtorAccountId": from.account.to_string(), "creditorIban": to.iban, "amount": money });
        let query = "mutation($input: InitiatePaymentInput!) { initiatePayment(input: $input, waitFor: FINAL) { payment { status } } }";
        let answer = from.client.send(json!({ "query": query, "variables": { "input": input } })).await.expect("an answer");
        let expected = if amount == "60.00" { "HELD" } else { "BOOKED" };
        assert_eq!(answer["data"]["initiatePayment"]["payment"]["status"], expected, "{answer}");
    }

    /// One more row in each list.
    async fn arrive(&self, payer: usize) {
        let open = self.holders[0].client.open_account("EUR");
        let (.., opened) = tokio::join!(self.pay(0, "0.01"), self.pay(payer % self.holders.len(), "60.00"), open);
        opened.expect("opened");
    }

    /// Every list that there is.
    fn lists(&self) -> [List; 4] {
        let lisa = &self.holders[0];
        let list = |client: &Client, before: &str, field, after| List {
            client: client.clone(),
            query: format!("query($first: Int, $after: String) {{ {before} {field}(first: $first, after: $after) {ROWS} {after} }}"),
            field,
        };
        let account = format!("account(id: \"{}\") {{", lisa.account);
        [
            list(&lisa.client, &account, "transactions", "}"),
            list(&lisa.client, &account, "payments", "}"),
            list(&lisa.client, "viewer {", "accounts", "}"),
            list(&self.operator, "", "heldPayments", ""),
        ]
    }
}

const ROWS: &str = "{ edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }";

/// A list of rows, and who may ask for it.
struct List {
    client: Client,
    query: String,
    field: &'static str,
}

struct Page {
    ids: Vec<String>,
    cursors: Vec<String>,
    has_next: bool,
}

impl List {
    async fn ask(&self, first: Option<i64>, after: Option<&str>) -> Value {
        let request = json!({ "query": self.query, "variables": { "first": first, "after": after } });
        self.client.send(request).await.expect("an answer")
    }

    async fn page(&self, first: Option<i64>, after: Option<&str>) -> Page {
        let answer = self.ask(first, after).await;
        let data = answer["data"].as_object().and_then(|data| data.values().next()).unwrap_or_else(|| panic!("{answer}"));
        let list = data.get(self.field).unwrap_or(data);
        let texts = |of: &str, pointer: &str| -> Vec<String> {
            let rows = list[of].as_array().unwrap_or_else(|| panic!("{answer}"));
            rows.iter().map(|row| row.pointer(pointer).and_then(Value::as_str).expect("text").to_owned()).collect()
        };
        let (ids, cursors) = (texts("edges", "/node/id"), texts("edges", "/cursor"));
        assert_eq!(ids, texts("nodes", "/id"));
        let info = &list["pageInfo"];
        assert_eq!((info["startCursor"].as_str(), info["endCursor"].as_str()), ends(&cursors), "{answer}");
        assert_eq!(info["hasPreviousPage"], after.is_some(), "{answer}");
        Page { ids, cursors, has_next: info["hasNextPage"] == true }
    }

    /// Every row, by pages of `first`; before each, something happens meanwhile.
    async fn walk(&self, first: i64, mut meanwhile: impl AsyncFnMut(usize)) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), None);
        for number in 0..MOST_PAGES {
            let (page, ()) = tokio::join!(self.page(Some(first), after.as_deref()), meanwhile(number));
            ids.extend(page.ids);
            after = page.cursors.last().cloned();
            if !page.has_next {
                return ids;
            }
        }
        panic!("{}: no end after {ids:?}", self.field)
    }

    /// What is there while nothing arrives.
    async fn all(&self) -> Vec<String> {
        self.walk(i64::try_from(MOST).expect("small"), async |_| ()).await
    }

    /// The code that a page is refused with.
    async fn refusal(&self, first: Option<i64>, after: Option<&str>) -> String {
        let answer = self.ask(first, after).await;
        answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{after:?}: {answer}")).to_owned()
    }
}

fn ends(cursors: &[String]) -> (Option<&str>, Option<&str>) {
    (cursors.first().map(String::as_str), cursors.last().map(String::as_str))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_that_was_there_comes_once_while_rows_arrive() {
    let bank = Bank::with_rows().await;
    for list in bank.lists() {
        let before = list.all().await;
        let walked = list.walk(7, async |number| bank.arrive(number).await).await;
        let distinct: HashSet<_> = walked.iter().collect();
        assert_eq!(distinct.len(), walked.len(), "{}: no row comes twice", list.field);
        let known: HashSet<_> = before.iter().collect();
        let those: Vec<_> = walked.iter().filter(|id| known.contains(id)).cloned().collect();
        assert_eq!(those, before, "{}: every row that was there comes, in its order", list.field);
        assert!(list.all().await.len() > before.len(), "{}: rows arrived meanwhile", list.field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_lead_on_from_every_row_and_pages_are_as_long_as_they_may_be() {
    let bank = Bank::with_rows().await;
    for (list, length) in bank.lists().into_iter().zip([PAYMENTS + 1, PAYMENTS + HELD / 4, ACCOUNTS, HELD]) {
        let all = list.all().await;
        assert_eq!(all.len(), length, "{}", list.field);
        let whole = list.page(Some(1_000_000), None).await;
        assert_eq!((whole.ids.as_slice(), whole.has_next), (&all[..length.min(MOST)], length > MOST), "{}", list.field);
        let usual = list.page(None, None).await;
        assert_eq!((usual.ids.as_slice(), usual.has_next), (&all[..DEFAULT], true), "{}", list.field);
        let nothing = list.page(Some(0), None).await;
        assert!(nothing.ids.is_empty() && nothing.has_next, "{}", list.field);
        for (index, cursor) in whole.cursors.iter().enumerate() {
            let next = list.page(Some(2), Some(cursor)).await;
            let rest = &all[index + 1..];
            assert_eq!((next.ids.as_slice(), next.has_next), (&rest[..rest.len().min(2)], rest.len() > 2), "{} from {index}", list.field);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cursor_and_a_page_of_less_than_nothing_are_refused() {
    let bank = Bank::new().await;
    for list in bank.lists() {
        // The last ones are well-formed base64: of a word, and of numbers below zero, with a sign, bare, and too many.
        for cursor in ["", "x", "1", "MQ==", "\u{1f980}", &"A".repeat(5_000), "d29yZA", "LTE", "KzU", "MA", "MSAyIDMgNCA1"] {
            assert_eq!(list.refusal(None, Some(cursor)).await, "BAD_USER_INPUT", "{} after {cursor:?}", list.field);
        }
        assert_eq!(list.refusal(Some(-1), None).await, "BAD_USER_INPUT", "{}", list.field);
        assert_eq!(list.refusal(Some(1 << 40), None).await, "BAD_REQUEST", "{}: no Int", list.field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_what_the_list_has_that_its_id_is_from() {
    let bank = Bank::new().await;
    bank.pay(0, "0.01").await;
    let lisa = &bank.holders[0].client;
    let payment = "id status initiatedAt amount { amount } history { status at }";
    let transaction = "id version bookedAt balanceAfter { amount } counterparty { iban }";
    let account = "id iban balance { version booked { amount } }";
    let (customer, lists) =
        ("id name email since", format!("transactions {{ nodes {{ {transaction} }} }} payments {{ nodes {{ {payment} }} }}"));
    let viewer = lisa.execute(&format!("{{ viewer {{ {customer} accounts {{ nodes {{ {account} {lists} }} }} }} }}")).await;
    let mut viewer = viewer.expect("an answer")["viewer"].take();
    let mut own = viewer["accounts"]["nodes"][0].take();
    let (transactions, payments) = (own["transactions"]["nodes"].take(), own["payments"]["nodes"].take());
    for list in [&mut viewer, &mut own] {
        list.as_object_mut().expect("an object").retain(|_, value| !value.is_object() || value.get("nodes").is_none());
    }
    let nodes = [("Customer", customer, vec![viewer]), ("Account", account, vec![own])];
    let rows = [("Transaction", transaction, transactions), ("Payment", payment, payments)];
    let rows = rows.map(|(of, fields, rows)| (of, fields, rows.as_array().expect("a list").clone()));
    for (of, fields, rows) in nodes.into_iter().chain(rows) {
        assert!(!rows.is_empty(), "{of}");
        for row in rows {
            let query = format!("{{ node(id: {}) {{ __typename ... on {of} {{ {fields} }} }} }}", row["id"]);
            let mut node = lisa.execute(&query).await.expect("an answer")["node"].take();
            assert_eq!(node["__typename"].take(), of);
            node.as_object_mut().expect("an object").remove("__typename");
            assert_eq!(node, row);
        }
    }
}

/// An order as a gateway would make it that takes it to be `at`.
fn order(number: u8, from: &Holder, to: &Holder, at: Timestamp) -> PaymentOrder {
    let amount = Money::from_minor(6_000, Currency::parse("EUR").expect("in use"));
    let creditor = Iban::parse(&to.iban).expect("an IBAN");
    let (by, debtor) = (Initiator::Customer(from.customer), Debtor::Account(from.account));
    PaymentOrder { id: PaymentId::from_bytes([number; 16]), by, debtor, creditor, amount, reference: None, at }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_payments_of_gateways_whose_clocks_differ_come_once_each() {
    let bank = Bank::new().await;
    let broker = Broker::connect(&bank.nats.url()).await.expect("connects");
    let append = |shard| {
        CommandAppender::start(
            broker.log(LogName::new("payment-commands", Some(shard))),
            Arc::new(Cursor::default),
            CancellationToken::new(),
        )
    };
    let logs: Vec<CommandAppender<PaymentCommand>> = (0..SHARDS).map(append).collect();
    // One gateway's clock is a minute behind the other one's, and they take orders in turn.
    let now = streams::now().micros();
    let clocks = [now, now - 60_000_000].map(Timestamp::from_micros);
    for number in 1..=16 {
        let (from, to) = (&bank.holders[usize::from(number) % 4], &bank.holders[(usize::from(number) + 1) % 4]);
        let order = order(number, from, to, clocks[usize::from(number / 4 % 2)]);
        let log = &logs[usize::from(order.debtor.shard(SHARDS).0)];
        log.append(PaymentCommand::Initiated(order)).await.expect("stored");
    }
    let [.., held] = bank.lists();
    let all = || async { Ok(Some(held.all().await).filter(|ids| ids.len() == 16)) };
    let all = eventually("all are held", all).await.expect("held");
    for size in [1, 3, 5] {
        assert_eq!(held.walk(size, async |_| ()).await, all, "by {size}");
    }
}
