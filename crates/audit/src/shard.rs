//! One shard: its four logs, walked one after the other while others walk theirs.
//! This module must never know what is done with what it found.

use std::sync::Arc;

use domain::{
    Shard,
    fraud::Checked,
    ledger::LedgerEvent,
    payments::{PaymentCommand, PaymentEvent},
};
use streams::LogName;

use crate::{
    accounts::Accounts,
    books::Books,
    ends::AuditError,
    history::History,
    overview::Overview,
    payments::{Crossing, Payments, Read},
    report::{Check, Findings, LogTotals, Place},
    walk::{Course, Walk},
};

/// What is known of a shard once its logs are walked.
pub(crate) struct ShardAudit {
    pub shard: Shard,
    facts: Arc<Accounts>,
    pub books: Books,
    pub payments: Payments,
    pub overviews: Vec<Overview>,
    pub histories: Vec<History>,
    pub findings: Findings,
    pub logs: Vec<LogTotals>,
}

impl ShardAudit {
    pub(crate) fn new(shard: Shard, shards: u16, facts: Arc<Accounts>) -> Self {
        Self {
            shard,
            books: Books::new(shard, shards, Arc::clone(&facts)),
            facts,
            payments: Payments::new(shard, shards),
            overviews: Vec::new(),
            histories: Vec::new(),
            findings: Findings::default(),
            logs: Vec::new(),
        }
    }

    /// The shard's log of this name.
    pub(crate) fn log(&self, base: &str) -> LogName {
        LogName::new(base, Some(self.shard.0))
    }

    /// Walks all logs. What other shards booked for payments of this one comes later, see [`Self::cross`].
    pub(crate) async fn walk(mut self, course: Arc<Course>) -> Result<Self, AuditError> {
        let [commands, payments, fraud, ledger] = ["payment-commands", "payments", "fraud", "ledger"].map(|base| self.log(base));
        let walk = |log: &LogName| Walk::start(&course, log.clone());
        let walks = (walk(&commands), walk(&payments), walk(&fraud), walk(&ledger));
        let facts = Arc::clone(&self.facts);
        let Self { books, payments: state, overviews, histories, findings, .. } = &mut self;

        let on_command = |place: Place<'_>, _: &_, command: PaymentCommand, findings: &mut Findings| {
            state.command(place, &command, findings);
            histories.iter_mut().for_each(|history| history.command(place, &command));
        };
        let mut logs = vec![walks.0.each(findings, on_command).await?];

        let on_validated = |place: Place<'_>, record: &streams::Record, event: PaymentEvent, findings: &mut Findings| {
            state.validated(place, &event, record.cursor.get(&commands), findings);
            if let PaymentEvent::Validated { order, creditor, .. } = &event {
                let names = || format!("{} is from or to another account than was ordered", order.id);
                findings.expect(Check::Payments, place, facts.fit(order, *creditor), names);
            }
            overviews.iter_mut().for_each(|overview| overview.validated(place, &event));
            histories.iter_mut().for_each(|history| history.validated(place, &event));
        };
        logs.push(walks.1.each(findings, on_validated).await?);

        let on_checked = |place: Place<'_>, record: &streams::Record, checked: Checked, findings: &mut Findings| {
            state.checked(place, &checked, record.cursor.get(&payments), findings);
            overviews.iter_mut().for_each(|overview| overview.checked(place, &checked));
            histories.iter_mut().for_each(|history| history.checked(place, &checked));
        };
        logs.push(walks.2.each(findings, on_checked).await?);

        let on_booked = |place: Place<'_>, record: &streams::Record, event: LedgerEvent, findings: &mut Findings| {
            books.apply(place, &event, findings);
            let other = |shard: Shard| record.cursor.get(&LogName::new("ledger", Some(shard.0)));
            state.ledger(place, &event, Read { fraud: record.cursor.get(&fraud), ledger: &other }, findings);
            overviews.iter_mut().for_each(|overview| overview.ledger(place, &event, findings));
            histories.iter_mut().for_each(|history| history.ledger(place, &event));
        };
        logs.push(walks.3.each(findings, on_booked).await?);
        self.logs = logs;
        Ok(self)
    }

    /// Takes over what another shard booked for payments of this one.
    pub(crate) fn cross(&mut self, crossing: &Crossing) {
        let log = LogName::new("ledger", Some(crossing.at.0));
        let place = Place { log: &log, seq: crossing.seq, event: crossing.event };
        self.payments.crossed(place, crossing, &mut self.findings);
        self.histories.iter_mut().for_each(|history| history.crossed(place, crossing));
    }

    /// Compares what read models hold, once everything is known.
    pub(crate) fn compare(&mut self) {
        let [commands, payments, ledger] = ["payment-commands", "payments", "ledger"].map(|base| self.log(base));
        for overview in &mut self.overviews {
            overview.finish(&payments, &ledger, &mut self.findings);
        }
        for history in &mut self.histories {
            history.finish(&commands, &mut self.findings);
        }
    }
}
