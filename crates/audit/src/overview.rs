//! What an overview ought to hold, folded anew from one shard's logs. Its entries are compared as the
//! ledger is walked, so none is kept. This module must never know whether a booking is right.

use domain::{
    AccountId, Debtor, Initiator, PaymentId, Timestamp,
    fraud::{Checked, Verdict},
    ledger::{LedgerAccount, LedgerEvent, Leg, Posting, Transaction},
    payments::PaymentEvent,
};
use projections::{
    BalanceRow, EntryRow, PendingRow,
    inspect::{FAR_STRIDE, Rows, STRIDE},
};
use rustc_hash::FxHashMap;
use streams::LogName;

use crate::{
    compare::Compared,
    directory::missing,
    report::{Findings, Place},
};

/// What a balance's row ought to be.
#[derive(Debug, Default)]
struct Expected {
    booked: i64,
    pending: i64,
    version: u64,
    as_of: Timestamp,
    links: [u64; 3],
    seq: u64,
}

/// An overview under comparison.
pub(crate) struct Overview {
    pub compared: Compared,
    entries: Rows<u64, EntryRow>,
    /// Whether there is one that cannot be read, behind which nothing is looked at.
    is_cut_off: bool,
    number: u64,
    balances: FxHashMap<AccountId, Expected>,
    pending: FxHashMap<PaymentId, (PendingRow, u64)>,
}

impl Overview {
    pub(crate) fn new(compared: Compared) -> Self {
        // One that cannot be opened has no rows, which shows at the first that is expected.
        let entries = compared.inspection.entries().unwrap_or_else(|_| Box::new(std::iter::empty()));
        Self { compared, entries, is_cut_off: false, number: 0, balances: FxHashMap::default(), pending: FxHashMap::default() }
    }

    pub(crate) fn validated(&mut self, place: Place<'_>, event: &PaymentEvent) {
        if place.seq > self.compared.mark(place.log) {
            return;
        }
        match event {
            PaymentEvent::Validated { order, .. } => {
                if let (Initiator::Customer(_), Debtor::Account(account)) = (order.by, order.debtor) {
                    let minor = order.amount.minor();
                    let balance = self.balances.entry(account).or_default();
                    balance.pending = balance.pending.wrapping_add(minor);
                    self.pending.insert(order.id, (PendingRow { account, minor }, place.seq));
                }
            }
            PaymentEvent::Rejected { .. } | PaymentEvent::Reviewed(_) => {}
        }
    }

    pub(crate) fn checked(&mut self, place: Place<'_>, checked: &Checked) {
        match checked.verdict {
            Verdict::Declined(_) if place.seq <= self.compared.mark(place.log) => self.release(checked.order.id),
            Verdict::Declined(_) | Verdict::Passed | Verdict::Held => {}
        }
    }

    pub(crate) fn ledger(&mut self, place: Place<'_>, event: &LedgerEvent, findings: &mut Findings) {
        if place.seq > self.compared.mark(place.log) {
            return;
        }
        match event {
            LedgerEvent::Booked(transaction) => {
                match transaction.leg {
                    Leg::Transfer | Leg::Outgoing { .. } => self.release(transaction.payment),
                    Leg::Incoming { .. } | Leg::Bounced { .. } | Leg::Returned { .. } => {}
                }
                for posting in &transaction.postings {
                    match posting.account {
                        LedgerAccount::Customer(account) => self.entry(place, account, posting, transaction, findings),
                        LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. } => {}
                    }
                }
            }
            LedgerEvent::Rejected { payment, .. } => self.release(*payment),
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => {}
        }
    }

    fn release(&mut self, payment: PaymentId) {
        if let Some((PendingRow { account, minor }, _)) = self.pending.remove(&payment) {
            let balance = self.balances.entry(account).or_default();
            balance.pending = balance.pending.wrapping_sub(minor);
        }
    }

    fn entry(&mut self, place: Place<'_>, account: AccountId, posting: &Posting, transaction: &Transaction, findings: &mut Findings) {
        self.number += 1;
        let number = self.number;
        let balance = self.balances.entry(account).or_default();
        let links = follow(&mut balance.links, number, posting.version);
        let (booked, version, as_of, seq) = (posting.balance_after_minor, posting.version, transaction.at, place.seq);
        (balance.booked, balance.version, balance.as_of, balance.seq) = (booked, version, as_of, seq);
        if self.is_cut_off {
            return;
        }
        let found = match self.entries.next() {
            Some(Ok((key, row))) if key == number => row,
            Some(Ok((key, _))) => {
                return self.compared.row(place, false, findings, || format!("entry {number} is missing, {key} comes next"));
            }
            Some(Err(error)) => {
                self.is_cut_off = true;
                let what = || format!("entry {number} cannot be read, and those behind it were not looked at: {error}");
                return self.compared.row(place, false, findings, what);
            }
            None => return self.compared.row(place, false, findings, || format!("entry {number} is missing")),
        };
        let is_debtor = transaction.debtor == Debtor::Account(account);
        let counterparty = if is_debtor { Debtor::Account(transaction.creditor) } else { transaction.debtor };
        let facts =
            |row: &EntryRow| (row.version, row.payment, row.amount_minor, row.balance_after_minor, row.counterparty, row.at, row.links());
        let expected = (version, transaction.payment, posting.amount_minor, booked, counterparty, as_of, links);
        let holds = facts(&found) == expected && found.reference == transaction.reference;
        self.compared.row(place, holds, findings, || {
            format!("entry {number} of {account} is {found:?}, the log says {expected:?} with reference {:?}", transaction.reference)
        });
    }

    /// Compares what is left to compare.
    pub(crate) fn finish(&mut self, payments_log: &LogName, ledger_log: &LogName, findings: &mut Findings) {
        let end = Place::of_record(ledger_log, self.compared.mark(ledger_log));
        for row in self.entries.by_ref() {
            match row {
                Ok((number, _)) => self.compared.row(end, false, findings, || format!("entry {number} is one that no log says")),
                Err(error) => {
                    self.compared.row(end, false, findings, || format!("what comes after the last entry cannot be read: {error}"))
                }
            }
        }
        let Self { compared, balances, pending, .. } = self;
        let rows = compared.inspection.balances().map(|rows| rows.map(|row| row.map(|(account, row)| (account, facts(&row)))));
        compared.table("balance", ledger_log, rows, findings, |account| balances.remove(account).map(expected));
        let left = balances.drain().map(|(account, row)| (account, expected(row))).collect();
        missing(compared, "balance", ledger_log, &left, findings, ToString::to_string);
        let rows = compared.inspection.pending();
        compared.table("payment on its way out", payments_log, rows, findings, |payment| pending.remove(payment));
        missing(compared, "payment on its way out", payments_log, pending, findings, ToString::to_string);
    }
}

/// Links an account to its newest entry; gives the links of that entry.
const fn follow(account: &mut [u64; 3], number: u64, version: u64) -> [u64; 2] {
    let [newest, anchor, far_anchor] = account;
    let is_anchor = version.is_multiple_of(STRIDE);
    let links = [*newest, if is_anchor { *far_anchor } else { *anchor }];
    *newest = number;
    if is_anchor {
        *anchor = number;
    }
    if version.is_multiple_of(FAR_STRIDE) {
        *far_anchor = number;
    }
    links
}

/// A balance with all that its row says.
#[derive(Debug, PartialEq, Eq)]
struct Balance {
    booked_minor: i64,
    pending_minor: i64,
    version: u64,
    as_of: Timestamp,
    links: [u64; 3],
}

fn facts(row: &BalanceRow) -> Balance {
    let BalanceRow { booked_minor, pending_minor, version, as_of, .. } = *row;
    Balance { booked_minor, pending_minor, version, as_of, links: row.links() }
}

fn expected(row: Expected) -> (Balance, u64) {
    let Expected { booked: booked_minor, pending: pending_minor, version, as_of, links, seq } = row;
    (Balance { booked_minor, pending_minor, version, as_of, links }, seq)
}
