//! What the accounts log says of accounts: the facts that books are held against.
//! This module must never know a balance.

use domain::{
    AccountId, Currency, Shard,
    accounts::{AccountEvent, AccountStatus},
};
use rustc_hash::FxHashMap;

use crate::report::{Check, Findings, Place};

/// What was said of an account, and with which record.
#[derive(Debug)]
pub(crate) struct Facts {
    pub currency: Currency,
    pub overdraft_limit_minor: i64,
    pub opened: u64,
    /// Its statuses after that of its opening, in order.
    pub changes: Vec<(AccountStatus, u64)>,
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts(FxHashMap<AccountId, Facts>);

impl Accounts {
    pub(crate) fn get(&self, account: AccountId) -> Option<&Facts> {
        self.0.get(&account)
    }

    /// Those that live on `shard` among `shards`.
    pub(crate) fn of(&self, shard: Shard, shards: u16) -> impl Iterator<Item = (AccountId, &Facts)> {
        self.0.iter().map(|(account, facts)| (*account, facts)).filter(move |(account, _)| Shard::of(*account, shards) == shard)
    }

    pub(crate) fn apply(&mut self, place: Place<'_>, event: &AccountEvent, findings: &mut Findings) {
        findings.look(Check::Accounts);
        match *event {
            AccountEvent::Opened { account, currency, overdraft_limit_minor, .. } => {
                let facts = Facts { currency, overdraft_limit_minor, opened: place.seq, changes: Vec::new() };
                if self.0.insert(account, facts).is_some() {
                    findings.fail(Check::Accounts, place, format!("{account} is opened a second time"));
                }
            }
            AccountEvent::StatusChanged { account, status, .. } => match self.0.get_mut(&account) {
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
