//! The processes and files of a private PostgreSQL. This module must never know what is in it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use rustix::process::{Signal, getuid};
use tempfile::TempDir;

use crate::children;

const CONFIG: &str = include_str!("../../sql/postgresql.conf");
/// Whom Debian's packages make for it.
const USER: &str = "postgres";
/// Where Debian's packages have their programs, which are not on PATH.
const DEBIAN: &str = "/usr/lib/postgresql/15/bin";
/// What the figures are compared with: others have other costs.
const VERSION: &str = " 15.";
/// What it says, in its folder; and how many lines of it are shown where it does not start.
const LOG: &str = "postgres.log";
const LAST_LINES: usize = 3;

/// What has to be there to run one.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    pub(super) pgbench: PathBuf,
    pub(super) version: String,
    /// User and group to run as, where we are root.
    owner: Option<(u32, u32)>,
}

impl Programs {
    pub(super) fn find() -> anyhow::Result<Self> {
        let owner = getuid().is_root().then(owner).transpose()?;
        ensure!(on_path("setpriv").is_some(), "setpriv (of util-linux) is needed, so that PostgreSQL ends with the bench");
        let (initdb, postgres, pgbench) = (program("initdb")?, program("postgres")?, program("pgbench")?);
        let said = Command::new(&postgres).arg("--version").output()?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        ensure!(version.contains(VERSION), "PostgreSQL 15 is needed; {} is {version}", postgres.display());
        Ok(Self { initdb, postgres, pgbench, version, owner })
    }

    /// A program of PostgreSQL as its own user, since it refuses to run as root.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = self.owner {
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        }
        // An immediate shutdown: the data is thrown away, and its children end with it.
        command.arg("--pdeathsig=QUIT").arg(program).stdin(Stdio::null());
        command
    }
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    let debian = Path::new(DEBIAN).join(name);
    let found = if debian.exists() { Some(debian) } else { on_path(name) };
    found.with_context(|| format!("PostgreSQL 15 is needed: there is no {name} in {DEBIAN} or on PATH (apt-get install postgresql-15)"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists())
}

/// The ids of [`USER`] in `/etc/passwd`.
fn owner() -> anyhow::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(USER));
    let line = line.with_context(|| format!("PostgreSQL does not run as root, and there is no user {USER} to run it as"))?;
    let id = |index: usize| line.split(':').nth(index).and_then(|id| id.parse().ok()).with_context(|| format!("/etc/passwd: {line}"));
    Ok((id(2)?, id(3)?))
}

#[derive(Debug)]
pub(super) struct Cluster {
    child: Child,
    /// Deleted with it.
    folder: TempDir,
    port: u16,
    pub(super) programs: Programs,
}

impl Cluster {
    /// Starts one in an empty folder. It may not answer yet.
    pub(super) fn start() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new().prefix("bench-postgres-").tempdir()?;
        if let Some((user, group)) = programs.owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        // Ours and its user's only.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
        let data = folder.path().join("data");
        initdb(&programs, &data)?;
        let port = tests::free_port()?;
        let log = fs::File::create(folder.path().join(LOG))?;
        let mut command = programs.command(&programs.postgres);
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.stdout(log.try_clone()?).stderr(log);
        let child = children::spawn(command)?;
        Ok(Self { child, folder, port, programs })
    }

    /// What it wrote last.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LAST_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// Whoever is on this machine may connect: the port is of loopback, and what is in it is made up.
fn initdb(programs: &Programs, data: &Path) -> anyhow::Result<()> {
    let mut command = programs.command(&programs.initdb);
    let made = command.arg("-D").arg(data).args(["-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]).output()?;
    ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
    let mut config = fs::read_to_string(data.join("postgresql.conf"))?;
    config.push_str(CONFIG);
    fs::write(data.join("postgresql.conf"), config)?;
    Ok(())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        children::end(&mut self.child, Signal::QUIT);
    }
}
