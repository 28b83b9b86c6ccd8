//! What a run of the bench leaves behind, as JSON. Fields are added and never renamed, so that results
//! of long ago can be compared. This module must never measure.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    machine::{Machine, UNKNOWN},
    plan::Plan,
    stats::Spread,
    table::MEASUREMENTS,
};

/// Grows when a field changes its meaning; fields that are new need no new number.
pub const SCHEMA: u32 = 1;

/// One run of the bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// When it began, RFC 3339.
    pub taken_at: String,
    /// Whether sizes were small and runs few, so that it says little.
    pub quick: bool,
    /// How often each thing was measured, warm-ups not counted.
    pub runs: usize,
    /// Where.
    pub machine: Machine,
    /// The version of everything that took part.
    pub versions: BTreeMap<String, String>,
    /// What was measured.
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub failures: Vec<Failure>,
}

/// Whose figure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Ours.
    Millrace,
    /// `transfer()` in PL/pgSQL.
    Postgres,
    /// axum, async-graphql and tokio-postgres.
    Monolith,
}

impl System {
    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Millrace => "Millrace",
            Self::Postgres => "PostgreSQL",
            Self::Monolith => "Monolith",
        }
    }
}

/// What is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
}

/// What a series is, whatever its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The measurement's number.
    pub number: u8,
    /// Unique among the series of a report together with the system, and the same in every report.
    pub id: String,
    /// In a few words.
    pub what: String,
    /// Whose.
    pub system: System,
    /// Of the values.
    pub unit: String,
    /// What is better.
    pub better: Better,
    /// What is to be reached, where something is.
    pub goal: Option<f64>,
    /// When an acknowledged write is on disk, as the server itself says.
    pub durability: String,
    /// Sizes that values depend on; series are compared only where these are equal.
    pub parameters: BTreeMap<String, u64>,
    /// How many operations the first run had, for the processor time of one; none where that makes no sense.
    pub operations: Option<u64>,
}

/// One thing, measured several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What.
    #[serde(flatten)]
    pub subject: Subject,
    /// The value of each run, in order.
    pub values: Vec<f64>,
    /// Where they lie.
    pub spread: Spread,
    /// How many operations each run had; empty in results of before these were kept.
    #[serde(default)]
    pub operations_of_runs: Vec<u64>,
    /// CPU seconds of each run, by process.
    pub cpu_seconds: BTreeMap<String, Vec<f64>>,
    /// The machine's load average over a minute before each run. It has in it what the bench did before.
    pub load_before: Vec<f64>,
}

/// A measurement that came to no end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub number: u8,
    /// Why.
    pub why: String,
}

impl Report {
    /// Reads a stored one.
    ///
    /// # Errors
    /// Where there is none that can be read here.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("no result can be read from {}", file.display()))?;
        let report: Self = serde_json::from_str(&text).with_context(|| format!("{} is no result of this bench", file.display()))?;
        ensure!(report.schema == SCHEMA, "{} has schema {}, this bench reads {SCHEMA}", file.display(), report.schema);
        Ok(report)
    }

    /// Stores it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        // What was there stays whole where the disk is full.
        let new = file.with_extension("json.new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, file))
            .with_context(|| format!("the result cannot be written to {}", file.display()))
    }

    /// Whether a measurement was taken, and nothing of it is missing.
    #[must_use]
    pub fn has(&self, number: u8) -> bool {
        self.of(number).next().is_some() && !self.failures.iter().any(|failure| failure.number == number)
    }

    /// Whether it has everything, with as many runs as a page that is published shows.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let has_all = MEASUREMENTS.iter().all(|(number, _, _)| self.has(*number));
        has_all && !self.quick && self.runs >= Plan::full().runs
    }

    /// Notes the version of a PostgreSQL that was not there when the result was taken: nothing of it is in there.
    pub fn now_has_rival(&mut self, versions: &BTreeMap<String, String>) {
        const RIVAL: &str = "postgres";
        if let (Some(then), Some(now)) = (self.versions.get_mut(RIVAL).filter(|then| *then == UNKNOWN), versions.get(RIVAL)) {
            then.clone_from(now);
        }
    }

    /// Takes over what `series` and `failures` have of a measurement, in place of what there was.
    pub fn replace(&mut self, number: u8, series: Vec<Series>, failures: &[Failure]) {
        self.series.retain(|series| series.subject.number != number);
        self.series.extend(series.into_iter().filter(|series| series.subject.number == number));
        self.series.sort_by_key(|series| series.subject.number);
        self.failures.retain(|failure| failure.number != number);
        self.failures.extend(failures.iter().filter(|failure| failure.number == number).cloned());
    }

    /// The series of a measurement.
    pub fn of(&self, number: u8) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| series.subject.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{report, series};

    fn of(number: u8, id: &str) -> Series {
        let mut series = series(id, System::Millrace, 1.0);
        series.subject.number = number;
        series
    }

    #[test]
    fn a_result_is_whole_when_nothing_is_missing() {
        let full = |numbers: std::ops::RangeInclusive<u8>| Report {
            runs: Plan::full().runs,
            ..report(numbers.map(|number| of(number, "a")).collect())
        };
        assert!(full(1..=10).is_whole());
        assert!(
            !full(1..=9).is_whole() && !Report { quick: true, ..full(1..=10) }.is_whole() && !Report { runs: 1, ..full(1..=10) }.is_whole()
        );
        let failures = vec![Failure { number: 5, why: "the comparison is missing".to_owned() }];
        assert!(!Report { failures, ..full(1..=10) }.is_whole());
    }

    #[test]
    fn a_measurement_that_is_taken_again_takes_the_place_of_what_there_was() {
        let failed = |why: &str| Failure { number: 2, why: why.to_owned() };
        let mut report = report(vec![of(1, "a"), of(2, "b"), of(3, "c")]);
        report.failures.push(failed("no room"));
        assert!(report.has(1) && !report.has(2) && !report.has(4));
        report.replace(2, vec![of(2, "d"), of(3, "e")], &[]);
        assert!(report.has(2));
        assert_eq!(report.series.iter().map(|series| series.subject.id.as_str()).collect::<Vec<_>>(), ["a", "d", "c"]);
        report.replace(2, Vec::new(), &[failed("no room again")]);
        assert!(!report.has(2) && report.of(2).next().is_none());
    }

    #[test]
    fn a_rival_that_was_not_there_may_come_later_and_another_version_may_not() {
        let versions = |postgres: &str| BTreeMap::from([("postgres".to_owned(), postgres.to_owned())]);
        for (then, now, expected) in [(UNKNOWN, "15.18", "15.18"), ("15.17", "15.18", "15.17")] {
            let mut report = Report { versions: versions(then), ..report(Vec::new()) };
            report.now_has_rival(&versions(now));
            assert_eq!(report.versions, versions(expected));
        }
    }

    #[test]
    fn a_result_that_cannot_be_written_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("result.json");
        let report = report(Vec::new());
        report.write(&file).expect("written");
        std::fs::create_dir(folder.path().join("result.json.new")).expect("made");
        assert!(Report { quick: !report.quick, ..report.clone() }.write(&file).is_err());
        assert_eq!(Report::read(&file).expect("whole"), report);
    }
}
