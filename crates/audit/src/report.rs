//! What an audit found: violations, each with its place, and totals. This module must never know how
//! they are shown.

use std::collections::BTreeMap;

use serde::Serialize;
use streams::LogName;

/// Violations that are listed; those beyond are counted. Whoever has so many needs no longer list.
pub const MAX_LISTED: usize = 100;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Records follow each other without gap, continue the chain, and can be understood.
    Records,
    /// Cursors never go back, name only what there is, and cover what was decided on.
    Cursors,
    /// What the ledgers know of accounts is what the accounts log says.
    Accounts,
    /// Versions of accounts go 1, 2, 3 …, and each balance after is the one before and the amount.
    Versions,
    /// Events, and all accounts of a currency at every prefix of a ledger, sum to zero.
    Sums,
    /// No account is below its limit at any prefix.
    Limits,
    /// Every accepted payment is debited at most once and ends once, or is under way.
    Payments,
    /// Every debit between shards has one credit or one return, and clearing accounts agree.
    Credits,
    /// Read models on disk equal the fold of the logs up to where they stand.
    Models,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Records,
        Self::Cursors,
        Self::Accounts,
        Self::Versions,
        Self::Sums,
        Self::Limits,
        Self::Payments,
        Self::Credits,
        Self::Models,
    ];

    /// What holds where it is passed.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Records => "records without gap, chained, understood",
            Self::Cursors => "cursors never go back or beyond a log",
            Self::Accounts => "ledgers know accounts as they were opened",
            Self::Versions => "versions 1, 2, 3 …, balance = before ± amount",
            Self::Sums => "every event and every prefix sums to zero",
            Self::Limits => "no account below its limit at any prefix",
            Self::Payments => "one debit at most and one end per payment",
            Self::Credits => "every debit has one credit or one return",
            Self::Models => "read models equal the fold of the logs",
        }
    }
}

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub log: &'a LogName,
    pub seq: u64,
    /// Its number in the record, from 1; 0 for the record as such.
    pub event: u32,
}

impl<'a> Place<'a> {
    pub(crate) const fn of_record(log: &'a LogName, seq: u64) -> Self {
        Self { log, seq, event: 0 }
    }
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What it breaks.
    pub check: Check,
    /// The log in which it shows.
    pub log: LogName,
    /// The record.
    pub seq: u64,
    /// The event in the record, from 1; none where it is the record as such.
    pub event: Option<u32>,
    /// The read model's file, where it is in one.
    pub model: Option<String>,
    /// What is wrong.
    pub what: String,
}

/// What was looked at and what failed, so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    counts: [CheckCount; Check::ALL.len()],
    pub listed: Vec<Violation>,
}

#[derive(Debug, Default, Clone, Copy)]
struct CheckCount {
    looked_at: u64,
    failed: u64,
}

impl Findings {
    /// Notes that something was looked at.
    pub(crate) fn look(&mut self, check: Check) {
        self.counts[check as usize].looked_at += 1;
    }

    /// Notes what was looked at, and fails where it does not hold.
    pub(crate) fn expect(&mut self, check: Check, place: Place<'_>, holds: bool, what: impl FnOnce() -> String) {
        self.look(check);
        if !holds {
            self.fail(check, place, what());
        }
    }

    /// Notes a violation.
    pub(crate) fn fail(&mut self, check: Check, place: Place<'_>, what: String) {
        self.add(check, place, None, what);
    }

    /// Notes a violation in a read model's file.
    pub(crate) fn fail_model(&mut self, file: &str, place: Place<'_>, what: String) {
        self.add(Check::Models, place, Some(file.to_owned()), what);
    }

    fn add(&mut self, check: Check, place: Place<'_>, model: Option<String>, what: String) {
        self.counts[check as usize].failed += 1;
        if self.listed.len() < MAX_LISTED {
            let event = (place.event > 0).then_some(place.event);
            self.listed.push(Violation { check, log: place.log.clone(), seq: place.seq, event, model, what });
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            count.looked_at += more.looked_at;
            count.failed += more.failed;
        }
        self.listed.extend(other.listed);
        self.listed.truncate(MAX_LISTED);
    }

    pub(crate) fn results(&self) -> Vec<CheckResult> {
        let result = |check: Check| {
            let CheckCount { looked_at, failed } = self.counts[check as usize];
            CheckResult { check, says: check.says(), looked_at, failed }
        };
        Check::ALL.map(result).into()
    }
}

/// How a check ended.
#[derive(Debug, Clone, Serialize)]
pub struct CheckResult {
    /// Which.
    pub check: Check,
    /// What holds where it is passed.
    pub says: &'static str,
    /// How many things were looked at.
    pub looked_at: u64,
    /// How many failed.
    pub failed: u64,
}

/// What a log holds up to where the audit looked.
#[derive(Debug, Clone, Serialize)]
pub struct LogTotals {
    /// Which.
    pub log: LogName,
    /// The last record looked at.
    pub end: u64,
    /// Records read.
    pub records: u64,
    /// Events read.
    pub events: u64,
}

/// How payments of a shard ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PaymentTotals {
    /// All that were accepted.
    pub accepted: u64,
    /// Debited and credited.
    pub booked: u64,
    /// Not debited.
    pub rejected: u64,
    /// Booked back.
    pub returned: u64,
    /// Waiting for an operator.
    pub held: u64,
    /// On their way: what must act next has not read so far yet.
    pub under_way: u64,
}

/// What a shard holds.
#[derive(Debug, Clone, Serialize)]
pub struct ShardTotals {
    /// Which.
    pub shard: u16,
    /// Customers' accounts in its books.
    pub accounts: u64,
    /// Postings on its accounts.
    pub postings: u64,
    /// How its payments ended.
    pub payments: PaymentTotals,
    /// By currency, in minor units, what customers have, and the sum of all accounts, which is zero.
    pub currencies: BTreeMap<String, CurrencyTotals>,
}

/// What a shard holds in a currency, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CurrencyTotals {
    /// On customers' accounts.
    pub customers: i128,
    /// On the bank's settlement account.
    pub settlement: i128,
    /// On clearing accounts.
    pub clearing: i128,
}

impl CurrencyTotals {
    /// All accounts together.
    #[must_use]
    pub const fn sum(&self) -> i128 {
        self.customers + self.settlement + self.clearing
    }
}

/// How a read model was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelState {
    /// Row by row.
    Compared,
    /// Not at all, and why: it is in use, or of another version, or of another bank.
    NotCompared(String),
    /// It could not be read, and why.
    Unreadable(String),
}

/// A read model's file.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// The file.
    pub file: String,
    /// Whether it was compared.
    pub state: ModelState,
    /// Rows looked at.
    pub rows: u64,
    /// Rows that are not what the logs say.
    pub failed: u64,
}

impl Report {
    /// How many read models could not be read.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.models.iter().filter(|model| model.is_unreadable()).count()
    }
}

impl Model {
    pub(crate) const fn not_compared(file: String, why: String) -> Self {
        Self { file, state: ModelState::NotCompared(why), rows: 0, failed: 0 }
    }

    pub(crate) const fn unreadable(file: String, why: String) -> Self {
        Self { file, state: ModelState::Unreadable(why), rows: 0, failed: 0 }
    }

    pub(crate) const fn is_unreadable(&self) -> bool {
        matches!(self.state, ModelState::Unreadable(_))
    }
}

/// All that an audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether nothing failed, and nothing was there that could not be read.
    pub passed: bool,
    /// Violations, all of them.
    pub violations: u64,
    /// The first of them.
    pub listed: Vec<Violation>,
    /// By check.
    pub checks: Vec<CheckResult>,
    /// By shard.
    pub shards: Vec<ShardTotals>,
    /// By log.
    pub logs: Vec<LogTotals>,
    /// By file.
    pub models: Vec<Model>,
    /// Records read.
    pub records: u64,
    /// Events read.
    pub events: u64,
    /// How long it took.
    pub millis: u64,
    /// Events a second.
    pub events_per_second: u64,
}
