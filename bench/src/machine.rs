//! On which machine and with which versions figures were taken. This module must never measure.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of its CPU.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Of the kernel.
    pub kernel: String,
    /// Load averages over 1, 5 and 15 minutes before anything was measured.
    pub load: String,
    /// Device, filesystem and options of where logs and databases lay.
    pub disk: String,
}

impl Machine {
    /// This one, with its data in `folder`.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn here(folder: &Path) -> anyhow::Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory_kib: u64 = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok()).context("its memory")?;
        Ok(Self {
            cpu: field(&cpus, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: memory_kib / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load_averages()?,
            disk: mount_of(&fs::read_to_string("/proc/mounts")?, folder).unwrap_or_else(|| "unknown".to_owned()),
        })
    }
}

impl Machine {
    /// Whether figures of both may be compared: all is the same but the load.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let load = String::new();
        Self { load: load.clone(), ..self.clone() } == Self { load, ..other.clone() }
    }
}

/// The load averages over 1, 5 and 15 minutes.
///
/// # Errors
/// Where the kernel does not say.
pub fn load_averages() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// The load average over a minute.
///
/// # Errors
/// Where the kernel does not say.
pub fn load_now() -> anyhow::Result<f64> {
    load_averages()?.split(' ').next().context("a load average")?.parse().context("a load average")
}

/// What of the repository bears on a figure: not what is said of it. The version of Millrace is the last commit of these.
const MEASURED: [&str; 3] = [":(top)", ":(top,exclude)*.md", ":(top,exclude)bench/results"];

/// What stands behind a commit when files of it were changed.
const CHANGED: &str = " with changes";

/// Of what does not say its version.
pub const UNKNOWN: &str = "unknown";

/// Whether nobody knows which commit this is.
#[must_use]
pub fn is_unknown(versions: &BTreeMap<String, String>) -> bool {
    versions.get("millrace").is_none_or(|version| version == UNKNOWN)
}

/// Whether this process was started to outlive its terminal.
///
/// # Errors
/// Where the kernel does not say.
pub fn ignores_hang_up() -> anyhow::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("ignored signals")?;
    Ok(u64::from_str_radix(ignored.trim(), 16)? & 1 == 1) // SIGHUP is the first.
}

/// Lets this process, and those that it starts, have as many files and connections open as the machine allows, where many shells allow a
/// thousand; how many these are.
///
/// # Errors
/// Where the kernel does not let it.
pub fn open_many_files() -> anyhow::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Whether Millrace was changed since its commit.
#[must_use]
pub fn is_changed(versions: &BTreeMap<String, String>) -> bool {
    versions.get("millrace").is_some_and(|version| version.ends_with(CHANGED))
}

/// Versions of what takes part: compiler, Millrace, nats-server and PostgreSQL, as far as they are here.
#[must_use]
pub fn versions() -> BTreeMap<String, String> {
    let repository = env!("CARGO_MANIFEST_DIR");
    let mut versions = BTreeMap::new();
    let mut note = |name: &str, version: Option<String>| {
        versions.insert(name.to_owned(), version.unwrap_or_else(|| UNKNOWN.to_owned()));
    };
    note("rustc", said(Command::new("rustc").arg("--version")));
    let git = |arguments: &[&str]| said(Command::new("git").args(["-C", repository]).args(arguments).arg("--").args(MEASURED));
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let suffix = if changed.is_some_and(|changed| !changed.is_empty()) { CHANGED } else { "" };
    let commit = git(&["log", "-1", "--format=%h", "--abbrev=12"]);
    note("millrace", commit.map(|commit| commit + suffix));
    note("nats-server", said(Command::new(::tests::nats_server()).arg("--version")));
    note("postgres", crate::postgres::Postgres::version_here());
    versions
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim))
}

/// The line of the longest mount point that `folder` lies under.
fn mount_of(mounts: &str, folder: &Path) -> Option<String> {
    let parts = |line: &str| line.split(' ').take(4).map(str::to_owned).collect::<Vec<_>>();
    let under = mounts.lines().map(parts).filter(|parts| parts.len() == 4 && folder.starts_with(&parts[1]));
    let nearest = under.max_by_key(|parts| parts[1].len())?;
    Some(format!("{} on {} ({})", nearest[0], nearest[2], nearest[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_named() {
        let mounts = "/dev/a / ext4 rw,relatime 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/deep xfs ro 0 0\n";
        let mount = |folder: &str| mount_of(mounts, Path::new(folder)).expect("a mount");
        assert_eq!(mount("/home/x"), "/dev/a on ext4 (rw,relatime)");
        assert_eq!(mount("/tmp/x"), "tmpfs on tmpfs (rw)");
        assert_eq!(mount("/tmp/deep/x"), "/dev/b on xfs (ro)");
        assert_eq!(mount("/tmpx"), "/dev/a on ext4 (rw,relatime)");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 207\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(field(text, "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(field(text, "cache"), None);
    }
}
