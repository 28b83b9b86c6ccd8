//! What clients were told, and what the bank says in the end. This module must never ask anybody.

use std::collections::{BTreeMap, BTreeSet};

/// What a payment was meant to run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Ordinary,
    /// More than the account has.
    Overdraft,
    /// An account that is frozen and opened again all the while.
    Frozen,
    /// An account in another currency.
    OtherCurrency,
}

/// What a client was told of a payment, in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is accepted, under this id.
    Accepted(String),
    /// It is refused for good, with this code.
    Refused(String),
    /// There was no connection, or too much to do, and nothing of it is stored.
    NotTaken,
    /// Nothing, or that nobody knows.
    Nothing,
}

/// A payment that a client asked for.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Which client.
    pub from: usize,
    /// Which client is to be credited.
    pub to: usize,
    /// What makes it this one: nobody else uses the reference.
    pub reference: String,
    /// How much, in cents.
    pub minor: i64,
    /// What it was meant to run into.
    pub kind: Kind,
    /// What the client was told.
    pub told: Told,
}

/// A balance that a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub client: usize,
    /// At which version.
    pub version: u64,
    /// What was booked.
    pub booked_minor: i64,
}

/// The end of a payment, as a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The payment's id.
    pub id: String,
    /// A final status.
    pub status: String,
}

/// All that one client can tell.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What it asked for.
    pub sent: Vec<Sent>,
    /// What it saw.
    pub seen: Vec<Seen>,
    /// Payments whose final status it was told.
    pub ended: Vec<Ended>,
    /// Requests that it sent again, or twice at once.
    pub repeats: u64,
    /// Requests that had no answer, or one that says that nobody knows.
    pub unanswered: u64,
    /// Where it was told two things that cannot both be.
    pub contradictions: Vec<String>,
}

/// What a subscription to an account said, over all its reconnects.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Whose account.
    pub client: usize,
    /// Whether it is every transaction, or the balance, which may skip.
    pub is_every: bool,
    /// Version and balance, as they came.
    pub said: Vec<(u64, i64)>,
    /// How often it was opened again.
    pub reconnects: u64,
}

/// A payment as the bank shows it in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: String,
    /// Its reference.
    pub reference: String,
    /// Its status.
    pub status: String,
    /// Why it was rejected or returned.
    pub rejection: Option<String>,
}

/// An entry as the bank shows it in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version that it made.
    pub version: u64,
    /// What the account gained, in cents.
    pub minor: i64,
    /// The balance after, in cents.
    pub balance_minor: i64,
    /// The payment.
    pub payment: String,
}

/// One client's account in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Payments that debit it.
    pub payments: Vec<Payment>,
}

/// Compares what clients were told with what the bank shows in the end; every contradiction in words.
#[must_use]
pub fn contradictions(histories: &[History], watched: &[Watched], accounts: &[Account]) -> Vec<String> {
    let mut found: Vec<String> = histories.iter().flat_map(|history| history.contradictions.clone()).collect();
    let mut entries: BTreeMap<&str, Vec<(usize, i64)>> = BTreeMap::new();
    for (client, account) in accounts.iter().enumerate() {
        found.extend(account_errors(client, account));
        account.entries.iter().for_each(|entry| entries.entry(&entry.payment).or_default().push((client, entry.minor)));
    }
    let mut known = BTreeSet::new();
    for sent in histories.iter().flat_map(|history| &history.sent) {
        known.insert(sent.reference.as_str());
        found.extend(sent_errors(sent, &accounts[sent.from], &entries));
    }
    let payments: BTreeMap<&str, &Payment> =
        accounts.iter().flat_map(|account| &account.payments).map(|payment| (payment.id.as_str(), payment)).collect();
    let unknown = payments.values().filter(|payment| !known.contains(payment.reference.as_str()));
    found.extend(unknown.map(|payment| format!("{} was never asked for ({})", payment.id, payment.reference)));
    // With the first, the bank gave them what they have.
    let unasked =
        accounts.iter().flat_map(|account| account.entries.iter().skip(1)).filter(|entry| !payments.contains_key(entry.payment.as_str()));
    found.extend(unasked.map(|entry| format!("nobody paid for {entry:?}")));
    for ended in histories.iter().flat_map(|history| &history.ended) {
        let status = payments.get(ended.id.as_str()).map(|payment| payment.status.as_str());
        if status != Some(&ended.status) {
            found.push(format!("{ended:?} was told, and it is {status:?}"));
        }
    }
    for seen in histories.iter().flat_map(|history| &history.seen) {
        let Seen { client, version, booked_minor } = *seen;
        if balance_at(&accounts[client], version) != Some(booked_minor) {
            found.push(format!("client {client} saw {booked_minor} at version {version}, which is no more so"));
        }
    }
    found.extend(watched.iter().flat_map(|watched| watched_errors(watched, &accounts[watched.client])));
    found
}

fn balance_at(account: &Account, version: u64) -> Option<i64> {
    let index = usize::try_from(version).ok()?.checked_sub(1);
    index.map_or(Some(0), |index| account.entries.get(index).map(|entry| entry.balance_minor))
}

fn account_errors(client: usize, account: &Account) -> Vec<String> {
    let mut found = Vec::new();
    let mut balance = 0;
    for (expected, entry) in (1..).zip(&account.entries) {
        balance += entry.minor;
        if entry.version != expected || entry.balance_minor != balance {
            found.push(format!("client {client}: {entry:?} where version {expected} and a balance of {balance} must be"));
        }
    }
    found
}

fn sent_errors(sent: &Sent, account: &Account, entries: &BTreeMap<&str, Vec<(usize, i64)>>) -> Vec<String> {
    let name = format!("{} of {} cents ({:?}, told {:?})", sent.reference, sent.minor, sent.kind, sent.told);
    let made: Vec<_> = account.payments.iter().filter(|payment| payment.reference == sent.reference).collect();
    let mut found = Vec::new();
    match (&sent.told, made.as_slice()) {
        (Told::Accepted(id), [payment]) if payment.id == *id => {}
        (Told::Nothing, [_] | []) | (Told::NotTaken, []) => {}
        // Nobody asks for what is refused for good.
        (_, made) => found.push(format!("{name} is {made:?}")),
    }
    for payment in made {
        let moved = entries.get(payment.id.as_str()).cloned().unwrap_or_default();
        let booked = [(sent.from, -sent.minor), (sent.to, sent.minor)];
        let is_right = match (sent.kind, payment.status.as_str(), payment.rejection.as_deref()) {
            (Kind::Ordinary, "BOOKED", None) => moved.len() == 2 && booked.iter().all(|entry| moved.contains(entry)),
            // The credit is on an account that is none of the clients'.
            (Kind::Frozen, "BOOKED", None) => moved == booked[..1],
            (Kind::Frozen, "RETURNED", Some("ACCOUNT_FROZEN")) => moved == [booked[0], (sent.from, sent.minor)],
            (Kind::Ordinary | Kind::Overdraft | Kind::Frozen, "REJECTED", Some("INSUFFICIENT_FUNDS")) => {
                moved.is_empty() && account.entries.iter().any(|entry| entry.balance_minor < sent.minor)
            }
            (Kind::Frozen, "REJECTED", Some("ACCOUNT_FROZEN")) | (Kind::OtherCurrency, "REJECTED", Some("CURRENCY_MISMATCH")) => {
                moved.is_empty()
            }
            (_, _, _) => false,
        };
        if !is_right {
            found.push(format!("{name} is {} ({:?}) with entries {moved:?}", payment.status, payment.rejection));
        }
    }
    found
}

fn watched_errors(watched: &Watched, account: &Account) -> Vec<String> {
    let name = format!("the subscription of client {} to {}", watched.client, if watched.is_every { "transactions" } else { "balances" });
    let mut found = Vec::new();
    let mut last = 0;
    for (version, balance) in &watched.said {
        let is_next = if watched.is_every { *version == last + 1 } else { *version >= last };
        if !is_next || balance_at(account, *version) != Some(*balance) {
            found.push(format!("{name} said version {version} with {balance} after version {last}"));
        }
        last = *version;
    }
    if last != account.entries.len() as u64 {
        found.push(format!("{name} ended with version {last} of {}", account.entries.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client 0 has 100 and pays 30 to client 1.
    fn good() -> (Vec<History>, Vec<Watched>, Vec<Account>) {
        let sent = Sent { from: 0, to: 1, reference: "a".into(), minor: 30, kind: Kind::Ordinary, told: Told::Accepted("pay_a".into()) };
        let seen = Seen { client: 0, version: 2, booked_minor: 70 };
        let ended = Ended { id: "pay_a".into(), status: "BOOKED".into() };
        let payer = History { sent: vec![sent], seen: vec![seen], ended: vec![ended], ..History::default() };
        let entry = |version, minor, balance_minor, payment: &str| Entry { version, minor, balance_minor, payment: payment.into() };
        let payment = Payment { id: "pay_a".into(), reference: "a".into(), status: "BOOKED".into(), rejection: None };
        let accounts = vec![
            Account { entries: vec![entry(1, 100, 100, "pay_0"), entry(2, -30, 70, "pay_a")], payments: vec![payment] },
            Account { entries: vec![entry(1, 30, 30, "pay_a")], payments: vec![] },
        ];
        let every = Watched { client: 0, is_every: true, said: vec![(1, 100), (2, 70)], reconnects: 0 };
        let newest = Watched { client: 1, is_every: false, said: vec![(0, 0), (1, 30)], reconnects: 0 };
        (vec![payer, History::default()], vec![every, newest], accounts)
    }

    #[test]
    fn what_fits_together_is_no_contradiction() {
        let (histories, watched, accounts) = good();
        assert_eq!(contradictions(&histories, &watched, &accounts), Vec::<String>::new());
    }

    /// Its only payment, before which no money moved.
    fn reject(accounts: &mut [Account], code: &str) {
        accounts[0].entries.truncate(1);
        accounts[1].entries.clear();
        accounts[0].payments[0] = Payment { status: "REJECTED".into(), rejection: Some(code.into()), ..accounts[0].payments[0].clone() };
    }

    /// All that they were told of its end.
    fn forget(histories: &mut [History], watched: &mut Vec<Watched>) {
        histories[0].ended.clear();
        histories[0].seen.clear();
        watched.clear();
    }

    #[test]
    fn who_has_less_may_be_refused_for_it() {
        let (mut histories, mut watched, mut accounts) = good();
        forget(&mut histories, &mut watched);
        reject(&mut accounts, "INSUFFICIENT_FUNDS");
        histories[0].sent[0].minor = 101;
        assert_eq!(contradictions(&histories, &watched, &accounts), Vec::<String>::new());
    }

    type Plant = fn(&mut Vec<History>, &mut Vec<Watched>, &mut Vec<Account>);

    #[test]
    fn each_contradiction_is_found() {
        let plants: [(&str, Plant); 20] = [
            ("an accepted payment is missing", |_, _, accounts| accounts[0].payments.clear()),
            ("an accepted payment has another id", |histories, _, _| histories[0].sent[0].told = Told::Accepted("pay_b".into())),
            ("a payment that was not taken is booked", |histories, _, _| histories[0].sent[0].told = Told::NotTaken),
            ("a good payment is refused", |histories, _, accounts| {
                histories[0].sent[0].told = Told::Refused("UNKNOWN_ACCOUNT".into());
                *accounts = vec![Account { entries: accounts[0].entries[..1].to_vec(), payments: vec![] }, Account::default()];
            }),
            ("a good payment is rejected", |_, _, accounts| reject(accounts, "UNKNOWN_CREDITOR")),
            ("a payment is rejected for another reason", |histories, watched, accounts| {
                forget(histories, watched);
                reject(accounts, "ACCOUNT_FROZEN");
            }),
            ("a payment that its account had the money for is rejected", |histories, watched, accounts| {
                forget(histories, watched);
                reject(accounts, "INSUFFICIENT_FUNDS");
            }),
            ("an end was taken back", |histories, _, _| histories[0].ended[0].status = "REJECTED".into()),
            ("a credit that nobody paid for", |_, watched, accounts| {
                let twin = Entry { version: 2, balance_minor: 60, payment: "pay_b".into(), ..accounts[1].entries[0].clone() };
                accounts[1].entries.push(twin);
                watched[1].said.push((2, 60));
            }),
            ("a payment stands there twice", |_, _, accounts| {
                let twin = Payment { id: "pay_b".into(), ..accounts[0].payments[0].clone() };
                accounts[0].payments.push(twin);
            }),
            ("a payment is not final", |_, _, accounts| accounts[0].payments[0].status = "CHECKED".into()),
            ("a payment that must be rejected is booked", |histories, _, _| histories[0].sent[0].kind = Kind::Overdraft),
            ("a rejected payment moved money", |_, _, accounts| accounts[0].payments[0].status = "REJECTED".into()),
            ("a credit is missing", |_, watched, accounts| {
                accounts[1].entries.clear();
                watched.pop();
            }),
            ("a payment that nobody asked for", |histories, _, _| histories[0].sent.clear()),
            ("a version is missing", |_, _, accounts| accounts[1].entries[0].version = 2),
            ("a balance was taken back", |histories, _, _| histories[0].seen[0].booked_minor = 71),
            ("a transaction was left out", |_, watched, _| watched[0].said = vec![(2, 70)]),
            ("a transaction came twice", |_, watched, _| watched[0].said.insert(1, (1, 100))),
            ("the newest balance never came", |_, watched, _| watched[1].said.truncate(1)),
        ];
        for (what, plant) in plants {
            let (mut histories, mut watched, mut accounts) = good();
            plant(&mut histories, &mut watched, &mut accounts);
            assert!(!contradictions(&histories, &watched, &accounts).is_empty(), "{what}");
        }
    }
}
