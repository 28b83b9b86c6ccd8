//! Gathers what measurements say into series. This module must never measure.

use std::collections::BTreeMap;

use crate::{
    cpu::CpuSeconds,
    result::{Series, Subject},
    stats::Spread,
};

/// What one run said of one subject.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Of what.
    pub subject: Subject,
    /// How much, in the subject's unit.
    pub value: f64,
    /// CPU seconds by process.
    pub cpu: CpuSeconds,
    /// The machine's load average before.
    pub load_before: f64,
}

/// All that was read so far, in the order in which subjects first came.
#[derive(Debug, Default)]
pub struct Recorder {
    subjects: Vec<(Subject, Vec<Reading>)>,
}

impl Recorder {
    /// Keeps a reading.
    pub fn record(&mut self, reading: Reading) {
        let key = |subject: &Subject| (subject.id.clone(), subject.system);
        match self.subjects.iter_mut().find(|(subject, _)| key(subject) == key(&reading.subject)) {
            Some((_, readings)) => readings.push(reading),
            None => self.subjects.push((reading.subject.clone(), vec![reading])),
        }
    }

    /// What was read.
    #[must_use]
    pub fn series(&self) -> Vec<Series> {
        self.subjects.iter().filter_map(|(subject, readings)| series(subject, readings)).collect()
    }
}

fn series(subject: &Subject, readings: &[Reading]) -> Option<Series> {
    let values: Vec<f64> = readings.iter().map(|reading| reading.value).collect();
    let mut cpu_seconds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (process, seconds) in readings.iter().flat_map(|reading| &reading.cpu) {
        cpu_seconds.entry(process.clone()).or_default().push(*seconds);
    }
    let load_before = readings.iter().map(|reading| reading.load_before).collect();
    let operations_of_runs = readings.iter().filter_map(|reading| reading.subject.operations).collect();
    Some(Series { subject: subject.clone(), spread: Spread::of(&values)?, values, operations_of_runs, cpu_seconds, load_before })
}
