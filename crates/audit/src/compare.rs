//! Comparing a read model's rows with what they ought to be. This module must never know a table.

use std::fmt::{Debug, Display};

use projections::{StoreError, inspect::Inspection};
use streams::LogName;

use crate::report::{Check, Findings, Model, ModelState, Place};

/// A read model's file while it is compared.
pub(crate) struct Compared {
    pub inspection: Inspection,
    file: String,
    rows: u64,
    failed: u64,
}

impl Compared {
    pub(crate) const fn new(file: String, inspection: Inspection) -> Self {
        Self { inspection, file, rows: 0, failed: 0 }
    }

    /// Its path.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The last record of `log` that the model has folded.
    pub(crate) fn mark(&self, log: &LogName) -> u64 {
        self.inspection.progress().marks.get(log).map_or(0, |mark| mark.seq)
    }

    /// Notes that a row was looked at, and whether it is what the event at `place` makes it.
    pub(crate) fn row(&mut self, place: Place<'_>, holds: bool, findings: &mut Findings, what: impl FnOnce() -> String) {
        self.rows += 1;
        findings.look(Check::Models);
        if !holds {
            self.fail(place, findings, what());
        }
    }

    /// Notes a row that is wrong, missing or cannot be read.
    pub(crate) fn fail(&mut self, place: Place<'_>, findings: &mut Findings, what: String) {
        self.failed += 1;
        findings.fail_model(&self.file, place, what);
    }

    /// Compares all rows of a table with what `expected` gives for their keys: the row, and the record
    /// of `log` that made it.
    pub(crate) fn table<K: Display, V: PartialEq + Debug>(
        &mut self,
        table: &str,
        log: &LogName,
        rows: Result<impl Iterator<Item = Result<(K, V), StoreError>>, StoreError>,
        findings: &mut Findings,
        mut expected: impl FnMut(&K) -> Option<(V, u64)>,
    ) -> u64 {
        let mut count = 0;
        let end = Place::of_record(log, self.mark(log));
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                self.fail(end, findings, format!("its {table} cannot be read: {error}"));
                return count;
            }
        };
        for row in rows {
            let (key, found) = match row {
                Ok(row) => row,
                Err(error) => {
                    self.fail(end, findings, format!("a row of its {table} cannot be read: {error}"));
                    break;
                }
            };
            count += 1;
            match expected(&key) {
                Some((row, seq)) => {
                    self.row(Place::of_record(log, seq), row == found, findings, || {
                        format!("{table} {key} is {found:?}, the logs say {row:?}")
                    });
                }
                None => self.row(end, false, findings, || format!("{table} {key} is {found:?}, the logs know no such row")),
            }
        }
        count
    }

    /// How it ended.
    pub(crate) fn report(&self) -> Model {
        Model { file: self.file.clone(), state: ModelState::Compared, rows: self.rows, failed: self.failed }
    }
}
