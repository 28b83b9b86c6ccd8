//! The overview's rows, whether they gathered, are being written, were written a moment ago or long ago.

use std::collections::BTreeMap;

use domain::{AccountId, Debtor, PaymentId, Shard, Timestamp};
use proptest::prelude::*;
use redb::Database;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{Progress, Shelf, layers::PROGRESS};

const ACCOUNTS: u8 = 3;

/// What happens to the rows.
#[derive(Debug, Clone)]
enum Happens {
    /// An account gets an entry.
    Entry(u8),
    /// Another payment will debit an account.
    Reserved(u8),
    /// One of the last few payments does not any more, if it did.
    Released(u64),
    /// All is written, once what comes until then has happened.
    Written(Vec<Self>),
}

fn small() -> impl Strategy<Value = Happens> {
    let account = || 0..ACCOUNTS;
    prop_oneof![
        4 => account().prop_map(Happens::Entry),
        2 => account().prop_map(Happens::Reserved),
        3 => (0_u64..16).prop_map(Happens::Released),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![9 => small(), 1 => prop::collection::vec(small(), 0..9).prop_map(Happens::Written)]
}

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn payment(number: u64) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(number.into()))
}

/// What the rows should say.
#[derive(Default)]
struct Expected {
    entries: [u64; ACCOUNTS as usize],
    payments: u64,
    pending: BTreeMap<u64, u8>,
}

impl Expected {
    fn happens(&mut self, shelf: &Shelf<OverviewChanges>, event: &Happens) {
        match event {
            Happens::Entry(number) => {
                let version = &mut self.entries[usize::from(*number)];
                *version += 1;
                let mut rows = shelf.change();
                rows.balance_mut(account(*number)).expect("a balance").version = *version;
                rows.append(account(*number), entry(*version)).expect("appended");
            }
            Happens::Reserved(by) => {
                self.payments += 1;
                self.pending.insert(self.payments, *by);
                shelf.change().reserve(payment(self.payments), PendingRow { account: account(*by), minor: 1 }).expect("reserved");
            }
            Happens::Released(ago) => {
                let number = self.payments.saturating_sub(*ago);
                let was_reserved = shelf.change().release(payment(number)).expect("released");
                assert_eq!(was_reserved, self.pending.remove(&number).map(account), "{number}");
            }
            Happens::Written(meanwhile) => {
                let (changes, before) = shelf.set_aside();
                drop(before);
                meanwhile.iter().for_each(|event| self.happens(shelf, event));
                self.is_shown_by(shelf);
                shelf.write(&changes, &Progress::default()).expect("written");
            }
        }
    }

    fn is_shown_by(&self, shelf: &Shelf<OverviewChanges>) {
        for number in 0..ACCOUNTS {
            let version = self.entries[usize::from(number)];
            let balance = shelf.read().expect("rows").balance(account(number)).expect("a balance");
            let pending = self.pending.values().filter(|by| **by == number).count();
            assert_eq!((balance.version, usize::try_from(balance.pending_minor)), (version, Ok(pending)));
            for newest in [version, version / 2, 1] {
                let found = shelf.entries_down(account(number), newest, 5).expect("entries");
                let found: Vec<_> = found.iter().map(|entry| (entry.version, entry.amount_minor.cast_unsigned())).collect();
                let expected: Vec<_> = (1..=newest.min(version)).rev().take(5).map(|version| (version, version)).collect();
                assert_eq!(found, expected);
            }
        }
    }
}

fn entry(version: u64) -> EntryRow {
    EntryRow {
        version,
        payment: payment(0),
        amount_minor: version.cast_signed(),
        balance_after_minor: 0,
        counterparty: Debtor::Settlement(Shard(0)),
        reference: None,
        at: Timestamp::default(),
        previous: 0,
        anchor: 0,
    }
}

fn open(folder: &TempDir) -> Shelf<OverviewChanges> {
    let db = Database::create(folder.path().join("overview.redb")).expect("a file");
    let tx = db.begin_write().expect("a transaction");
    create(&tx).expect("tables");
    drop(tx.open_table(PROGRESS).expect("a table"));
    tx.commit().expect("committed");
    Shelf::open(db).expect("rows")
}

#[test]
fn few_entries_are_looked_at_on_the_way_to_an_old_one() {
    const COUNT: usize = 5;
    let (folder, mut expected) = (tempfile::tempdir().expect("a folder"), Expected::default());
    let shelf = open(&folder);
    for _ in 0..3 * FAR_STRIDE {
        expected.happens(&shelf, &Happens::Entry(0));
    }
    expected.happens(&shelf, &Happens::Written(vec![Happens::Entry(1); 3]));
    for _ in 0..STRIDE + 2 {
        expected.happens(&shelf, &Happens::Entry(0));
    }
    let last = expected.entries[0];
    let wanted = [1, STRIDE, FAR_STRIDE, 2 * FAR_STRIDE, 2 * FAR_STRIDE + STRIDE, 3 * FAR_STRIDE, last];
    for newest in wanted.into_iter().flat_map(|version| version.saturating_sub(2)..=version + 2) {
        let mut walk = shelf.begin(account(0), newest, COUNT).expect("a balance");
        let mut times = 1;
        while !shelf.read().expect("rows").walk(&mut walk).expect("entries") {
            times += 1;
        }
        let found: Vec<_> = walk.found.iter().map(|entry| entry.version).collect();
        assert_eq!(found, (1..=newest.min(last)).rev().take(COUNT).collect::<Vec<_>>());
        let most = usize::try_from(last / FAR_STRIDE + 3 * STRIDE).expect("few") + COUNT;
        assert!(times * LOOKED_AT_ONCE <= most + LOOKED_AT_ONCE, "{newest}: {times} times {LOOKED_AT_ONCE}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_are_the_same_wherever_they_lie(events in prop::collection::vec(happens(), 1..300)) {
        let (folder, mut expected) = (tempfile::tempdir().expect("a folder"), Expected::default());
        let shelf = open(&folder);
        for event in &events {
            expected.happens(&shelf, event);
            expected.is_shown_by(&shelf);
        }
        expected.happens(&shelf, &Happens::Written(Vec::new()));
        drop(shelf);
        expected.is_shown_by(&open(&folder));
    }
}
