//! What the accounts log says of accounts: the facts that books are held against.
//! This module must never know a balance.

use domain::{
    AccountId, Currency, CustomerId, Iban, Initiator, PaymentOrder, Shard,
    accounts::{AccountEvent, AccountStatus},
};
use rustc_hash::FxHashMap;

use crate::report::{Check, Findings, Place};

/// What was said of an account, and with which record.
#[derive(Debug)]
pub(crate) struct Facts {
    holder: CustomerId,
    pub currency: Currency,
    pub overdraft_limit_minor: i64,
    pub opened: u64,
    /// Its statuses after that of its opening, in order.
    pub changes: Vec<(AccountStatus, u64)>,
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    facts: FxHashMap<AccountId, Facts>,
    by_iban: FxHashMap<Iban, AccountId>,
}

impl Accounts {
    pub(crate) fn get(&self, account: AccountId) -> Option<&Facts> {
        self.facts.get(&account)
    }

    /// Whether an order that was found to credit `creditor` names that account, and debits one of whoever it is from.
    pub(crate) fn fit(&self, order: &PaymentOrder, creditor: AccountId) -> bool {
        let is_theirs = match (order.by, order.debtor.account()) {
            (Initiator::Customer(customer), Some(debtor)) => self.get(debtor).is_some_and(|facts| facts.holder == customer),
            (Initiator::Customer(_), None) => false,
            // Deposits only: no account of a customer is debited by the bank.
            (Initiator::Bank, debtor) => debtor.is_none(),
        };
        is_theirs && self.by_iban.get(&order.creditor) == Some(&creditor)
    }

    /// Those that live on `shard` among `shards`.
    pub(crate) fn of(&self, shard: Shard, shards: u16) -> impl Iterator<Item = (AccountId, &Facts)> {
        self.facts.iter().map(|(account, facts)| (*account, facts)).filter(move |(account, _)| Shard::of(*account, shards) == shard)
    }

    pub(crate) fn apply(&mut self, place: Place<'_>, event: &AccountEvent, findings: &mut Findings) {
        findings.look(Check::Accounts);
        match *event {
            AccountEvent::Opened { account, holder, iban, currency, overdraft_limit_minor, .. } => {
                let facts = Facts { holder, currency, overdraft_limit_minor, opened: place.seq, changes: Vec::new() };
                if self.facts.insert(account, facts).is_some() {
                    findings.fail(Check::Accounts, place, format!("{account} is opened a second time"));
                }
                if self.by_iban.insert(iban, account).is_some_and(|other| other != account) {
                    findings.fail(Check::Accounts, place, format!("{account} has the IBAN of another account"));
                }
            }
            AccountEvent::StatusChanged { account, status, .. } => match self.facts.get_mut(&account) {
                None => findings.fail(Check::Accounts, place, format!("{account} changes its status but was never opened")),
                Some(facts) => {
                    if facts.changes.last().is_some_and(|(before, _)| *before == AccountStatus::Closed) {
                        findings.fail(Check::Accounts, place, format!("{account} was closed for good and is {status:?} now"));
                    }
                    facts.changes.push((status, place.seq));
                }
            },
            AccountEvent::Refused { .. } => {}
        }
    }
}
