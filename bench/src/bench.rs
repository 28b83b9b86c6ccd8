//! What every measurement has at hand: sizes, runs that begin with a warm-up, and where readings go.
//! This module must never know a measurement.

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cpu::{CpuSeconds, CpuWatch, Group},
    machine::load_now,
    plan::Plan,
    recorder::{Reading, Recorder},
    result::{Better, Failure, Subject, System},
    server::Server,
};

/// How often the spinner turns.
const TURN: std::time::Duration = std::time::Duration::from_millis(200);

/// A run of the bench.
#[derive(Debug)]
pub struct Bench {
    /// Sizes.
    pub plan: Plan,
    /// What was read.
    pub recorder: Recorder,
    /// What could not be.
    pub failures: Vec<Failure>,
    bar: ProgressBar,
}

/// One run of everything that is compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    number: usize,
}

impl Round {
    /// Whether its readings are not kept.
    #[must_use]
    pub const fn is_warm_up(self) -> bool {
        self.number == 0
    }

    /// Its number, 0 for the warm-up.
    #[must_use]
    pub const fn number(self) -> usize {
        self.number
    }

    /// The indices of so many that are compared, each round beginning with another: what one leaves behind for the next is
    /// not to fall on the same one always.
    pub fn turns(self, of: usize) -> impl Iterator<Item = usize> {
        (0..of).map(move |turn| (turn + self.number.saturating_sub(1)) % of)
    }
}

/// What is told of the processes in a run: when it began, and what they used.
#[derive(Debug)]
pub struct Watch {
    cpu: CpuWatch,
    load_before: f64,
}

/// What processes used in a run.
#[derive(Debug, Clone)]
pub struct Used {
    cpu: CpuSeconds,
    load_before: f64,
}

impl Used {
    /// What was counted by somebody else.
    #[must_use]
    pub fn counted(load_before: f64, cpu: CpuSeconds) -> Self {
        Self { cpu, load_before }
    }

    /// The same without processor time, for a second value of one run.
    #[must_use]
    pub fn without_cpu(&self) -> Self {
        Self { cpu: CpuSeconds::new(), load_before: self.load_before }
    }
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn start(groups: Vec<Group>) -> anyhow::Result<Self> {
        Ok(Self { load_before: load_now()?, cpu: CpuWatch::start(groups)? })
    }

    /// Watches a process as well that was started meanwhile, from its start on.
    #[must_use]
    pub fn and_started(mut self, group: Group) -> Self {
        self.cpu.add_started(group);
        self
    }

    /// What was used since.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn stop(&self) -> anyhow::Result<Used> {
        Ok(Used { cpu: self.cpu.stop()?, load_before: self.load_before })
    }
}

impl Bench {
    /// One that has measured nothing yet.
    ///
    /// # Errors
    /// Where the progress has a template that will not do.
    pub fn new(plan: Plan) -> anyhow::Result<Self> {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}")?);
        bar.enable_steady_tick(TURN);
        Ok(Self { plan, recorder: Recorder::default(), failures: Vec::new(), bar })
    }

    /// The warm-up, and then the runs.
    pub fn rounds(&self) -> impl Iterator<Item = Round> + use<> {
        // A quick look has no time for it.
        (usize::from(self.plan.quick)..=self.plan.runs).map(|number| Round { number })
    }

    /// Says what is done now; a line each where nobody looks at a terminal.
    pub fn doing(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        } else {
            self.bar.set_message(what.to_owned());
        }
    }

    /// The same with the number of the run.
    pub fn running(&self, round: Round, what: &str) {
        if round.is_warm_up() {
            self.doing(&format!("{what}: warm-up"));
        } else {
            self.doing(&format!("{what}: run {} of {}", round.number, self.plan.runs));
        }
    }

    /// Keeps a value, unless it is a warm-up's. Goals are ours only.
    pub fn keep(&mut self, round: Round, subject: Subject, value: f64, used: &Used) {
        let goal = subject.goal.filter(|_| subject.system == System::Millrace);
        let subject = Subject { goal, ..subject };
        self.doing(&format!("  {}, {}: {} {}", subject.what, subject.system.name(), crate::table::number(value), subject.unit));
        if !round.is_warm_up() {
            self.recorder.record(Reading { subject, value, cpu: used.cpu.clone(), load_before: used.load_before });
        }
    }

    /// Keeps a value that is measured once only.
    pub fn keep_once(&mut self, subject: Subject, value: f64, used: &Used) {
        self.keep(Round { number: 1 }, subject, value, used);
    }

    /// Notes what could not be measured, once.
    pub fn missing(&mut self, number: u8, why: &str) {
        self.doing(&format!("{number}: {why}"));
        let failure = Failure { number, why: why.to_owned() };
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    /// What there is to compare with; where it is not there, that is noted.
    pub fn rival(&mut self, number: u8, started: anyhow::Result<Server>) -> Option<Server> {
        started.map_err(|error| self.missing(number, &format!("the comparison is missing: {error:#}"))).ok()
    }

    /// Ends the progress.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What a series is, with what most have in common filled in.
#[must_use]
pub fn subject(number: u8, id: &str, what: &str, unit: &str, better: Better) -> Subject {
    Subject {
        number,
        id: format!("{number}/{id}"),
        what: what.to_owned(),
        system: System::Millrace,
        unit: unit.to_owned(),
        better,
        goal: None,
        durability: String::new(),
        parameters: BTreeMap::new(),
        operations: None,
    }
}

/// Events a second.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "events of a run are far below 2^53")]
pub fn per_second(events: u64, took: std::time::Duration) -> f64 {
    events as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE)
}
