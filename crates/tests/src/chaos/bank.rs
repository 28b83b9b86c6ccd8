//! A bank of real processes: nats-server under its supervisor, two `serve` that both have every role,
//! each behind a network of its own. This module must never know which fault is made of what it offers.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use super::{disk::Disk, proxy::Proxy};
use crate::{
    Client, free_port, millrace, nats_server,
    tokens::{self, SECRET},
};

/// A process that is started again and again with the same command.
#[derive(Debug)]
pub struct Process {
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn new(log: PathBuf, arguments: Vec<String>) -> Self {
        Self { arguments, log, child: None }
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where that fails.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(millrace()?);
        command.args(&self.arguments).env("MILLRACE_JWT_SECRET", SECRET).env("MILLRACE_LOG", "info,async_nats=off");
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    /// Its process id.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("it does not run")?.id())
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        })
    }

    /// Whether it has ended by itself, with exit code 0.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn has_stopped_well(&mut self) -> anyhow::Result<bool> {
        let status = self.child.as_mut().context("it was never started")?.try_wait()?;
        Ok(status.is_some_and(|status| status.success()))
    }

    /// The first process that it started.
    ///
    /// # Errors
    /// Where it has none.
    pub fn child(&self) -> anyhow::Result<u32> {
        let pid = self.pid()?;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let list = fs::read_to_string(task?.path().join("children"))?;
            if let Some(child) = list.split_whitespace().next() {
                return Ok(child.parse()?);
            }
        }
        Err(anyhow!("process {pid} has no child"))
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// Where that fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{:?} may still run: {error}", self.arguments);
        }
    }
}

/// Sends a signal.
///
/// # Errors
/// Where there is no such process.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    Ok(kill_process(Pid::from_raw(i32::try_from(pid)?).context("a process id")?, signal)?)
}

/// All of it. Processes end before their disks are unmounted.
#[derive(Debug)]
pub struct Bank {
    /// The supervisor; nats-server is its child.
    pub nats: Process,
    /// The two processes that serve.
    pub serves: [Process; 2],
    /// The network of each of them.
    pub networks: [Proxy; 2],
    /// Where the gateways listen.
    pub gateways: [String; 2],
    /// Where nats-server listens.
    pub nats_url: String,
    /// What the logs lie on.
    pub log_disk: Disk,
    /// What read models and snapshots lie on, of each `serve`.
    pub model_disks: [Disk; 2],
}

/// A daily limit that no campaign comes to, in minor units.
const MOST_A_DAY: &str = "1000000000000000";

impl Bank {
    /// Starts it in `folder` and waits until both gateways are ready.
    ///
    /// # Errors
    /// Where something does not come up.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let log_disk = Disk::create(folder, "logs")?;
        let model_disks = [Disk::create(folder, "models-a")?, Disk::create(folder, "models-b")?];
        let port = free_port()?;
        let networks = [Proxy::start(port).await?, Proxy::start(port).await?];
        let gateways = [format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
        let text = |path: &Path| path.display().to_string();
        let nats_data = text(&log_disk.folder().join("nats"));
        let server = text(&nats_server());
        let arguments = ["nats", "--data", &nats_data, "--nats-port", &port.to_string(), "--nats-server", &server].map(str::to_owned);
        let nats = Process::new(folder.join("nats.log"), arguments.to_vec());
        let serve = |index: usize| {
            let (url, data) = (format!("nats://127.0.0.1:{}", networks[index].port), text(&model_disks[index].folder().join("data")));
            // Clients order more than they have, which counts to their day: it must not come to be all that they are refused for.
            let arguments =
                ["serve", "--nats", &url, "--data", &data, "--listen", &gateways[index], "--daily-limit", MOST_A_DAY].map(str::to_owned);
            Process::new(folder.join(format!("serve-{index}.log")), arguments.to_vec())
        };
        let serves = [serve(0), serve(1)];
        let mut bank = Self { nats, serves, networks, gateways, nats_url: format!("nats://127.0.0.1:{port}"), log_disk, model_disks };
        bank.nats.start()?;
        bank.serves.iter_mut().try_for_each(Process::start)?;
        crate::eventually("both gateways are ready", || async { Ok(bank.is_ready().await.then_some(())) }).await?;
        Ok(bank)
    }

    /// Whether both gateways say that they are ready.
    pub async fn is_ready(&self) -> bool {
        for gateway in &self.gateways {
            let answer = reqwest::get(format!("http://{gateway}/health/ready")).await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    /// The folder of read models and snapshots of one `serve`.
    #[must_use]
    pub fn data(&self, serve: usize) -> PathBuf {
        self.model_disks[serve].folder().join("data")
    }

    /// An operator.
    ///
    /// # Errors
    /// Where no token can be had.
    pub fn operator(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.gateways[0], Some(&tokens::of_operator()?)))
    }
}
