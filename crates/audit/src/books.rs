//! The books of one shard, kept again from its ledger's log: versions, balances, sums and limits.
//! This module must never know how far a payment has come.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    AccountId, Currency, Debtor, Shard,
    accounts::AccountStatus,
    ledger::{LedgerAccount, LedgerEvent, Leg, Posting, Transaction},
};
use rustc_hash::FxHashMap;
use streams::LogName;

use crate::{
    accounts::Accounts,
    report::{Check, CurrencyTotals, Findings, Place},
};

#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    balance: i64,
    version: u64,
}

/// A customer's account as the ledger's log has it so far.
#[derive(Debug)]
struct Known {
    status: AccountStatus,
    /// How many changes of its status were applied.
    applied: usize,
}

/// One shard's books.
#[derive(Debug)]
pub(crate) struct Books {
    shard: Shard,
    shards: u16,
    facts: Arc<Accounts>,
    known: FxHashMap<AccountId, Known>,
    standings: FxHashMap<LedgerAccount, Standing>,
    sums: FxHashMap<Currency, i128>,
    pub postings: u64,
}

impl Books {
    pub(crate) fn new(shard: Shard, shards: u16, facts: Arc<Accounts>) -> Self {
        let (known, standings, sums) = (FxHashMap::default(), FxHashMap::default(), FxHashMap::default());
        Self { shard, shards, facts, known, standings, sums, postings: 0 }
    }

    pub(crate) fn apply(&mut self, place: Place<'_>, event: &LedgerEvent, findings: &mut Findings) {
        match event {
            LedgerEvent::AccountActivated { account, currency, overdraft_limit_minor, .. } => {
                self.activated(place, *account, *currency, *overdraft_limit_minor, findings);
            }
            LedgerEvent::StatusApplied { account, status, .. } => self.status_applied(place, *account, *status, findings),
            LedgerEvent::Booked(transaction) => self.booked(place, transaction, findings),
            LedgerEvent::Rejected { .. } => {}
        }
    }

    fn activated(&mut self, place: Place<'_>, account: AccountId, currency: Currency, limit: i64, findings: &mut Findings) {
        let facts = self.facts.get(account);
        let agrees = facts.is_some_and(|facts| (facts.currency, facts.overdraft_limit_minor) == (currency, limit));
        findings.expect(Check::Accounts, place, agrees, || {
            format!("{account} is not opened in {currency} with limit {limit} in the accounts log")
        });
        if Shard::of(account, self.shards) != self.shard {
            findings.fail(Check::Accounts, place, format!("{account} lives on another shard"));
        }
        let known = Known { status: AccountStatus::Open, applied: 0 };
        if self.known.insert(account, known).is_some() {
            findings.fail(Check::Accounts, place, format!("{account} is activated a second time"));
        }
    }

    fn status_applied(&mut self, place: Place<'_>, account: AccountId, status: AccountStatus, findings: &mut Findings) {
        findings.look(Check::Accounts);
        let Some(known) = self.known.get_mut(&account) else {
            return findings.fail(Check::Accounts, place, format!("{account} has its status applied but was never activated"));
        };
        let said = self.facts.get(account).and_then(|facts| facts.changes.get(known.applied));
        if said.is_none_or(|(said, _)| *said != status) {
            findings.fail(Check::Accounts, place, format!("{account} becomes {status:?}, which the accounts log does not say here"));
        }
        known.status = status;
        known.applied += 1;
    }

    fn booked(&mut self, place: Place<'_>, transaction: &Transaction, findings: &mut Findings) {
        let Transaction { postings, amount, payment, leg, .. } = transaction;
        let currency = amount.currency();
        let expected = accounts_of(self.shard, transaction);
        let moved = postings.each_ref().map(|posting| (posting.account, posting.amount_minor));
        let is_right = amount.minor() > 0 && moved == [(expected[0], -amount.minor()), (expected[1], amount.minor())];
        findings.expect(Check::Payments, place, is_right, || format!("{payment}: its postings are not those of {amount} by {leg:?}"));
        let mut change = 0;
        for posting in postings {
            change += self.post(place, transaction, posting, findings);
        }
        let event_sum: i128 = postings.iter().map(|posting| i128::from(posting.amount_minor)).sum();
        let sum = self.sums.entry(currency).or_default();
        *sum += change;
        findings.expect(Check::Sums, place, event_sum == 0 && change == 0, || match event_sum {
            0 => format!("{payment}: with it, all accounts in {currency} of the shard sum to {sum} in minor units"),
            _ => format!("{payment}: its postings sum to {event_sum} in minor units"),
        });
    }

    /// Takes over a posting; says by how much it changes its account, by the balance that it claims.
    fn post(&mut self, place: Place<'_>, transaction: &Transaction, posting: &Posting, findings: &mut Findings) -> i128 {
        self.postings += 1;
        let Posting { account, amount_minor, balance_after_minor: after, version } = *posting;
        let standing = self.standings.entry(account).or_default();
        let Standing { balance: before, version: last } = *standing;
        *standing = Standing { balance: after, version };
        let payment = transaction.payment;
        findings.look(Check::Versions);
        if version != last + 1 {
            let what = format!("{payment}: version {version} of {} follows version {last}", name(account));
            findings.fail(Check::Versions, place, what);
        }
        if i128::from(before) + i128::from(amount_minor) != i128::from(after) {
            let what =
                format!("{payment}: {} had {before}, {amount_minor} is posted, and {after} is what it claims to have", name(account));
            findings.fail(Check::Versions, place, what);
        }
        self.limit(place, transaction, posting, findings);
        i128::from(after) - i128::from(before)
    }

    /// How far below zero an account may be: a customer's as far as it was opened with, settlement
    /// without end, a half of a clearing account never on the side of the other half.
    fn limit(&self, place: Place<'_>, transaction: &Transaction, posting: &Posting, findings: &mut Findings) {
        let Posting { account, balance_after_minor: after, .. } = *posting;
        let payment = transaction.payment;
        findings.look(Check::Limits);
        match account {
            LedgerAccount::Customer(id) => {
                let limit = self.facts.get(id).map_or(0, |facts| facts.overdraft_limit_minor);
                if i128::from(after) < -i128::from(limit) {
                    let what = format!("{payment}: {} has {after} and may have no less than -{limit}", name(account));
                    findings.fail(Check::Limits, place, what);
                }
                self.deals(place, id, transaction, findings);
            }
            LedgerAccount::Settlement(_) => {}
            LedgerAccount::Clearing { from, to, .. } => {
                let is_past_zero = (from == self.shard && after < 0) || (to == self.shard && after > 0);
                if is_past_zero || ![from, to].contains(&self.shard) {
                    let what = format!("{payment}: {} has {after}, which shard {}'s half never may", name(account), self.shard);
                    findings.fail(Check::Limits, place, what);
                }
            }
        }
    }

    /// Whether a customer's account may take part at all.
    fn deals(&self, place: Place<'_>, account: AccountId, transaction: &Transaction, findings: &mut Findings) {
        findings.look(Check::Accounts);
        let payment = transaction.payment;
        let Some(known) = self.known.get(&account) else {
            return findings.fail(Check::Accounts, place, format!("{payment}: {account} is booked on but was never activated"));
        };
        if self.facts.get(account).is_some_and(|facts| facts.currency != transaction.amount.currency()) {
            findings.fail(Check::Accounts, place, format!("{payment}: {account} has another currency"));
        }
        // What comes back is the debtor's, whatever became of the account meanwhile.
        let comes_back = matches!(transaction.leg, Leg::Returned { .. });
        if known.status != AccountStatus::Open && !comes_back {
            findings.fail(Check::Accounts, place, format!("{payment}: {account} is {:?} and takes part in it", known.status));
        }
    }

    /// What was said of accounts up to record `read` of their `log`, and is not in the books.
    pub(crate) fn finish(&self, log: &LogName, read: u64, findings: &mut Findings) {
        for (account, facts) in self.facts.of(self.shard, self.shards) {
            let known = self.known.get(&account);
            let missing = match known {
                None => (facts.opened <= read).then_some((facts.opened, "was opened")),
                Some(known) => {
                    let next = facts.changes.get(known.applied).filter(|(_, seq)| *seq <= read);
                    next.map(|(_, seq)| (*seq, "changed its status"))
                }
            };
            if let Some((seq, what)) = missing {
                let what = format!("{account} {what} here, which the ledger of shard {} read and did not take over", self.shard);
                findings.fail(Check::Accounts, Place::of_record(log, seq), what);
            }
        }
    }

    /// Customers' accounts.
    pub(crate) fn accounts(&self) -> u64 {
        self.known.len() as u64
    }

    /// What an account has.
    pub(crate) fn balance(&self, account: LedgerAccount) -> i64 {
        self.standings.get(&account).map_or(0, |standing| standing.balance)
    }

    /// Clearing accounts of which this shard has a half.
    pub(crate) fn clearing(&self) -> impl Iterator<Item = (Shard, Shard, Currency)> {
        self.standings.keys().filter_map(|account| match *account {
            LedgerAccount::Clearing { from, to, currency } => Some((from, to, currency)),
            LedgerAccount::Customer(_) | LedgerAccount::Settlement(_) => None,
        })
    }

    /// What is on which kind of account, by currency.
    pub(crate) fn currencies(&self) -> BTreeMap<String, CurrencyTotals> {
        let mut totals: BTreeMap<String, CurrencyTotals> = BTreeMap::new();
        for (account, standing) in &self.standings {
            let balance = i128::from(standing.balance);
            let currency = match account {
                LedgerAccount::Customer(id) => self.facts.get(*id).map(|facts| facts.currency),
                LedgerAccount::Settlement(currency) | LedgerAccount::Clearing { currency, .. } => Some(*currency),
            };
            let Some(currency) = currency else { continue };
            let total = totals.entry(currency.to_string()).or_default();
            match account {
                LedgerAccount::Customer(_) => total.customers += balance,
                LedgerAccount::Settlement(_) => total.settlement += balance,
                LedgerAccount::Clearing { .. } => total.clearing += balance,
            }
        }
        totals
    }
}

/// The accounts that a booking debits and credits.
fn accounts_of(shard: Shard, transaction: &Transaction) -> [LedgerAccount; 2] {
    let currency = transaction.amount.currency();
    let clearing = |from: Shard, to: Shard| LedgerAccount::Clearing { from, to, currency };
    let debtor = match transaction.debtor {
        Debtor::Account(account) => LedgerAccount::Customer(account),
        Debtor::Settlement(_) => LedgerAccount::Settlement(currency),
    };
    let creditor = LedgerAccount::Customer(transaction.creditor);
    match transaction.leg {
        Leg::Transfer => [debtor, creditor],
        Leg::Outgoing { to } => [debtor, clearing(shard, to)],
        Leg::Incoming { from } => [clearing(from, shard), creditor],
        Leg::Bounced { to, .. } => [clearing(to, shard), clearing(shard, to)],
        Leg::Returned { from, .. } => [clearing(from, shard), debtor],
    }
}

/// An account as people read it.
pub(crate) fn name(account: LedgerAccount) -> String {
    match account {
        LedgerAccount::Customer(id) => id.to_string(),
        LedgerAccount::Settlement(currency) => format!("settlement in {currency}"),
        LedgerAccount::Clearing { from, to, currency } => format!("clearing from shard {from} to {to} in {currency}"),
    }
}
