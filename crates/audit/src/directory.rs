//! What a directory ought to hold, folded anew from the logs of customers and accounts.
//! This module must never know a balance.

use std::hash::Hash;

use domain::{
    AccountId, CustomerId,
    accounts::{AccountEvent, AccountStatus},
    customers::CustomerEvent,
};
use projections::{AccountRow, CustomerRow};
use rustc_hash::FxHashMap;
use streams::LogName;

use crate::{
    compare::Compared,
    report::{Findings, Place},
};

/// A row, and the record that made it what it is.
type Made<V> = (V, u64);

/// A directory under comparison.
pub(crate) struct Directory {
    pub compared: Compared,
    customers: FxHashMap<CustomerId, Made<CustomerRow>>,
    accounts: FxHashMap<AccountId, Made<AccountRow>>,
    ibans: FxHashMap<String, Made<AccountId>>,
    holdings: FxHashMap<(CustomerId, u32), Made<AccountId>>,
    holders: FxHashMap<CustomerId, u32>,
}

impl Directory {
    pub(crate) fn new(compared: Compared) -> Self {
        let (customers, accounts, ibans) = (FxHashMap::default(), FxHashMap::default(), FxHashMap::default());
        Self { compared, customers, accounts, ibans, holdings: FxHashMap::default(), holders: FxHashMap::default() }
    }

    pub(crate) fn customer(&mut self, place: Place<'_>, event: &CustomerEvent) {
        if place.seq > self.compared.mark(place.log) {
            return;
        }
        match event {
            CustomerEvent::Registered { customer, name, email, at } => {
                let row = CustomerRow { name: name.clone(), email: email.clone(), since: *at };
                self.customers.insert(*customer, (row, place.seq));
            }
            CustomerEvent::Changed { customer, name, email, .. } => {
                if let Some((row, seq)) = self.customers.get_mut(customer) {
                    (row.name, row.email, *seq) = (name.clone(), email.clone(), place.seq);
                }
            }
            CustomerEvent::Refused { .. } => {}
        }
    }

    pub(crate) fn account(&mut self, place: Place<'_>, event: &AccountEvent) {
        if place.seq > self.compared.mark(place.log) {
            return;
        }
        match *event {
            AccountEvent::Opened { account: id, holder, iban, currency, overdraft_limit_minor, at } => {
                let next = self.holders.entry(holder).or_default();
                let (ordinal, status) = (*next, AccountStatus::Open);
                *next += 1;
                let row = AccountRow { id, holder, iban, currency, overdraft_limit_minor, status, opened_at: at, ordinal };
                self.accounts.insert(id, (row, place.seq));
                self.ibans.insert(iban.to_string(), (id, place.seq));
                self.holdings.insert((holder, ordinal), (id, place.seq));
            }
            AccountEvent::StatusChanged { account, status, .. } => {
                if let Some((row, seq)) = self.accounts.get_mut(&account) {
                    (row.status, *seq) = (status, place.seq);
                }
            }
            AccountEvent::Refused { .. } => {}
        }
    }

    /// Compares all tables.
    pub(crate) fn finish(&mut self, customers_log: &LogName, accounts_log: &LogName, findings: &mut Findings) {
        let Self { compared, customers, accounts, ibans, holdings, .. } = self;
        let rows = compared.inspection.customers();
        compared.table("customer", customers_log, rows, findings, |key| customers.remove(key));
        missing(compared, "customer", customers_log, customers, findings, ToString::to_string);
        let rows = compared.inspection.accounts();
        compared.table("account", accounts_log, rows, findings, |key| accounts.remove(key));
        missing(compared, "account", accounts_log, accounts, findings, ToString::to_string);
        let rows = compared.inspection.ibans();
        compared.table("IBAN", accounts_log, rows, findings, |key| ibans.remove(key));
        missing(compared, "IBAN", accounts_log, ibans, findings, Clone::clone);
        let rows = compared.inspection.holdings().map(|rows| rows.map(|row| row.map(|(key, id)| (Holding(key), id))));
        compared.table("holding", accounts_log, rows, findings, |Holding(key)| holdings.remove(key));
        missing(compared, "holding", accounts_log, holdings, findings, |key| Holding(*key).to_string());
    }
}

/// A customer's how-manieth account.
struct Holding((CustomerId, u32));

impl std::fmt::Display for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.0.1, self.0.0)
    }
}

/// Says of each row that is left that the file does not have it.
pub(crate) fn missing<K: Eq + Hash, V>(
    compared: &mut Compared,
    table: &str,
    log: &LogName,
    left: &FxHashMap<K, Made<V>>,
    findings: &mut Findings,
    name: impl Fn(&K) -> String,
) {
    for (key, (_, seq)) in left {
        compared.row(Place::of_record(log, *seq), false, findings, || format!("{table} {} is missing", name(key)));
    }
}
