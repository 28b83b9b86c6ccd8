//! An audit's report as tables for people. This module must never know how something was checked.

use std::fmt::Write as _;

use ::audit::{CurrencyTotals, ModelState, Report, Violation};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// The report, as text.
pub(crate) fn render(report: &Report) -> String {
    let mut parts = vec![checks(report), logs(report), shards(report), balances(report)];
    if !report.models.is_empty() {
        parts.push(models(report));
    }
    if !report.listed.is_empty() {
        parts.push(violations(report));
    }
    parts.push(summary(report));
    parts.join("\n\n")
}

fn table(header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn checks(report: &Report) -> String {
    let mut table = table(&["Check", "Looked at", "Failed"], 1..3);
    for check in &report.checks {
        table.add_row([check.says.to_owned(), grouped(check.looked_at), grouped(check.failed)]);
    }
    table.to_string()
}

fn logs(report: &Report) -> String {
    let mut table = table(&["Log", "Records", "Events"], 1..3);
    for log in &report.logs {
        table.add_row([log.log.to_string(), grouped(log.records), grouped(log.events)]);
    }
    table.to_string()
}

fn shards(report: &Report) -> String {
    let header = ["Shard", "Accounts", "Postings", "Payments", "Booked", "Rejected", "Returned", "Held", "Under way"];
    let mut table = table(&header, 0..header.len());
    for shard in &report.shards {
        let payments = &shard.payments;
        let ends = [payments.accepted, payments.booked, payments.rejected, payments.returned, payments.held, payments.under_way];
        let numbers = [u64::from(shard.shard), shard.accounts, shard.postings].into_iter().chain(ends);
        table.add_row(numbers.map(grouped).collect::<Vec<_>>());
    }
    table.to_string()
}

fn balances(report: &Report) -> String {
    let header = ["Shard", "Currency", "Customers", "Settlement", "Clearing", "Sum (minor units)"];
    let mut table = table(&header, 2..header.len());
    for shard in &report.shards {
        for (currency, totals) in &shard.currencies {
            let CurrencyTotals { customers, settlement, clearing } = totals;
            let amounts = [*customers, *settlement, *clearing, totals.sum()].map(signed);
            table.add_row([shard.shard.to_string(), currency.clone()].into_iter().chain(amounts).collect::<Vec<_>>());
        }
    }
    table.to_string()
}

fn models(report: &Report) -> String {
    let mut table = table(&["Read model", "Rows", "Failed", ""], 1..3);
    for model in &report.models {
        let state = match &model.state {
            ModelState::Compared => "compared".to_owned(),
            ModelState::NotCompared(why) => format!("not compared: {why}"),
            ModelState::Unreadable(why) => format!("cannot be read: {why}"),
        };
        table.add_row([model.file.clone(), grouped(model.rows), grouped(model.failed), state]);
    }
    table.to_string()
}

fn violations(report: &Report) -> String {
    let mut text = String::from("Violations\n");
    for Violation { log, seq, event, model, what, .. } in &report.listed {
        let event = event.map_or_else(String::new, |event| format!(", event {event}"));
        let model = model.as_ref().map_or_else(String::new, |model| format!(" ({model})"));
        // A text in memory takes every line.
        let _ = write!(text, "\n  {log}, record {seq}{event}: {what}{model}");
    }
    let unlisted = report.violations.saturating_sub(report.listed.len() as u64);
    if unlisted > 0 {
        let _ = write!(text, "\n  … and {} more", grouped(unlisted));
    }
    text
}

fn summary(report: &Report) -> String {
    let verdict = match report.violations {
        0 if report.passed => "Passed".to_owned(),
        0 => format!("NOT PASSED: {} read models cannot be read, and nothing else failed", report.unreadable()),
        1 => "FAILED: 1 violation".to_owned(),
        violations => format!("FAILED: {} violations", grouped(violations)),
    };
    let not_compared = report.models.iter().filter(|model| matches!(model.state, ModelState::NotCompared(_))).count();
    let models = if not_compared > 0 { format!("; {not_compared} read models were not compared") } else { String::new() };
    let (records, events, rate) = (grouped(report.records), grouped(report.events), grouped(report.events_per_second));
    let (seconds, millis) = (report.millis / 1_000, report.millis % 1_000);
    format!("{verdict}{models}. {records} records with {events} events in {seconds}.{millis:03} s: {rate} events/s.")
}

fn signed(number: i128) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", group(number.unsigned_abs()))
}

fn grouped(number: u64) -> String {
    group(number.into())
}

/// Digits in groups of three.
fn group(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_read_in_groups_of_three() {
        assert_eq!([0, 12, 123, 1_234, 1_234_567].map(super::grouped), ["0", "12", "123", "1,234", "1,234,567"]);
        assert_eq!([-1_000, 1_000].map(super::signed), ["-1,000", "1,000"]);
    }
}
