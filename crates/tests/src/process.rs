//! Processes under test, each on ports and folders of its own; they end with the test.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process as aio,
};

use crate::{Client, PATIENCE, load::SHARDS, tokens::SECRET};

/// The state of an open connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// The binary under test, beside the test's own.
///
/// # Errors
/// Where it was not built.
pub fn millrace() -> anyhow::Result<PathBuf> {
    // Tests lie in `deps`, a folder below the binaries.
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("millrace")).find(|binary| binary.exists());
    found.with_context(|| format!("there is no millrace beside {}: cargo build --bin millrace", own.display()))
}

/// A nats-server that is new enough: from PATH, or what `./just` installed.
#[must_use]
pub fn nats_server() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    if installed.exists() { installed } else { PathBuf::from("nats-server") }
}

/// A port of loopback that is free now.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A nats-server of the test's own.
#[derive(Debug)]
pub struct Nats {
    child: Child,
    folder: TempDir,
    port: u16,
    more: String,
}

impl Nats {
    /// Starts one with an empty store.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("")
    }

    /// The same with more lines of its configuration.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_with(more: &str) -> anyhow::Result<Self> {
        let (folder, port, more) = (tempfile::tempdir()?, free_port()?, more.to_owned());
        let child = Self::spawn(folder.path(), port, &more)?;
        Ok(Self { child, folder, port, more })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder in which it keeps all that it stores.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The folder in which it keeps a log.
    #[must_use]
    pub fn stream_folder(&self, log: &str) -> PathBuf {
        self.store().join("jetstream/$G/streams").join(log)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_raw(i32::try_from(self.pid())?).context("a process id")?, signal)?)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// Where that fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on its store and port.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = Self::spawn(self.folder.path(), self.port, &self.more)?;
        Ok(())
    }

    fn spawn(folder: &Path, port: u16, more: &str) -> anyhow::Result<Child> {
        let config = folder.join("nats.conf");
        let store = folder.join("store").display().to_string();
        let jetstream = format!("jetstream {{ store_dir: {store:?}, sync_interval: always }}");
        std::fs::write(&config, format!("listen: \"127.0.0.1:{port}\"\n{jetstream}\n{more}\n"))?;
        let server = nats_server();
        let log = std::fs::File::options().create(true).append(true).open(folder.join("nats.log"))?;
        let child = Command::new(&server).arg("-c").arg(config).stdout(Stdio::null()).stderr(log).spawn();
        child.with_context(|| format!("{} is needed: run ./just test, which brings one", server.display()))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `millrace dev`, or `serve`, as a process.
#[derive(Debug)]
pub struct Dev {
    child: aio::Child,
    /// Where the gateway listens.
    pub address: String,
    /// Where nats-server listens.
    pub nats: String,
}

impl Dev {
    /// Starts `dev` on `data` and free ports, and waits until it says that it is up.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn start(data: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(data, arguments, &[]).await
    }

    /// The same in an environment of its own.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn start_with(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = aio::Command::new(millrace()?);
        command.args(["dev", "--any-port", "--data"]).arg(data).arg("--nats-server").arg(nats_server()).args(arguments);
        let mut child = command
            .envs(environment.iter().copied())
            .env("MILLRACE_LOG", "warn,async_nats=off")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let find = async {
            let mut address = None;
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.trim().strip_prefix("GraphQL ") {
                    address = Some(url.trim().trim_start_matches("http://").trim_end_matches("/graphql").to_owned());
                }
                if let (Some(address), Some(nats)) = (&address, line.trim().strip_prefix("nats-server ")) {
                    return Ok((address.clone(), nats.trim().to_owned()));
                }
            }
            Err(anyhow!("dev ended before it was up"))
        };
        let (address, nats) = tokio::time::timeout(PATIENCE, find).await.context("dev did not come up")??;
        // Goes on reading, so that it never blocks on what it prints.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, address, nats })
    }

    /// Starts `serve` with everything on a nats-server, and waits until it answers. Its keys are the tests'
    /// secret, unless the arguments name a JWK Set.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn serve(nats: &Nats, data: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::serve_with(&nats.url(), data, arguments, &[]).await
    }

    /// The same on the nats-server, or one of the cluster, at a URL, in an environment of its own.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn serve_with(nats: &str, data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = aio::Command::new(millrace()?);
        command.args(["serve", "--nats", nats, "--listen", &address, "--data"]).arg(data).args(arguments);
        if !arguments.contains(&"--jwks") {
            command.env("MILLRACE_JWT_SECRET", SECRET);
        }
        let child = command.envs(environment.iter().copied()).env("MILLRACE_LOG", "warn,async_nats=off").kill_on_drop(true).spawn()?;
        let client = Client::new(&address, None);
        crate::eventually("serve answers", || async { Ok(client.execute("{ __typename }").await.ok()) }).await?;
        Ok(Self { child, address, nats: nats.to_owned() })
    }

    /// Its process id.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("it has ended")
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Stops it where it stands.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn stand_still(&self) -> anyhow::Result<()> {
        freeze(self.pid()?)
    }

    /// Lets it go on once so many requests lie at its door: it reads them at once with what was written
    /// while it stood still.
    ///
    /// # Errors
    /// Where they never do, or it has ended.
    pub async fn go_on_once_asked(&self, requests: usize) -> anyhow::Result<()> {
        crate::eventually("requests lie at its door", || async { Ok((unread(&self.address)? >= requests).then_some(())) }).await?;
        Ok(kill_process(Pid::from_raw(i32::try_from(self.pid()?)?).context("a process id")?, Signal::CONT)?)
    }

    /// What it says of how it stands: whether it is ready, and each of its parts.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn ready(&self) -> anyhow::Result<(bool, serde_json::Value)> {
        let answer = reqwest::get(format!("http://{}/health/ready", self.address)).await?;
        let is_ready = answer.status().is_success();
        Ok((is_ready, answer.json::<serde_json::Value>().await?["parts"].take()))
    }

    /// Asks it to stop as Ctrl-C does; says how long that took and whether it ended well.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn interrupt(mut self) -> anyhow::Result<(Duration, bool)> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("a process id")?;
        let since = tokio::time::Instant::now();
        kill_process(pid, Signal::INT)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        Ok((since.elapsed(), status.success()))
    }

    /// The processes that it started.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn children(&self) -> anyhow::Result<Vec<u32>> {
        let pid = self.pid()?;
        let mut children = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let list = std::fs::read_to_string(task?.path().join("children"))?;
            children.extend(list.split_whitespace().map(str::parse::<u32>).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(children)
    }

    /// Runs the binary to its end.
    ///
    /// # Errors
    /// Where it cannot be run, or does not end.
    pub async fn output(arguments: &[&str]) -> anyhow::Result<Output> {
        Self::output_within(arguments, PATIENCE).await
    }

    async fn output_within(arguments: &[&str], wait: Duration) -> anyhow::Result<Output> {
        let run = aio::Command::new(millrace()?).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        Ok(tokio::time::timeout(wait, run).await??)
    }
}

/// Audits the logs of the server at `nats` and the read models of processes with all roles that have stopped; says what was looked at.
///
/// # Errors
/// What the audit found, a read model that it had no rows of to compare, or where it does not end within `wait`.
pub async fn audit_passes(nats: &str, data: &[&Path], wait: Duration) -> anyhow::Result<String> {
    let mut arguments = vec!["audit", "--json", "--nats", nats];
    for folder in data {
        arguments.extend(["--data", folder.to_str().context("a folder")?]);
    }
    let output = Dev::output_within(&arguments, wait).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&said)?;
    let models = report["models"].as_array().context("models")?;
    let is_looked_at = |model: &serde_json::Value| model["state"] == "compared" && model["rows"].as_u64().is_some_and(|rows| rows > 0);
    // The directory, and an overview and a payment history of each shard.
    let expected = data.len() * (1 + 2 * usize::from(SHARDS));
    anyhow::ensure!(models.len() == expected && models.iter().all(is_looked_at), "{expected} models have rows to compare, not {models:?}");
    let rows: u64 = models.iter().filter_map(|model| model["rows"].as_u64()).sum();
    Ok(if data.is_empty() { "passed".to_owned() } else { format!("passed, with {rows} rows of {expected} read models") })
}

/// Stops a process where it stands; when this returns, no thread of it runs, in the kernel either.
///
/// # Errors
/// Where it has ended, or does not stand still.
pub fn freeze(pid: u32) -> anyhow::Result<()> {
    kill_process(Pid::from_raw(i32::try_from(pid)?).context("a process id")?, Signal::STOP)?;
    let since = std::time::Instant::now();
    while !stands_still(pid)? {
        anyhow::ensure!(since.elapsed() < PATIENCE, "process {pid} does not stand still");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn stands_still(pid: u32) -> anyhow::Result<bool> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        if !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many connections to an address of loopback have bytes that nobody has read.
fn unread(address: &str) -> anyhow::Result<usize> {
    let (_, port) = address.rsplit_once(':').context("a port")?;
    let local = format!("0100007F:{:04X}", port.parse::<u16>()?);
    let is_unread = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let received = fields.get(4).and_then(|queues| queues.split_once(':')).is_some_and(|(_, received)| received != "00000000");
        fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&ESTABLISHED) && received
    };
    Ok(std::fs::read_to_string("/proc/net/tcp")?.lines().filter(is_unread).count())
}

/// What a process has of the memory now, in MiB.
///
/// # Errors
/// Where it has ended.
pub fn memory_mib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a resident set")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024)
}
