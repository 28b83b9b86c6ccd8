//! Indexes in memory, of any batches.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redb::{Database, ReadableDatabase as _, backends::InMemoryBackend};
use uuid::Uuid;

use super::*;
use crate::merges::FANOUT;

const TABLES: [&str; 4] = ["chunks", "heads", "sizes", "merges"];
const INDEX: Index<1> = Index::new(TABLES);
const CHANGING: Index<2> = Index::changing(TABLES);
/// From a chunk with each addition to more than there is.
const STEPS: [usize; 3] = [1, 3_000, 1 << 18];

fn key(number: u64) -> Key {
    *Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).as_bytes()
}

fn file() -> Database {
    Database::builder().create_with_backend(InMemoryBackend::new()).expect("a store in memory")
}

fn added<const N: usize>(db: &Database, index: Index<N>, entries: Vec<Entry<N>>, before: Option<&Runs<N>>) -> Runs<N> {
    let mut tx = db.begin_write().expect("a transaction");
    tx.set_durability(redb::Durability::None).expect("not needed");
    index.add(&tx, entries).expect("added");
    tx.commit().expect("committed");
    index.open(&db.begin_read().expect("a transaction"), before).expect("opened")
}

fn sizes<const N: usize>(db: &Database, index: Index<N>) -> Vec<u64> {
    let sizes = db.begin_read().expect("a transaction").open_table(Sizes::new(index.sizes)).expect("a table");
    sizes.iter().expect("rows").map(|row| row.expect("a row").1.value()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// So many entries in so many batches that runs of every level are made, and chunks are filled.
    #[test]
    fn every_key_has_its_value_and_no_other_has_one(
        batches in prop::collection::vec(1_u64..400, 1..80),
        first in 1_u64..4_000,
        step in prop::sample::select(&STEPS),
    ) {
        let index = Index { step, ..INDEX };
        let (db, mut expected, mut next, mut runs) = (file(), BTreeMap::new(), 0, None);
        for size in [first].into_iter().chain(batches) {
            let entries: Vec<_> = (next..next + size).map(|number| (key(number), [number])).collect();
            next += size;
            expected.extend(entries.iter().copied());
            runs = Some(added(&db, index, entries, runs.as_ref()));
        }
        let runs = runs.expect("at least one batch");
        prop_assert_eq!(sizes(&db, index).iter().sum::<u64>(), next);
        for number in 0..next + 1_000 {
            let key = key(number);
            prop_assert_eq!(runs.get(&key).expect("read"), expected.get(&key).copied());
        }
        let tx = db.begin_read().expect("a transaction");
        let all: Result<Vec<_>, _> = INDEX.entries(&tx).expect("opened").collect();
        prop_assert_eq!(all.expect("read"), expected.into_iter().collect::<Vec<_>>());
    }

    /// Batches of any sizes that change keys of earlier ones, large and small ones in any order.
    #[test]
    fn of_a_key_that_changes_the_newest_numbers_count(
        batches in prop::collection::vec((0_u64..3_000, 1_u64..3_000), 1..60),
        step in prop::sample::select(&STEPS),
    ) {
        let index = Index { step, ..CHANGING };
        let (db, mut expected, mut runs) = (file(), BTreeMap::new(), None);
        for (batch, (first, size)) in (0..).zip(batches) {
            let size = if batch % 3 == 0 { size } else { size % 20 + 1 };
            let entries: Vec<_> = (first..first + size).map(|number| (key(number), [number, batch])).collect();
            expected.extend(entries.iter().copied());
            let added = added(&db, index, entries, runs.as_ref());
            prop_assert_eq!(added.get(&key(first)).expect("read"), Some([first, batch]), "also while a merge is under way");
            runs = Some(added);
        }
        let runs = runs.expect("at least one batch");
        for number in 0..7_000 {
            let key = key(number);
            prop_assert_eq!(runs.get(&key).expect("read"), expected.get(&key).copied());
        }
        let tx = db.begin_read().expect("a transaction");
        let all: Result<Vec<_>, _> = CHANGING.entries(&tx).expect("opened").collect();
        prop_assert_eq!(all.expect("read"), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn however_little_is_added_at_once_there_are_few_runs() {
    const ADDED: u64 = 600;
    let (db, mut runs) = (file(), None);
    for number in 0..ADDED {
        runs = Some(added(&db, INDEX, vec![(key(number), [number])], runs.as_ref()));
    }
    // In base 8, 600 has the digits 1130.
    assert_eq!(sizes(&db, INDEX), [512, 64, 8, 8, 8]);
    let runs = runs.expect("added");
    assert!((0..ADDED).all(|number| runs.get(&key(number)).expect("read") == Some([number])));
}

#[test]
fn what_is_superseded_does_not_stay() {
    const KEYS: u64 = 5_000;
    let (db, mut runs) = (file(), None);
    for round in 0..FANOUT as u64 * 2 {
        let entries = (0..KEYS).map(|number| (key(number), [number, round])).collect();
        runs = Some(added(&db, CHANGING, entries, runs.as_ref()));
    }
    let runs = runs.expect("added");
    assert!(sizes(&db, CHANGING).iter().sum::<u64>() <= KEYS * FANOUT as u64);
    assert!((0..KEYS).all(|number| runs.get(&key(number)).expect("read") == Some([number, FANOUT as u64 * 2 - 1])));
}

#[test]
fn a_large_merge_goes_on_with_each_addition_and_leaves_nothing() {
    const RUN: u64 = 5_000;
    let (db, index, mut runs) = (file(), Index { step: 1, ..INDEX }, None);
    let entries = |from: u64, count: u64| (from..from + count).map(|number| (key(number), [number])).collect();
    for run in 0..FANOUT as u64 {
        let large = Index { step: 0, ..index };
        runs = Some(added(&db, large, entries(run * RUN, RUN), runs.as_ref()));
    }
    let (mut next, mut steps) = (FANOUT as u64 * RUN, 0);
    while sizes(&db, index)[0] < FANOUT as u64 * RUN {
        runs = Some(added(&db, index, entries(next, 1), runs.as_ref()));
        (next, steps) = (next + 1, steps + 1);
        assert!(steps < 100, "it does not come to an end");
    }
    assert!(steps > 5, "{steps} steps are no steps");
    let runs = runs.expect("added");
    assert!((0..next).all(|number| runs.get(&key(number)).expect("read") == Some([number])));
    let tx = db.begin_read().expect("a transaction");
    assert_eq!(tx.open_table(Merges::new(index.merges)).expect("a table").iter().expect("rows").count(), 0);
    let chunks = tx.open_table(Chunks::new(index.chunks)).expect("a table").iter().expect("rows").count();
    let needed: usize = sizes(&db, index).into_iter().map(count::<1>).sum();
    assert_eq!(chunks, needed);
}

#[test]
fn a_run_that_is_not_whole_is_not_merged_as_if_it_were() {
    let db = file();
    let entries = |from: u64| (from..from + 5_000).map(|number| (key(number), [number])).collect();
    drop(added(&db, INDEX, entries(0), None));
    let tx = db.begin_write().expect("a transaction");
    assert!(tx.open_table(Chunks::new(INDEX.chunks)).expect("a table").remove((1, 2)).expect("removed").is_some());
    tx.commit().expect("committed");
    assert!(INDEX.entries(&db.begin_read().expect("a transaction")).expect("opened").any(|entry| entry.is_err()));
    let failed = (1..FANOUT as u64).find_map(|run| {
        let tx = db.begin_write().expect("a transaction");
        let added = INDEX.add(&tx, entries(run * 5_000));
        tx.commit().expect("committed");
        added.err()
    });
    assert!(failed.is_some_and(|error| error.to_string().contains("no chunk 2")));
}
