//! What a campaign found, for people. This module must never find anything itself.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{Table, presets::ASCII_MARKDOWN};

use super::{
    history::{Account, History, Told, Watched},
    schedule::{ALL, Fault},
};

/// Contradictions that are shown; one is enough to look for its cause.
const SHOWN: usize = 20;

/// A campaign, told in figures.
#[derive(Debug, Default)]
pub struct Report {
    /// What it ran by.
    pub seed: u64,
    /// How long each fault kept payments from flowing, every time.
    pub recoveries: BTreeMap<Fault, Vec<Duration>>,
    /// Faults that this machine cannot make, and why.
    pub skipped: BTreeMap<Fault, &'static str>,
    /// How long the bank took to come to rest.
    pub rest: Option<Duration>,
    /// Payments by what became of them.
    pub payments: BTreeMap<String, u64>,
    /// What `audit` said, live and of the stopped bank.
    pub audits: Vec<String>,
    /// What does not fit together.
    pub contradictions: Vec<String>,
}

impl Report {
    /// Counts what clients and watchers tell, and what became of payments.
    pub fn count(&mut self, histories: &[History], watched: &[Watched], accounts: &[Account]) {
        let mut count = |what: &str, more: u64| *self.payments.entry(what.to_owned()).or_default() += more;
        for history in histories {
            for sent in &history.sent {
                match &sent.told {
                    Told::Accepted(_) => count("accepted", 1),
                    Told::Refused(code) => count(&format!("refused: {code}"), 1),
                    Told::NotTaken => count("not taken", 1),
                    Told::Nothing => count("never answered", 1),
                }
            }
            count("requests without a clear answer", history.unanswered);
            count("requests repeated", history.repeats);
            count("balances seen", history.seen.len() as u64);
            history.ended.iter().for_each(|ended| count(&format!("told to be {}", ended.status), 1));
        }
        for payment in accounts.iter().flat_map(|account| &account.payments) {
            let why = payment.rejection.as_ref().map_or(String::new(), |code| format!(", {code}"));
            count(&format!("in the end {}{why}", payment.status), 1);
        }
        for watched in watched {
            count("subscriptions opened again", watched.reconnects);
            count("messages of subscriptions", watched.said.len() as u64);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults = Table::new();
        faults.load_style(ASCII_MARKDOWN).set_header(["fault", "times", "payments flow again: median", "max"]);
        for fault in ALL {
            let mut took = self.recoveries.get(&fault).cloned().unwrap_or_default();
            took.sort_unstable();
            let figures = match (self.skipped.get(&fault), took.last()) {
                (Some(why), _) => ["SKIPPED".to_owned(), (*why).to_owned(), String::new()],
                (None, None) => ["0".to_owned(), String::new(), String::new()],
                (None, Some(max)) => [took.len().to_string(), format!("{:.2?}", took[took.len() / 2]), format!("{max:.2?}")],
            };
            faults.add_row([format!("{fault:?}")].into_iter().chain(figures));
        }
        let mut counts = Table::new();
        counts.load_style(ASCII_MARKDOWN).set_header(["payments", "count"]);
        for (what, count) in &self.payments {
            counts.add_row([what.clone(), count.to_string()]);
        }
        writeln!(f, "{faults}\n\n{counts}\n")?;
        if let Some(rest) = self.rest {
            writeln!(f, "At rest {rest:.1?} after the last fault was mended and the last client had its answer.")?;
        }
        self.audits.iter().try_for_each(|audit| writeln!(f, "{audit}"))?;
        match self.contradictions.len() {
            0 => writeln!(f, "Seed {}: nothing that clients were told was taken back.", self.seed),
            count => {
                writeln!(f, "Seed {}: {count} CONTRADICTIONS", self.seed)?;
                self.contradictions.iter().take(SHOWN).try_for_each(|contradiction| writeln!(f, "  {contradiction}"))
            }
        }
    }
}
