//! `just bench`: what Millrace does a second, beside what people would use instead, on this machine.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use bench::{
    bench::Bench,
    compare::Comparison,
    machine::{self, Machine},
    measure, pages,
    plan::Plan,
    postgres::Postgres,
    result::{Report, SCHEMA},
};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Measure a release build of Millrace beside what people would use instead.
#[derive(Debug, Parser)]
struct Args {
    /// Few runs of small sizes: a look within three minutes. The README is left as it is.
    #[arg(long)]
    quick: bool,
    /// Only these measurements, like 1,6,7. The README is left as it is.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    only: Vec<u8>,
    /// Runs of each thing after a warm-up, which a quick look has not [default: 5, quick 2]. With fewer the README is left as it is.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000), value_name = "N")]
    runs: Option<u16>,
    /// Compare with a stored result; what got worse beyond noise makes the exit code 1.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Where the result goes, with its table and plots beside it [default: bench/results/<date>.json]. The README is left as it is.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with a stored result that lacks measurements: take those, as long as nothing has another version now; a PostgreSQL may have come.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "runs", "out"])]
    resume: Option<PathBuf>,
    /// Measure nothing: write table and plots of a stored result anew, and, where nothing is missing in it, the README.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "runs", "out", "resume"])]
    render: Option<PathBuf>,
}

/// The exit code of what was stopped by a signal.
const STOPPED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = tokio::select! {
        outcome = run(Args::parse()) => outcome.map(Some),
        // Banks end, and their folders go, with the dropped run.
        stopped = stopped() => stopped.map(|()| None),
    };
    match outcome {
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Ok(None) => {
            eprintln!("bench: stopped; --resume goes on with what was stored.");
            ExitCode::from(STOPPED)
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until somebody wants it to stop. A terminal that is closed does not, where `nohup` says so.
async fn stopped() -> anyhow::Result<()> {
    let (mut terminate, mut quit) = (signal(SignalKind::terminate())?, signal(SignalKind::quit())?);
    let mut hang_up = if machine::ignores_hang_up()? { None } else { Some(signal(SignalKind::hangup())?) };
    let hung_up = async {
        match &mut hang_up {
            Some(hang_up) => hang_up.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _ = quit.recv() => {}
        _ = hung_up => {}
    }
    Ok(())
}

/// Whether everything was measured, and nothing got worse.
async fn run(args: Args) -> anyhow::Result<bool> {
    let then = args.against.as_deref().map(Report::read).transpose()?;
    let (begun, file) = begun(&args)?;
    ensure!(then.as_ref().is_none_or(|then| then.quick == begun.quick), "a quick result can be compared with a quick one only");
    let report = if args.render.is_some() { begun } else { take(&args, begun, &file).await? };
    let table = pages::write(&report, &file)?;
    println!("{table}");
    // A page that is published shows what is whole.
    if args.out.is_none() && report.is_whole() && pages::lies_beside_readme(&file)? {
        pages::show(&report, &file)?;
    } else {
        eprintln!("bench/README.md is left as it is.");
    }
    let mut is_well = report.failures.is_empty();
    if let Some(then) = &then {
        let comparison = Comparison::of(&report, then);
        println!("Against {} of {}:", then.versions.get("millrace").map_or("unknown", String::as_str), then.taken_at);
        println!("Load average before: {} then, {} now", then.machine.load, report.machine.load);
        if !report.machine.is_like(&then.machine) {
            println!("On another machine, which may be all the difference: {:?} then, {:?} now", then.machine, report.machine);
        }
        comparison.lines().iter().for_each(|line| println!("{line}"));
        is_well &= comparison.worse().next().is_none();
    }
    Ok(is_well)
}

/// What of a measurement cannot be taken here.
fn lacks(number: u8, bench: &Bench) -> Vec<String> {
    let mut lacks = measure::without_room(number, bench);
    lacks.extend(measure::ensure_files(number, bench).err().map(|why| format!("{why:#}")));
    if let (true, Err(why)) = (measure::RIVALLED.contains(&number), Postgres::available()) {
        lacks.push(format!("the comparison with PostgreSQL: {why:#}"));
    }
    lacks.into_iter().map(|why| format!("of {number}, {why}")).collect()
}

/// Takes all measurements that a result lacks, storing what there is after each.
async fn take(args: &Args, mut report: Report, file: &Path) -> anyhow::Result<Report> {
    if let Some(unknown) = args.only.iter().find(|number| !measure::NUMBERS.contains(number)) {
        anyhow::bail!("there is no measurement {unknown}: choose among {:?}", measure::NUMBERS);
    }
    std::fs::create_dir_all(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        .with_context(|| format!("the folder of {} cannot be made", file.display()))?;
    let numbers: Vec<u8> = measure::NUMBERS.into_iter().filter(|number| args.only.is_empty() || args.only.contains(number)).collect();
    let plan = Plan { runs: report.runs, ..if report.quick { Plan::quick() } else { Plan::full() } };
    let mut bench = Bench::new(plan)?;
    let numbers: Vec<u8> = numbers.into_iter().filter(|number| !report.has(*number)).collect();
    for why in numbers.iter().flat_map(|number| lacks(*number, &bench)) {
        eprintln!("bench: this will be left out: {why}");
    }
    report.write(file)?;
    for number in numbers {
        if let Err(error) = measure::take(number, &mut bench).await {
            bench.missing(number, &format!("{error:#}"));
        }
        report.replace(number, bench.recorder.series(), &bench.failures);
        report.write(file)?;
    }
    bench.finish();
    Ok(report)
}

/// The result that is shown or gone on with, or one that has nothing yet; and where it goes.
fn begun(args: &Args) -> anyhow::Result<(Report, PathBuf)> {
    if let Some(file) = &args.render {
        return Ok((Report::read(file)?, file.clone()));
    }
    let versions = machine::versions();
    if let Some(file) = &args.resume {
        let mut report = Report::read(file)?;
        report.now_has_rival(&versions);
        ensure!(!machine::is_unknown(&versions), "git does not say which commit this is, so nobody knows whether it is the same as then");
        ensure!(report.versions == versions, "{} was taken with {:?}, and here are {versions:?}", file.display(), report.versions);
        ensure!(!machine::is_changed(&versions), "there are changes that are not committed, and nobody knows whether the same as then");
        let here = Machine::here(&std::env::temp_dir())?;
        ensure!(report.machine.is_like(&here), "{} was taken on {:?}, and this is {here:?}", file.display(), report.machine);
        return Ok((report, file.clone()));
    }
    let plan = if args.quick { Plan::quick() } else { Plan::full() };
    let report = Report {
        schema: SCHEMA,
        taken_at: streams_now(),
        quick: plan.quick,
        runs: args.runs.map_or(plan.runs, usize::from),
        machine: Machine::here(&std::env::temp_dir())?,
        versions,
        series: Vec::new(),
        failures: Vec::new(),
    };
    let file = args.out.clone().unwrap_or_else(|| default_file(&report));
    ensure!(
        file.extension().is_some_and(|extension| extension == "json"),
        "{} must end in .json: its table and plots go beside it",
        file.display()
    );
    Ok((report, file))
}

fn streams_now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn default_file(report: &Report) -> PathBuf {
    let name = report.taken_at.replace(':', "-");
    let suffix = if report.quick { "-quick" } else { "" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(format!("{name}{suffix}.json"))
}
