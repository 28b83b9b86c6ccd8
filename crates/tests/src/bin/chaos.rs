//! The fault campaign: `./just chaos`, for three minutes unless it is told. Exit code 1 where anything
//! that a client was told is not so in the end; the folder is kept then.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of what was stopped by a signal.
const STOPPED: u8 = 130;

/// Breaks a bank of real processes by a seeded schedule and compares what clients were told.
#[derive(Debug, Parser)]
struct Args {
    /// What the schedule and the clients follow [default: a new one].
    #[arg(long)]
    seed: Option<u64>,
    /// How long things break.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=120))]
    minutes: u64,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the report is what it is for")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let folder = tempfile::Builder::new().prefix("millrace-chaos-").tempdir()?;
    println!("Seed {seed}, {} minutes, in {}", args.minutes, folder.path().display());
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = tests::chaos::run(folder.path(), seed, Duration::from_secs(args.minutes * 60)) => outcome,
        // What runs and what is mounted goes with the dropped campaign.
        _ = tokio::signal::ctrl_c() => return stopped(),
        _ = terminate.recv() => return stopped(),
    };
    let is_good = outcome.as_ref().is_ok_and(|report| report.contradictions.is_empty());
    if let Ok(report) = &outcome {
        println!("\n{report}");
    }
    if !is_good {
        let folder = folder.keep();
        println!("Again with: ./just chaos --seed {seed} --minutes {}; logs are in {}", args.minutes, folder.display());
    }
    outcome.map(|_| if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the report is what it is for")]
fn stopped() -> anyhow::Result<ExitCode> {
    println!("Stopped before the end; nothing was found out.");
    Ok(ExitCode::from(STOPPED))
}
