//! The ledger: double entry per shard. Every event sums to zero, so every prefix of every shard's
//! log does. This module must never know how records travel or who watches a balance.
//!
//! A transfer inside a shard is one event. Between shards it is two: the debtor's shard S books
//! debtor → clearing(S,T), and T, which follows S's log, books clearing(S,T) → creditor. Both shards
//! keep a half of each clearing account; the halves cancel out once all is quiet.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Currency, Debtor, Money, PaymentId, Reference, RejectionCode, Shard, Table, Timestamp,
    accounts::{AccountEvent, AccountStatus},
    fraud::{Checked, Verdict},
    payments::may_deal,
};

/// An account in a shard's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerAccount {
    /// A customer's.
    Customer(AccountId),
    /// The bank's, where money enters; one a currency and shard, may go below zero.
    Settlement(Currency),
    /// This shard's half of what is on its way from one shard to another.
    Clearing {
        /// Where it was debited.
        from: Shard,
        /// Where it is to be credited.
        to: Shard,
        /// In which currency.
        currency: Currency,
    },
}

/// One line of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// The account.
    pub account: LedgerAccount,
    /// What it gains (or loses, below zero), in minor units.
    pub amount_minor: i64,
    /// Its balance after, in minor units.
    pub balance_after_minor: i64,
    /// Its version after: 1 for the first posting, and one more each.
    pub version: u64,
}

/// Which part of a payment a booking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leg {
    /// All of it: debtor and creditor are on this shard.
    Transfer,
    /// The debit; the credit follows on shard `to`.
    Outgoing {
        /// The creditor's shard.
        to: Shard,
    },
    /// The credit; the debit was on shard `from`.
    Incoming {
        /// The debtor's shard.
        from: Shard,
    },
    /// The creditor could not take it: the money turns round, to shard `to`.
    Bounced {
        /// The debtor's shard.
        to: Shard,
        /// Why.
        code: RejectionCode,
    },
    /// What bounced is back with the debtor.
    Returned {
        /// The creditor's shard.
        from: Shard,
        /// Why.
        code: RejectionCode,
    },
}

/// A booking with all its postings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The payment it belongs to.
    pub payment: PaymentId,
    /// Which part of it.
    pub leg: Leg,
    /// The payment's debtor.
    pub debtor: Debtor,
    /// The payment's creditor.
    pub creditor: AccountId,
    /// The payment's amount.
    pub amount: Money,
    /// The payment's reference.
    pub reference: Option<Reference>,
    /// The lines; they sum to zero.
    pub postings: [Posting; 2],
    /// When it was booked.
    pub at: Timestamp,
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerEvent {
    /// An account of this shard can be booked on.
    AccountActivated {
        /// Which.
        account: AccountId,
        /// In which currency.
        currency: Currency,
        /// How far below zero, in minor units.
        overdraft_limit_minor: i64,
        /// Since when.
        at: Timestamp,
    },
    /// An account's status holds for bookings from here on.
    StatusApplied {
        /// Which.
        account: AccountId,
        /// The status.
        status: AccountStatus,
        /// Since when.
        at: Timestamp,
    },
    /// Money moved.
    Booked(Transaction),
    /// No money moved; the payment ends here.
    Rejected {
        /// Which.
        payment: PaymentId,
        /// Who would have been debited.
        debtor: Debtor,
        /// Why.
        code: RejectionCode,
        /// When.
        at: Timestamp,
    },
}

impl LedgerEvent {
    /// The other shard that has to act on this event, or on which a payment ends with it, if any.
    #[must_use]
    pub const fn concerns(&self) -> Option<Shard> {
        match self {
            Self::Booked(Transaction {
                leg: Leg::Outgoing { to: shard } | Leg::Bounced { to: shard, .. } | Leg::Incoming { from: shard },
                ..
            }) => Some(*shard),
            Self::Booked(Transaction { leg: Leg::Transfer | Leg::Returned { .. }, .. })
            | Self::AccountActivated { .. }
            | Self::StatusApplied { .. }
            | Self::Rejected { .. } => None,
        }
    }
}

/// A customer's account in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its currency.
    pub currency: Currency,
    /// How far below zero it may go, in minor units.
    pub overdraft_limit_minor: i64,
    /// Its status.
    pub status: AccountStatus,
}

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Booked, in minor units.
    pub balance_minor: i64,
    /// How many postings it has.
    pub version: u64,
}

/// A customer's account and where it stands: one row, since a booking asks for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Customer {
    /// None before it is activated.
    pub account: Option<Account>,
    /// Zero before the first booking.
    pub standing: Standing,
}

/// What is given back of a payment is more than a balance can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what {0} gives back is more than the balance of an account can hold")]
pub struct Overflow(pub PaymentId);

/// The books of one shard.
#[derive(Debug, Clone)]
pub struct Ledger {
    shard: Shard,
    shards: u16,
    /// Customers' accounts.
    pub customers: Table<AccountId, Customer>,
    /// Those of them whose `account` changed, some more than once; to be drained together with `customers`.
    pub changed_accounts: Vec<AccountId>,
    /// Where the bank's own accounts stand.
    pub own: Table<LedgerAccount, Standing>,
}

impl Ledger {
    /// Empty books of `shard` among `shards`.
    #[must_use]
    pub fn new(shard: Shard, shards: u16) -> Self {
        Self { shard, shards, customers: Table::default(), changed_accounts: Vec::new(), own: Table::default() }
    }

    /// What follows from the accounts service's word; nothing for accounts of other shards.
    #[must_use]
    pub fn apply(&self, event: &AccountEvent, at: Timestamp) -> Option<LedgerEvent> {
        match *event {
            AccountEvent::Opened { account, currency, overdraft_limit_minor, .. } => (self.owns(account)
                && self.account(account).is_none())
            .then_some(LedgerEvent::AccountActivated { account, currency, overdraft_limit_minor, at }),
            AccountEvent::StatusChanged { account, status, .. } => {
                self.owns(account).then_some(LedgerEvent::StatusApplied { account, status, at })
            }
            AccountEvent::Refused { .. } => None,
        }
    }

    /// Looks up the accounts of payments that are about to be booked.
    pub fn look_ahead(&self, checked: &[Checked]) {
        let parties = checked.iter().flat_map(|checked| checked.order.debtor.account().into_iter().chain([checked.creditor]));
        self.customers.look_ahead(parties.filter(|account| self.owns(*account)));
    }

    /// What follows from a check; nothing where the payment does not go on.
    #[must_use]
    pub fn book(&self, checked: &Checked, at: Timestamp) -> Option<LedgerEvent> {
        match checked.verdict {
            Verdict::Passed => {}
            Verdict::Held | Verdict::Declined(_) => return None,
        }
        let order = &checked.order;
        Some(match self.debit(checked, at) {
            Ok(transaction) => LedgerEvent::Booked(transaction),
            Err(code) => LedgerEvent::Rejected { payment: order.id, debtor: order.debtor, code, at },
        })
    }

    /// What follows from a booking of another shard; nothing where it does not concern this one.
    ///
    /// # Errors
    /// [`Overflow`], where what is given back is more than a balance can hold: nothing can be booked for it, and it must not be skipped.
    pub fn continue_from(&self, from: Shard, other: &Transaction, at: Timestamp) -> Result<Option<LedgerEvent>, Overflow> {
        let currency = other.amount.currency();
        let clearing = LedgerAccount::Clearing { from, to: self.shard, currency };
        let minor = other.amount.minor();
        let (leg, postings) = match other.leg {
            Leg::Outgoing { to } if to == self.shard => match self.credit(clearing, other) {
                Ok(postings) => (Leg::Incoming { from }, Ok(postings)),
                Err(code) => {
                    let back = LedgerAccount::Clearing { from: self.shard, to: from, currency };
                    (Leg::Bounced { to: from, code }, self.postings(clearing, back, minor))
                }
            },
            // Whatever became of the debtor's account meanwhile: the money is theirs.
            Leg::Bounced { to, code } if to == self.shard => {
                (Leg::Returned { from, code }, self.postings(clearing, debtor_account(other.debtor, currency), minor))
            }
            Leg::Outgoing { .. } | Leg::Bounced { .. } | Leg::Transfer | Leg::Incoming { .. } | Leg::Returned { .. } => return Ok(None),
        };
        let postings = postings.map_err(|_| Overflow(other.payment))?;
        Ok(Some(LedgerEvent::Booked(Transaction { leg, postings, at, ..other.clone() })))
    }

    /// Takes over what the log says.
    pub fn evolve(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::AccountActivated { account, currency, overdraft_limit_minor, .. } => {
                let (currency, overdraft_limit_minor) = (*currency, *overdraft_limit_minor);
                let new = Account { currency, overdraft_limit_minor, status: AccountStatus::Open };
                self.customers.get_or_insert_with(*account, Customer::default).account = Some(new);
                self.changed_accounts.push(*account);
            }
            LedgerEvent::StatusApplied { account, status, .. } => {
                if let Some(Customer { account: Some(row), .. }) = self.customers.get_mut(*account) {
                    row.status = *status;
                    self.changed_accounts.push(*account);
                }
            }
            LedgerEvent::Booked(transaction) => {
                for posting in &transaction.postings {
                    let standing = Standing { balance_minor: posting.balance_after_minor, version: posting.version };
                    match posting.account {
                        LedgerAccount::Customer(account) => {
                            self.customers.get_or_insert_with(account, Customer::default).standing = standing;
                        }
                        own @ (LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. }) => self.own.insert(own, standing),
                    }
                }
            }
            LedgerEvent::Rejected { .. } => {}
        }
    }

    fn owns(&self, account: AccountId) -> bool {
        Shard::of(account, self.shards) == self.shard
    }

    fn debit(&self, checked: &Checked, at: Timestamp) -> Result<Transaction, RejectionCode> {
        let Checked { order, creditor, .. } = checked;
        let (amount, currency) = (order.amount, order.amount.currency());
        if let Debtor::Account(debtor) = order.debtor {
            self.may_debit(debtor, amount)?;
        }
        let to = Shard::of(*creditor, self.shards);
        let (leg, credited) = if to == self.shard {
            self.may_credit(*creditor, currency)?;
            (Leg::Transfer, LedgerAccount::Customer(*creditor))
        } else {
            (Leg::Outgoing { to }, LedgerAccount::Clearing { from: self.shard, to, currency })
        };
        let postings = self.postings(debtor_account(order.debtor, currency), credited, amount.minor())?;
        let reference = order.reference.clone();
        Ok(Transaction { payment: order.id, leg, debtor: order.debtor, creditor: *creditor, amount, reference, postings, at })
    }

    fn may_debit(&self, debtor: AccountId, amount: Money) -> Result<(), RejectionCode> {
        let account = self.may_deal(debtor, amount.currency())?;
        let balance = self.standing(LedgerAccount::Customer(debtor)).balance_minor;
        let after = balance.checked_sub(amount.minor()).ok_or(RejectionCode::LimitExceeded)?;
        if after < -account.overdraft_limit_minor { Err(RejectionCode::InsufficientFunds) } else { Ok(()) }
    }

    fn credit(&self, clearing: LedgerAccount, other: &Transaction) -> Result<[Posting; 2], RejectionCode> {
        self.may_credit(other.creditor, other.amount.currency())?;
        self.postings(clearing, LedgerAccount::Customer(other.creditor), other.amount.minor())
    }

    fn may_credit(&self, creditor: AccountId, currency: Currency) -> Result<(), RejectionCode> {
        self.may_deal(creditor, currency).map(|_| ())
    }

    fn may_deal(&self, account: AccountId, currency: Currency) -> Result<&Account, RejectionCode> {
        // Accounts are known here before payments between them: what led to a record is read before it.
        let account = self.account(account).ok_or(RejectionCode::AccountClosed)?;
        if account.currency != currency {
            return Err(RejectionCode::CurrencyMismatch);
        }
        may_deal(account.status).map(|()| account)
    }

    fn postings(&self, debited: LedgerAccount, credited: LedgerAccount, minor: i64) -> Result<[Posting; 2], RejectionCode> {
        Ok([self.posting(debited, -minor)?, self.posting(credited, minor)?])
    }

    fn posting(&self, account: LedgerAccount, amount_minor: i64) -> Result<Posting, RejectionCode> {
        let Standing { balance_minor, version } = self.standing(account);
        let balance_after_minor = balance_minor.checked_add(amount_minor).ok_or(RejectionCode::LimitExceeded)?;
        Ok(Posting { account, amount_minor, balance_after_minor, version: version + 1 })
    }

    /// Where an account stands.
    #[must_use]
    pub fn standing(&self, account: LedgerAccount) -> Standing {
        match account {
            LedgerAccount::Customer(account) => self.customers.get(&account).map(|customer| customer.standing),
            own @ (LedgerAccount::Settlement(_) | LedgerAccount::Clearing { .. }) => self.own.get(&own).copied(),
        }
        .unwrap_or_default()
    }

    fn account(&self, account: AccountId) -> Option<&Account> {
        self.customers.get(&account)?.account.as_ref()
    }
}

fn debtor_account(debtor: Debtor, currency: Currency) -> LedgerAccount {
    match debtor {
        Debtor::Account(account) => LedgerAccount::Customer(account),
        Debtor::Settlement(_) => LedgerAccount::Settlement(currency),
    }
}
