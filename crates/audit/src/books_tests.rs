//! Books in which something was planted.

use std::sync::Arc;

use domain::{
    AccountId, Currency, CustomerId, Debtor, Initiator, Money, PaymentId, PaymentOrder, RejectionCode, Shard, Timestamp, account_iban,
    accounts::{AccountEvent, AccountStatus},
    ledger::{LedgerAccount, LedgerEvent, Leg, Posting, Transaction},
};
use streams::LogName;
use uuid::Uuid;

use crate::{
    accounts::Accounts,
    books::Books,
    report::{Check, Findings, Place},
};

const SHARDS: u16 = 2;
const LIMIT: i64 = 50;
const AT: Timestamp = Timestamp::from_micros(0);

fn eur() -> Currency {
    Currency::parse("EUR").expect("in use")
}

/// The `n`-th account that lives on a shard.
pub(crate) fn account(shard: u16, n: usize) -> AccountId {
    let of = |n| AccountId::of(CustomerId::from_uuid(Uuid::from_u128(n)), Uuid::from_u128(n));
    (0..).map(of).filter(|account| Shard::of(*account, SHARDS) == Shard(shard)).nth(n).expect("endless")
}

fn opened(account: AccountId, number: u64) -> AccountEvent {
    AccountEvent::Opened {
        account,
        holder: CustomerId::from_uuid(Uuid::from_u128(number.into())),
        iban: account_iban(number).expect("a number"),
        currency: eur(),
        overdraft_limit_minor: LIMIT,
        at: AT,
    }
}

fn activated(account: AccountId) -> LedgerEvent {
    LedgerEvent::AccountActivated { account, currency: eur(), overdraft_limit_minor: LIMIT, at: AT }
}

fn posting(account: LedgerAccount, amount_minor: i64, balance_after_minor: i64, version: u64) -> Posting {
    Posting { account, amount_minor, balance_after_minor, version }
}

fn booking(leg: Leg, debtor: Debtor, creditor: AccountId, minor: i64, postings: [Posting; 2]) -> Transaction {
    let (payment, amount) = (PaymentId::from_uuid(Uuid::nil()), Money::from_minor(minor, eur()));
    Transaction { payment, leg, debtor, creditor, amount, reference: None, postings, at: AT }
}

/// A deposit of 100 to Ada, a transfer of 30 from Ada to Ben, 20 from Ada to shard 1.
fn given() -> Vec<LedgerEvent> {
    let (ada, ben, away) = (account(0, 0), account(0, 1), account(1, 0));
    let (a, b) = (LedgerAccount::Customer(ada), LedgerAccount::Customer(ben));
    let settlement = LedgerAccount::Settlement(eur());
    let clearing = LedgerAccount::Clearing { from: Shard(0), to: Shard(1), currency: eur() };
    let deposit = [posting(settlement, -100, -100, 1), posting(a, 100, 100, 1)];
    let transfer = [posting(a, -30, 70, 2), posting(b, 30, 30, 1)];
    let outgoing = [posting(a, -20, 50, 3), posting(clearing, 20, 20, 1)];
    vec![
        activated(ada),
        activated(ben),
        LedgerEvent::Booked(booking(Leg::Transfer, Debtor::Settlement(Shard(0)), ada, 100, deposit)),
        LedgerEvent::Booked(booking(Leg::Transfer, Debtor::Account(ada), ben, 30, transfer)),
        LedgerEvent::Booked(booking(Leg::Outgoing { to: Shard(1) }, Debtor::Account(ada), away, 20, outgoing)),
    ]
}

/// The books of `events`, a record each, with what the accounts log says of two accounts of the shard.
fn books(events: &[LedgerEvent]) -> (Books, Findings) {
    let (mut facts, mut findings) = (Accounts::default(), Findings::default());
    let accounts = LogName::new("accounts", None);
    for (number, seq) in (0..2).zip(1..) {
        facts.apply(Place { log: &accounts, seq, event: 1 }, &opened(account(0, number), seq), &mut findings);
    }
    let mut books = Books::new(Shard(0), SHARDS, Arc::new(facts));
    let log = LogName::new("ledger", Some(0));
    for (event, seq) in events.iter().zip(1..) {
        books.apply(Place { log: &log, seq, event: 1 }, event, &mut findings);
    }
    books.finish(&accounts, 2, &mut findings);
    (books, findings)
}

/// What fails, and in which record.
fn found(events: &[LedgerEvent]) -> Vec<(Check, u64)> {
    let (_, findings) = books(events);
    assert!(findings.listed.iter().all(|violation| ["ledger-0", "accounts"].contains(&violation.log.as_str())));
    findings.listed.iter().map(|violation| (violation.check, violation.seq)).collect()
}

/// The events with one of the bookings changed, counted from 0.
fn planted(booking: usize, change: impl FnOnce(&mut Transaction)) -> Vec<LedgerEvent> {
    let mut events = given();
    match events.iter_mut().filter_map(|event| if let LedgerEvent::Booked(booked) = event { Some(booked) } else { None }).nth(booking) {
        Some(booked) => change(booked),
        None => unreachable!("there are three"),
    }
    events
}

#[test]
fn good_books_pass() {
    let (books, findings) = books(&given());
    assert_eq!(findings.listed, []);
    let totals = books.currencies()["EUR"];
    assert_eq!((totals.customers, totals.settlement, totals.clearing, totals.sum()), (80, -100, 20, 0));
}

#[test]
fn a_payment_of_less_than_nothing_is_named() {
    let reversed = planted(1, |booked| {
        booked.amount = Money::from_minor(-30, eur());
        let [payer, payee] = &mut booked.postings;
        (payer.amount_minor, payer.balance_after_minor) = (30, 130);
        (payee.amount_minor, payee.balance_after_minor) = (-30, -30);
    });
    assert!(found(&reversed).contains(&(Check::Payments, 4)));
}

#[test]
fn a_version_gap_is_named() {
    assert_eq!(found(&planted(1, |booked| booked.postings[0].version = 3)), [(Check::Versions, 4), (Check::Versions, 5)]);
}

#[test]
fn a_cent_too_much_is_named() {
    let events = planted(2, |booked| booked.postings[1].amount_minor += 1);
    assert_eq!(found(&events), [(Check::Payments, 5), (Check::Versions, 5), (Check::Sums, 5)]);
    let events = planted(2, |booked| booked.postings[1].balance_after_minor += 1);
    assert_eq!(found(&events), [(Check::Versions, 5), (Check::Sums, 5)]);
}

#[test]
fn an_account_below_its_limit_is_named() {
    let events = planted(2, |booked| {
        booked.amount = Money::from_minor(121, eur());
        for posting in &mut booked.postings {
            let more = posting.amount_minor.signum() * 101;
            (posting.amount_minor, posting.balance_after_minor) = (posting.amount_minor + more, posting.balance_after_minor + more);
        }
    });
    assert_eq!(found(&events), [(Check::Limits, 5)]);
}

#[test]
fn a_half_of_a_clearing_account_on_the_wrong_side_is_named() {
    let (ada, clearing) = (account(0, 0), LedgerAccount::Clearing { from: Shard(1), to: Shard(0), currency: eur() });
    let postings = [posting(clearing, 5, 5, 1), posting(LedgerAccount::Customer(ada), -5, 45, 4)];
    let leg = Leg::Incoming { from: Shard(1) };
    let events = [given(), vec![LedgerEvent::Booked(booking(leg, Debtor::Account(account(1, 0)), ada, 5, postings))]].concat();
    assert_eq!(found(&events), [(Check::Payments, 6), (Check::Limits, 6)]);
}

#[test]
fn postings_on_other_accounts_than_the_leg_says_are_named() {
    let back = Leg::Returned { from: Shard(1), code: RejectionCode::AccountClosed };
    assert_eq!(found(&planted(1, |booked| booked.leg = back)), [(Check::Payments, 4)]);
}

#[test]
fn an_account_that_is_not_as_it_was_opened_is_named() {
    let mut events = given();
    if let LedgerEvent::AccountActivated { overdraft_limit_minor, .. } = &mut events[1] {
        *overdraft_limit_minor = 0;
    }
    assert_eq!(found(&events), [(Check::Accounts, 2)]);
    assert_eq!(found(&given()[..1]), [(Check::Accounts, 2)], "one that was never taken over");
}

#[test]
fn a_frozen_account_that_takes_part_is_named() {
    let status = LedgerEvent::StatusApplied { account: account(0, 1), status: AccountStatus::Frozen, at: AT };
    let mut events = given();
    events.insert(2, status);
    assert_eq!(found(&events), [(Check::Accounts, 3), (Check::Accounts, 5)], "the accounts log does not say so, and it is booked on");
}

#[test]
fn an_order_fits_who_gives_it_and_whom_it_names() {
    let (mut facts, mut findings) = (Accounts::default(), Findings::default());
    let log = LogName::new("accounts", None);
    let (ada, ben) = (account(0, 0), account(0, 1));
    for (account, number) in [(ada, 1), (ben, 2)] {
        facts.apply(Place { log: &log, seq: number, event: 1 }, &opened(account, number), &mut findings);
    }
    let order = |customer: u128, iban: u64| PaymentOrder {
        id: PaymentId::from_uuid(Uuid::nil()),
        by: Initiator::Customer(CustomerId::from_uuid(Uuid::from_u128(customer))),
        debtor: Debtor::Account(ada),
        creditor: account_iban(iban).expect("a number"),
        amount: Money::from_minor(1, eur()),
        reference: None,
        at: AT,
    };
    assert!(facts.fit(&order(1, 2), ben));
    assert!(!facts.fit(&order(1, 2), ada), "another account has this IBAN");
    assert!(!facts.fit(&order(2, 2), ben), "another customer has this account");
    assert!(!facts.fit(&order(1, 3), ben), "nobody has this IBAN");
    let by_bank = |debtor| PaymentOrder { by: Initiator::Bank, debtor, ..order(1, 2) };
    assert!(facts.fit(&by_bank(Debtor::Settlement(Shard(0))), ben));
    assert!(!facts.fit(&by_bank(Debtor::Account(ada)), ben), "the bank debits nobody's account");
    assert!(findings.listed.is_empty());
    facts.apply(Place { log: &log, seq: 3, event: 1 }, &opened(ada, 2), &mut findings);
    assert_eq!(findings.listed.len(), 2, "opened twice, and with an IBAN that was given before");
}
