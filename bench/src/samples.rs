//! Results for unit tests. This module must never be in what is shipped.

use std::collections::BTreeMap;

use crate::{
    machine::Machine,
    result::{Better, Report, SCHEMA, Series, Subject, System},
    stats::Spread,
};

/// A series whose three runs lie within one percent.
pub(crate) fn series(id: &str, system: System, median: f64) -> Series {
    let values = vec![median * 0.99, median, median * 1.01];
    Series {
        subject: Subject {
            number: 1,
            id: id.to_owned(),
            what: format!("what {id} is"),
            system,
            unit: "payments/s".to_owned(),
            better: Better::Higher,
            goal: Some(100.0),
            durability: "sync_interval: always".to_owned(),
            parameters: [("accounts".to_owned(), 10_000)].into(),
            operations: Some(1_000_000),
        },
        spread: Spread { median, min: median * 0.99, max: median * 1.01 },
        values,
        operations_of_runs: vec![1_000_000; 3],
        cpu_seconds: BTreeMap::from([("millrace".to_owned(), vec![4.0, 5.0, 6.0])]),
        load_before: vec![0.5; 3],
    }
}

/// A report of these.
pub(crate) fn report(series: Vec<Series>) -> Report {
    let machine = Machine {
        cpu: "a CPU".to_owned(),
        cores: 2,
        memory_mib: 1_024,
        kernel: "6.1".to_owned(),
        load: "0.1 0.2 0.3".to_owned(),
        disk: "/dev/a on ext4 (rw)".to_owned(),
    };
    let versions = [("rustc".to_owned(), "1.95".to_owned())].into();
    let taken_at = "2026-01-02T03:04:05Z".to_owned();
    Report { schema: SCHEMA, taken_at, quick: false, runs: 3, machine, versions, series, failures: Vec::new() }
}
