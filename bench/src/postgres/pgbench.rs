//! pgbench, and what it writes down of each transfer. This module must never know the server's settings.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;

use super::cluster::Cluster;
use crate::{
    children,
    cpu::{CpuWatch, Group},
};

const UNIFORM: &str = include_str!("../../sql/uniform.pgbench");
const ZIPF: &str = include_str!("../../sql/zipf.pgbench");
/// Threads of pgbench itself: one for each core that it may share with the server here, and no more than it has connections.
fn threads(clients: usize) -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(clients)
}

/// Which accounts pay and are paid how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// All alike.
    Uniform,
    /// By Zipf's law with the exponent 1.001, which is the least that pgbench takes. Hot accounts do not lie on a page together.
    Zipf,
}

/// A run of pgbench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgBench {
    /// Which accounts.
    pub skew: Skew,
    /// Connections, each with one transfer at a time.
    pub clients: usize,
    /// Not measured, before it; what is no whole second of it is left out.
    pub warm_up: Duration,
    /// Measured; whole seconds, one at least.
    pub duration: Duration,
}

/// What came of it, in the measured time only.
#[derive(Debug, Clone)]
pub struct PgBenchResult {
    /// Transfers that were committed.
    pub transfers: u64,
    /// Of these and those of the warm-up, the ones that were refused, for insufficient funds.
    pub refused: u64,
    /// From the start of the first transfer to the end of the last.
    pub elapsed: Duration,
    /// Of each, in microseconds.
    pub latency: Histogram<u64>,
    /// Processor time of all PostgreSQL processes.
    pub server_cpu: Duration,
    /// Processor time of pgbench, and of this process, which only waits.
    pub client_cpu: Duration,
}

pub(super) async fn run(cluster: &Cluster, accounts: u64, bench: PgBench) -> anyhow::Result<PgBenchResult> {
    let folder = tempfile::tempdir()?;
    let script = match bench.skew {
        Skew::Uniform => UNIFORM,
        Skew::Zipf => ZIPF,
    };
    fs::write(folder.path().join("script"), script)?;
    let command = |duration: Duration, is_measured: bool| {
        let mut command = Command::new(&cluster.programs.pgbench);
        command.args(["--no-vacuum", "--protocol=prepared", "--username=postgres", "--host=127.0.0.1", "--file=script"]);
        command.args([format!("--port={}", cluster.port()), format!("--define=accounts={accounts}")]);
        command.args([format!("--client={}", bench.clients), format!("--jobs={}", threads(bench.clients))]);
        command.arg(format!("--time={}", duration.as_secs())).arg("postgres").current_dir(folder.path());
        if is_measured {
            command.args(["--log", "--log-prefix=transfers"]);
        }
        command
    };
    if bench.warm_up.as_secs() > 0 {
        finish(command(bench.warm_up, false)).await?;
    }
    let (server, client) = ("server", "load client");
    let watch = CpuWatch::start(vec![Group::trees(server, &[cluster.pid()]), Group::load_client()])?;
    finish(command(bench.duration, true)).await?;
    let cpu = watch.stop()?;
    let used = |name: &str| cpu.get(name).copied().map(Duration::from_secs_f64).context("processor time");
    let (latency, elapsed) = read(folder.path())?;
    Ok(PgBenchResult { transfers: latency.len(), refused: 0, elapsed, latency, server_cpu: used(server)?, client_cpu: used(client)? })
}

/// Runs it to its end; it says so when a client of it gave up.
async fn finish(mut command: Command) -> anyhow::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = children::spawn(command)?;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("error"), "pgbench failed: {}", said.trim());
    Ok(())
}

/// Every line of the logs is a transfer: client, number, microseconds, script, and when it ended.
fn read(folder: &Path) -> anyhow::Result<(Histogram<u64>, Duration)> {
    let mut latency = Histogram::new(3)?;
    let (mut first, mut last) = (u64::MAX, 0);
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("transfers")) {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            let (took, ended) = parse(line).with_context(|| format!("a line of pgbench's log: {line}"))?;
            latency.record(took)?;
            first = first.min(ended.saturating_sub(took));
            last = last.max(ended);
        }
    }
    ensure!(!latency.is_empty(), "pgbench wrote down no transfer");
    Ok((latency, Duration::from_micros(last.saturating_sub(first))))
}

/// Microseconds that it took, and when it ended, in microseconds since 1970.
fn parse(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split(' ').skip(2).map(|field| field.parse::<u64>().ok());
    let (took, _script, seconds, micros) = (fields.next()??, fields.next()??, fields.next()??, fields.next()??);
    Some((took, seconds.checked_mul(1_000_000)?.checked_add(micros)?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_says_how_long_and_when() {
        assert_eq!(parse("0 199 2241 0 1175850568 995598"), Some((2_241, 1_175_850_568_995_598)));
        assert_eq!(parse("0 199 skipped 0 1175850568 995598"), None);
        assert_eq!(parse(""), None);
    }
}
