//! A short campaign of faults with a fixed seed; `just chaos` runs longer ones.

use std::time::Duration;

/// With a seed under which some of every family of faults come.
const SEED: u64 = 5;
const LASTING: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_clients_were_told_is_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = tests::chaos::run(folder.path(), SEED, LASTING).await.expect("it can be run");
    assert!(report.contradictions.is_empty(), "{report}");
    assert!(report.recoveries.values().map(Vec::len).sum::<usize>() >= 4, "faults were injected: {report}");
    println!("{report}");
}
