//! Walks one log from its first record to the end of the audit, checks what must hold of every record
//! whatever it says, and hands out its events. This module must never know what an event means.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use streams::{Broker, Cursor, LogName, Mark, Record, Scan, Sighting, Topology};

use crate::{
    ends::{AuditError, Ends},
    report::{Check, Findings, LogTotals, Place},
};

/// What all walks share.
pub(crate) struct Course {
    pub broker: Broker,
    pub topology: Topology,
    pub ends: Ends,
    /// Where read models stand, by file.
    pub marks: Vec<(String, LogName, Mark)>,
    /// Told of every so many records that were read.
    pub progress: Box<dyn Fn(u64) + Send + Sync>,
}

/// One log, being read.
pub(crate) struct Walk {
    course: Arc<Course>,
    scan: Scan,
    is_owned: bool,
    /// What the last record rested on.
    cursor: Cursor,
    totals: LogTotals,
}

impl Walk {
    /// Begins to read; the server sends while others are still walked.
    pub(crate) fn start(course: &Arc<Course>, log: LogName) -> Self {
        let end = course.ends.seq(&log);
        Self {
            scan: course.broker.log(log.clone()).scan(end),
            is_owned: !course.topology.is_command_log(&log),
            course: Arc::clone(course),
            cursor: Cursor::default(),
            totals: LogTotals { log, end, records: 0, events: 0 },
        }
    }

    /// Walks to the end, and hands each event on with its record.
    pub(crate) async fn each<E: DeserializeOwned>(
        mut self,
        findings: &mut Findings,
        mut on_event: impl FnMut(Place<'_>, &Record, E, &mut Findings) + Send,
    ) -> Result<LogTotals, AuditError> {
        let log = self.totals.log.clone();
        self.check_marks_beyond(findings);
        while let Some(sighting) = self.scan.next().await.map_err(|why| AuditError::Log { log: log.clone(), why })? {
            let record = match sighting {
                Sighting::Record(record) => record,
                Sighting::Fault(fault) => {
                    findings.fail(Check::Records, Place::of_record(&log, fault.seq()), fault.to_string());
                    continue;
                }
            };
            self.totals.records += 1;
            (self.course.progress)(1);
            self.check(&record, findings);
            let events = match record.decode::<E>() {
                Ok(events) => events,
                Err(fault) => {
                    findings.fail(Check::Records, Place::of_record(&log, record.seq), fault.to_string());
                    continue;
                }
            };
            self.totals.events += events.len() as u64;
            for (event, number) in events.into_iter().zip(1..) {
                on_event(Place { log: &log, seq: record.seq, event: number }, &record, event, findings);
            }
        }
        Ok(self.totals)
    }

    fn check(&mut self, record: &Record, findings: &mut Findings) {
        let place = Place::of_record(&record.log, record.seq);
        let is_chained = record.chain.is_some() || !self.is_owned;
        findings.expect(Check::Records, place, is_chained, || "the record is not part of the chain".to_owned());
        self.check_cursor(record, findings);
        for (file, log, mark) in &self.course.marks {
            if *log == record.log && mark.seq == record.seq && mark.chain.is_some_and(|chain| chain != record.hash()) {
                findings.fail_model(file, place, "the model has folded another record with this number".to_owned());
            }
        }
    }

    fn check_cursor(&mut self, record: &Record, findings: &mut Findings) {
        let place = Place::of_record(&record.log, record.seq);
        findings.look(Check::Cursors);
        if record.cursor == self.cursor {
            return;
        }
        for (log, seq) in record.cursor.iter() {
            if let Some(last) = self.course.ends.last(log).filter(|last| seq > *last) {
                findings.fail(Check::Cursors, place, format!("its cursor names record {seq} of {log}, which ends at {last}"));
            }
        }
        if self.is_owned {
            for (log, before) in self.cursor.iter() {
                let now = record.cursor.get(log);
                if now < before {
                    findings.fail(Check::Cursors, place, format!("its cursor goes back from {before} to {now} in {log}"));
                }
            }
        }
        self.cursor.clone_from(&record.cursor);
    }

    /// Models that stand behind the end of the log, or in another of its name.
    fn check_marks_beyond(&self, findings: &mut Findings) {
        let LogTotals { log, .. } = &self.totals;
        let (last, created) = (self.course.ends.last(log).unwrap_or(0), self.course.ends.created(log));
        for (file, _, mark) in self.course.marks.iter().filter(|(_, of, mark)| of == log && mark.seq > 0) {
            let place = Place::of_record(log, mark.seq);
            if mark.seq > last {
                findings.fail_model(file, place, format!("the model has folded record {} of {log}, which ends at {last}", mark.seq));
            } else if mark.created.is_some_and(|before| before != created) {
                findings.fail_model(file, place, format!("the model has folded another {log}, created at another time"));
            }
        }
    }
}
