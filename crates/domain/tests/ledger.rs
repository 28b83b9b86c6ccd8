//! The ledger's rules over random traffic between shards: money is conserved, versions are gapless,
//! limits hold, and every debit has one credit or one return.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::collections::HashMap;

use domain::{
    AccountId, Currency, CustomerId, Debtor, Initiator, Money, PaymentId, PaymentOrder, RejectionCode, Shard, Timestamp, account_iban,
    accounts::{AccountEvent, AccountStatus},
    fraud::{Checked, Verdict},
    ledger::{Ledger, LedgerAccount, LedgerEvent, Leg, Overflow, Posting, Transaction},
};
use proptest::prelude::*;
use uuid::Uuid;

const SHARDS: u16 = 3;
const NOW: Timestamp = Timestamp::from_micros(0);

fn eur() -> Currency {
    Currency::parse("EUR").expect("in use")
}

fn account(n: u8) -> AccountId {
    AccountId::of(CustomerId::from_uuid(Uuid::from_u128(u128::from(n))), Uuid::from_u128(u128::from(n)))
}

/// An account on the given shard.
fn account_on(shard: u16, nth: usize) -> AccountId {
    (0..=u8::MAX).map(account).filter(|account| Shard::of(*account, SHARDS) == Shard(shard)).nth(nth).expect("enough accounts")
}

fn checked(id: u128, debtor: Debtor, creditor: AccountId, minor: i64) -> Checked {
    let by = debtor.account().map_or(Initiator::Bank, |_| Initiator::Customer(CustomerId::from_uuid(Uuid::nil())));
    let order = PaymentOrder {
        id: PaymentId::from_uuid(Uuid::from_u128(id)),
        by,
        debtor,
        creditor: account_iban(0).expect("a number"),
        amount: Money::from_minor(minor, eur()),
        reference: None,
        at: NOW,
    };
    Checked { order, creditor, verdict: Verdict::Passed, review: None, at: NOW }
}

/// All shards, each with its log, and how far each has read the others'.
struct Bank {
    ledgers: Vec<Ledger>,
    logs: Vec<Vec<LedgerEvent>>,
    read: HashMap<(usize, usize), usize>,
}

impl Bank {
    fn new(accounts: &[AccountId]) -> Self {
        let ledgers = (0..SHARDS).map(|shard| Ledger::new(Shard(shard), SHARDS)).collect();
        let mut bank = Self { ledgers, logs: vec![Vec::new(); usize::from(SHARDS)], read: HashMap::new() };
        for (ordinal, account) in (0..).zip(accounts) {
            let holder = CustomerId::from_uuid(Uuid::nil());
            let iban = account_iban(ordinal).expect("a number");
            bank.apply(&AccountEvent::Opened { account: *account, holder, iban, currency: eur(), overdraft_limit_minor: 100, at: NOW });
        }
        bank
    }

    fn append(&mut self, shard: usize, event: Option<LedgerEvent>) {
        if let Some(event) = event {
            self.ledgers[shard].evolve(&event);
            self.logs[shard].push(event);
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        for shard in 0..self.ledgers.len() {
            let event = self.ledgers[shard].apply(event, NOW);
            self.append(shard, event);
        }
    }

    fn set(&mut self, account: AccountId, status: AccountStatus) {
        self.apply(&AccountEvent::StatusChanged { account, status, at: NOW });
    }

    fn book(&mut self, checked: &Checked) {
        let shard = usize::from(checked.order.debtor.shard(SHARDS).0);
        let event = self.ledgers[shard].book(checked, NOW);
        self.append(shard, event);
    }

    /// Shards read each other's logs until nothing is left to do.
    fn settle(&mut self) {
        let pairs: Vec<_> = (0..self.logs.len()).flat_map(|r| (0..self.logs.len()).map(move |w| (r, w))).filter(|(r, w)| r != w).collect();
        loop {
            let mut progress = false;
            for (reader, writer) in pairs.iter().copied() {
                let position = *self.read.entry((reader, writer)).or_default();
                let Some(event) = self.logs[writer].get(position).cloned() else { continue };
                self.read.insert((reader, writer), position + 1);
                progress = true;
                if let LedgerEvent::Booked(transaction) = event {
                    let next = self.ledgers[reader].continue_from(Shard(u16::try_from(writer).expect("few")), &transaction, NOW);
                    self.append(reader, next.expect("no balance overflows"));
                }
            }
            if !progress {
                return;
            }
        }
    }

    fn booked(&self) -> impl Iterator<Item = &Transaction> {
        self.logs.iter().flatten().filter_map(|event| if let LedgerEvent::Booked(transaction) = event { Some(transaction) } else { None })
    }

    fn legs(&self) -> Vec<Leg> {
        self.booked().map(|transaction| transaction.leg).collect()
    }

    fn balance(&self, account: AccountId) -> i64 {
        let shard = usize::from(Shard::of(account, SHARDS).0);
        self.ledgers[shard].standing(LedgerAccount::Customer(account)).balance_minor
    }

    fn check(&self) {
        for log in &self.logs {
            let mut standings: HashMap<LedgerAccount, (i64, u64)> = HashMap::new();
            for event in log {
                let LedgerEvent::Booked(transaction) = event else { continue };
                assert_eq!(transaction.postings.iter().map(|posting| posting.amount_minor).sum::<i64>(), 0);
                for posting in transaction.postings {
                    let (balance, version) = standings.entry(posting.account).or_default();
                    *balance += posting.amount_minor;
                    *version += 1;
                    assert_eq!((*balance, *version), (posting.balance_after_minor, posting.version), "{posting:?}");
                    if matches!(posting.account, LedgerAccount::Customer(_)) {
                        assert!(*balance >= -100, "below its limit: {posting:?}");
                    }
                }
                assert_eq!(standings.values().map(|(balance, _)| balance).sum::<i64>(), 0);
            }
        }
    }

    fn check_at_rest(&self) {
        self.check();
        let mut clearing: HashMap<LedgerAccount, i64> = HashMap::new();
        for (account, standing) in self.ledgers.iter().flat_map(|ledger| ledger.own.iter()) {
            if matches!(account, LedgerAccount::Clearing { .. }) {
                *clearing.entry(*account).or_default() += standing.balance_minor;
            }
        }
        assert!(clearing.values().all(|balance| *balance == 0), "{clearing:?}");
        let mut ends: HashMap<PaymentId, (u32, u32)> = HashMap::new();
        for transaction in self.booked() {
            let (debits, credits) = ends.entry(transaction.payment).or_default();
            match transaction.leg {
                Leg::Transfer => (*debits, *credits) = (*debits + 1, *credits + 1),
                Leg::Outgoing { .. } => *debits += 1,
                Leg::Incoming { .. } | Leg::Returned { .. } => *credits += 1,
                Leg::Bounced { .. } => {}
            }
        }
        assert!(ends.values().all(|ends| *ends == (1, 1)), "{ends:?}");
    }
}

#[test]
fn a_transfer_inside_a_shard_is_one_booking() {
    let (lisa, david) = (account_on(0, 0), account_on(0, 1));
    let mut bank = Bank::new(&[lisa, david]);
    bank.book(&checked(1, Debtor::Settlement(Shard(0)), lisa, 10_000));
    bank.book(&checked(2, Debtor::Account(lisa), david, 2_000));
    assert_eq!((bank.balance(lisa), bank.balance(david)), (8_000, 2_000));
    assert_eq!(bank.legs(), [Leg::Transfer, Leg::Transfer]);
}

#[test]
fn between_shards_money_passes_through_clearing() {
    let (lisa, david) = (account_on(0, 0), account_on(1, 0));
    let mut bank = Bank::new(&[lisa, david]);
    bank.book(&checked(1, Debtor::Settlement(Shard(0)), lisa, 10_000));
    bank.book(&checked(2, Debtor::Account(lisa), david, 2_000));
    assert_eq!((bank.balance(lisa), bank.balance(david)), (8_000, 0));
    bank.settle();
    assert_eq!(bank.balance(david), 2_000);
    bank.check_at_rest();
}

#[test]
fn a_credit_that_finds_its_account_closed_is_booked_back() {
    let (lisa, david) = (account_on(0, 0), account_on(1, 0));
    let mut bank = Bank::new(&[lisa, david]);
    bank.book(&checked(1, Debtor::Settlement(Shard(0)), lisa, 10_000));
    bank.book(&checked(2, Debtor::Account(lisa), david, 2_000));
    bank.set(david, AccountStatus::Closed);
    bank.set(lisa, AccountStatus::Frozen);
    bank.settle();
    assert_eq!((bank.balance(lisa), bank.balance(david)), (10_000, 0));
    let code = RejectionCode::AccountClosed;
    assert!(bank.legs().contains(&Leg::Returned { from: Shard(1), code }));
    bank.check_at_rest();
}

#[test]
fn what_no_balance_can_hold_is_not_skipped() {
    let (lisa, david) = (account_on(1, 0), account_on(0, 0));
    let mut bank = Bank::new(&[lisa, david]);
    bank.book(&checked(1, Debtor::Settlement(Shard(1)), lisa, 10_000));
    bank.book(&checked(2, Debtor::Account(lisa), david, 2_000));
    bank.set(david, AccountStatus::Closed);
    let outgoing = bank.booked().find(|booked| matches!(booked.leg, Leg::Outgoing { .. })).expect("it leaves its shard").clone();
    // As if all that a balance can hold had gone the other way before.
    let full = LedgerAccount::Clearing { from: Shard(0), to: Shard(1), currency: eur() };
    let posting = Posting { account: full, amount_minor: i64::MAX, balance_after_minor: i64::MAX, version: 1 };
    let earlier = Transaction { leg: Leg::Transfer, postings: [posting; 2], ..outgoing.clone() };
    bank.ledgers[0].evolve(&LedgerEvent::Booked(earlier));
    assert_eq!(bank.ledgers[0].continue_from(Shard(1), &outgoing, NOW), Err(Overflow(outgoing.payment)));
}

#[test]
fn the_overdraft_limit_is_the_last_cent() {
    let (lisa, david) = (account_on(0, 0), account_on(0, 1));
    let mut bank = Bank::new(&[lisa, david]);
    bank.book(&checked(1, Debtor::Account(lisa), david, 101));
    assert!(matches!(bank.logs[0].last(), Some(LedgerEvent::Rejected { code: RejectionCode::InsufficientFunds, .. })));
    bank.book(&checked(2, Debtor::Account(lisa), david, 100));
    assert_eq!(bank.balance(lisa), -100);
}

#[test]
fn a_frozen_account_neither_pays_nor_is_paid() {
    let (lisa, david) = (account_on(0, 0), account_on(0, 1));
    let mut bank = Bank::new(&[lisa, david]);
    bank.set(david, AccountStatus::Frozen);
    bank.book(&checked(1, Debtor::Account(lisa), david, 1));
    bank.book(&checked(2, Debtor::Account(david), lisa, 1));
    let frozen = |event: &&LedgerEvent| matches!(event, LedgerEvent::Rejected { code: RejectionCode::AccountFrozen, .. });
    assert_eq!(bank.logs[0].iter().filter(frozen).count(), 2);
}

proptest! {
    #[test]
    fn money_is_conserved_versions_are_gapless_and_limits_hold(
        steps in prop::collection::vec((0u8..12, 0u8..12, 1i64..300, 0u8..20), 1..200),
    ) {
        let accounts: Vec<_> = (0..12).map(account).collect();
        let mut bank = Bank::new(&accounts);
        for (id, (debtor, creditor, minor, what)) in (1u128..).zip(steps) {
            let (debtor, creditor) = (accounts[usize::from(debtor)], accounts[usize::from(creditor)]);
            match what {
                0 => bank.set(debtor, AccountStatus::Frozen),
                1 => bank.set(debtor, AccountStatus::Closed),
                2 => bank.set(debtor, AccountStatus::Open),
                3 => bank.settle(),
                4..=8 => bank.book(&checked(id, Debtor::Settlement(Shard::of(creditor, SHARDS)), creditor, minor)),
                _ if debtor != creditor => bank.book(&checked(id, Debtor::Account(debtor), creditor, minor)),
                _ => {}
            }
            bank.check();
        }
        bank.settle();
        bank.check_at_rest();
    }
}
