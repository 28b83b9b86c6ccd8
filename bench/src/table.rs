//! A result as Markdown. This module must never measure, nor know a file.

use crate::result::{Better, Report, Series};

/// Title of each measurement and what its number means to somebody who does not believe it.
pub const MEASUREMENTS: [(u8, &str, &str); 10] = [
    (
        1,
        "Payments a second, from command log to read models",
        "Orders are appended to the command logs as gateways do it under load (records of up to 256, one append in flight a log) \
         while `serve` works. The clock runs from the first append until the ledger has booked every one of them and all read models \
         have folded everything; a rejected payment or a missing one fails the run. Processor time is counted until all of it is \
         written to files as well, some seconds later, and nobody else's turn begins before. Drawing the orders is not included, \
         their encoding is; GraphQL and HTTP are not, see 3. A backlog is allowed, so this says nothing of latency, see 2. PostgreSQL \
         books in one transaction what takes four logs and two read models here, acknowledges each payment by itself, and serves \
         reads from the same tables; it checks for no fraud and is given accounts by their numbers, not by IBAN. What it does with 25 \
         payments a transaction is in 3. Its Zipf is 1.001, the least that pgbench takes, which draws it while the clock \
         runs: some 20 µs of the client for each.",
    ),
    (
        2,
        "`initiatePayment` to `balanceChanged`",
        "From the instant at which a payment was due to be sent, so that a stall counts for all who waited in it, until the \
         creditor's websocket has the message. Client and servers share the cores. More than a thousand accounts pay, most of them once \
         or twice a run; 200 creditors are paid in turns. At 100 a second p99.9 is the worst but one of 1,000.",
    ),
    (
        3,
        "`initiatePayment` over HTTP",
        "64 connections that are kept alive, each with one request at a time, of all customers in turns to any other; a payment counts once it \
         is answered: Millrace has accepted it durably then, the monolith has booked it. All that was accepted must be booked in the \
         end. Processor time is that of the time in which answers count, so what Millrace still has to book afterwards is not in it. \
         Millrace writes the answers by code of its own, as in 4. The client runs on the same cores: what it takes is in its CPU seconds.",
    ),
    (
        4,
        "Queries while payments flow",
        "A balance and twenty entries over HTTP, by 64 connections that each wait for their answer, of all accounts in turns, while these pay \
         each other: 10,000 payments a second are asked for in requests of a hundred. How many of these were booked is in the table: a \
         server that books fewer has more time for queries. The ceiling is taken while as many are asked for. Processor time is that of all \
         of it, divided by the queries. Millrace writes balances and entries as JSON by code of its own (`gateway/src/plain.rs`), as long as \
         no field is asked for that has to be looked up, such as an entry's counterparty; the monolith leaves that to async-graphql. The last \
         262,144 entries of each shard are in memory, so these are; where accounts have not moved for longer, entries are read from a file.",
    ),
    (
        5,
        "Fan-out",
        "Websockets, each subscribed to an account of its own, and 5,000 payments a second to them in requests of ten; from the instant at which a \
         payment was due until the push. Memory is what the resident set of the process that holds the websockets grew by when they were \
         opened, at rest before and after, in a process that was just started on a bank with nothing booked but deposits; so whatever it \
         allocates for the first time counts as theirs: with a thousand, that is within some KiB each. The monolith's process is new as well, its \
         database is that of the runs before.",
    ),
    (
        6,
        "Rebuild of all read models",
        "`serve` is stopped, the files of all read models are deleted, snapshots of services' state stay. The clock runs from the start of the \
         process until every model has folded every log; the last of it is written to files some seconds later. Each event counts once, though \
         several models read it. nats-server goes on running, and its files are in memory.",
    ),
    (
        7,
        "Restart to first booking",
        "From the start of the process until a payment that is then sent over HTTP is booked in the ledger's log, after an orderly \
         stop, and after a `kill -9` when 100,000 payments had just been booked, which neither snapshots nor files of read models have then. \
         nats-server goes on running, as it would.",
    ),
    (
        8,
        "Growth",
        "1 and 2 again with more accounts, and after millions of payments, each beside a small bank in the same run. The millions are made in one \
         go: that is what is sustained, where the runs of 1 take seconds. The largest banks have runs of half as many payments, for want of disk. Bytes are those of the \
         files of logs, read models and snapshots, with the space that redb keeps in reserve.",
    ),
    (
        9,
        "Shards",
        "1 again with more shards on the same cores and disk, and half as many payments a run: every shard has four logs, each with an fsync of its own. \
         A payment between shards is booked twice.",
    ),
    (
        10,
        "Replicas",
        "1, with half as many payments a run, and 2 on a cluster of three nats-servers with three replicas of each log, all on this machine: three times the work for the same cores and \
         the same disk, and no network. It is the price in work, not what three machines would do.",
    ),
];

/// Title of a measurement.
#[must_use]
pub fn title(number: u8) -> &'static str {
    MEASUREMENTS.iter().find(|(of, _, _)| *of == number).map_or("", |(_, title, _)| title)
}

/// The whole result: machine, versions, a table of each measurement with what it means, what failed.
/// `plots` names the picture of a measurement, where there is one.
#[must_use]
pub fn markdown(report: &Report, plots: &dyn Fn(u8) -> Option<String>) -> String {
    let mut parts = vec![header(report)];
    for (number, title, meaning) in MEASUREMENTS {
        let series: Vec<&Series> = report.of(number).collect();
        if series.is_empty() {
            continue;
        }
        parts.push(format!("### {number}. {title}\n\n{meaning}\n\n{}", table(&series, report.runs)));
        parts.extend(plots(number).map(|file| format!("![{title}]({file})")));
    }
    if !report.failures.is_empty() {
        let failures = report.failures.iter().map(|failure| format!("- {}. {}: {}", failure.number, title(failure.number), failure.why));
        parts.push(format!("### Not measured\n\n{}", failures.collect::<Vec<_>>().join("\n")));
    }
    parts.join("\n\n") + "\n"
}

fn header(report: &Report) -> String {
    let machine = &report.machine;
    let versions = report.versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join("; ");
    let how = if report.quick {
        ". **A quick look: few runs of small sizes without a warm-up, nor rest between turns, which say little.**"
    } else {
        " after a warm-up."
    };
    format!(
        "Taken {}, {} runs of each{how}\n\n- Machine: {}, {} cores, {} MiB, Linux {}\n- Disk: {}\n\
         - Load average before: {}\n- Versions: {versions}",
        report.taken_at, report.runs, machine.cpu, machine.cores, machine.memory_mib, machine.kernel, machine.disk, machine.load
    )
}

fn table(series: &[&Series], runs: usize) -> String {
    let head = "| what | whose | median | min – max | goal | durability | CPU seconds a run |\n|---|---|--:|--:|--:|---|---|";
    let rows = series.iter().map(|series| row(series, runs));
    std::iter::once(head.to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

fn row(series: &Series, runs: usize) -> String {
    let (subject, spread) = (&series.subject, series.spread);
    let goal = subject.goal.map_or_else(String::new, |goal| {
        let (sign, is_met) = match subject.better {
            Better::Higher => ("≥", spread.median >= goal),
            Better::Lower => ("≤", spread.median <= goal),
        };
        format!("{sign} {} {}", number(goal), if is_met { "✓" } else { "✗" })
    });
    format!(
        "| {} | {} | {} {} | {} – {} | {goal} | {} | {} |",
        subject.what.clone() + &few_runs(series, runs),
        subject.system.name(),
        number(spread.median),
        subject.unit,
        number(spread.min),
        number(spread.max),
        subject.durability,
        cpu(series)
    )
}

/// Says so where there are fewer runs than of others.
fn few_runs(series: &Series, runs: usize) -> String {
    match series.values.len() {
        1 if runs > 1 => " (once)".to_owned(),
        fewer if fewer < runs => format!(" ({fewer} runs)"),
        _ => String::new(),
    }
}

/// Median CPU seconds by process, and microseconds an operation.
fn cpu(series: &Series) -> String {
    let median = |values: &[f64]| crate::stats::Spread::of(values).map(|spread| spread.median);
    let each = |(process, seconds): (&String, &Vec<f64>)| {
        #[expect(clippy::cast_precision_loss, reason = "operations of a run are far below 2^53")]
        let micros = |(seconds, operations): (&f64, &u64)| seconds * 1e6 / (*operations).max(1) as f64;
        let micros: Vec<f64> = seconds.iter().zip(&series.operations_of_runs).map(micros).collect();
        let micros = median(&micros).map_or_else(String::new, |micros| format!(" ({micros:.1} µs each)"));
        Some(format!("{process} {:.2}{micros}", median(seconds)?))
    };
    series.cpu_seconds.iter().filter_map(each).collect::<Vec<_>>().join(", ")
}

/// A number with as many places as it bears: thousands apart, three digits of what is small.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let places = if value.abs() < 10.0 { 2 } else { 1 };
        return format!("{value:.places$}");
    }
    let digits = format!("{:.0}", value.abs());
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{}{}", if value < 0.0 { "-" } else { "" }, groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        result::{Failure, System},
        samples::{report, series},
    };

    #[test]
    fn numbers_are_read_at_a_glance() {
        let cases =
            [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (1_234.0, "1,234"), (1_234_567.8, "1,234,568"), (-1_500.0, "-1,500")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_row_says_what_was_reached_and_what_it_cost() {
        let row = row(&series("a", System::Millrace, 99.0), 3);
        assert!(row.starts_with("| what a is | Millrace | 99.0 payments/s | 98.0 – 100.0 |") || row.contains("98.0 – 100"), "{row}");
        assert!(row.contains("≥ 100 ✗") && row.contains("sync_interval: always"), "{row}");
        assert!(row.contains("millrace 5.00 (5.0 µs each)") && !row.contains("runs"), "{row}");
        assert!(super::row(&series("a", System::Millrace, 99.0), 5).contains("what a is (3 runs) |"));
        assert!(super::row(&series("a", System::Millrace, 100.0), 3).contains("≥ 100 ✓"));
    }

    #[test]
    fn what_was_not_measured_is_not_in_the_table() {
        let mut report = report(vec![series("a", System::Millrace, 99.0)]);
        report.quick = true;
        report.failures.push(Failure { number: 7, why: "the disk is full".to_owned() });
        let text = markdown(&report, &|number| Some(format!("{number}.svg")));
        assert!(text.contains("### 1.") && text.contains("(1.svg)") && !text.contains("### 2.") && !text.contains("2.svg"), "{text}");
        assert!(text.contains("A quick look") && text.contains("7. Restart to first booking: the disk is full"), "{text}");
        assert!(text.contains("/dev/a on ext4") && text.contains("rustc 1.95"), "{text}");
    }

    #[test]
    fn measurements_are_numbered_in_order() {
        assert!(MEASUREMENTS.iter().map(|(number, _, _)| *number).eq(1..=10));
    }
}
