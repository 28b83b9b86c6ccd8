//! nats-server as a child: found, checked, configured, started again when it dies, and stopped.
//! This module must never know a log.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::{CommandExt as _, parent_id},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use streams::MIN_SERVER_VERSION;
use tokio_util::sync::CancellationToken;

use crate::{
    args::NatsArgs,
    data::DataFolder,
    nats_health,
    stop::{self, NATS_WAIT},
};

/// Where it listens unless it is told.
pub(crate) const NATS_PORT: u16 = 4222;
/// How often the child is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is asked whether it can still write.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before it is started again …
const RESTART_PAUSE: Duration = Duration::from_millis(250);
/// … which doubles up to this for one that ends each time before it has lived for so long: it cannot start, and its log may lie on
/// the disk that is full.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const STARTED_AFTER: Duration = Duration::from_secs(2);
/// So much of the end of its log has its last line.
const LAST_BYTES: u64 = 4096;
/// How long it may read its store before it listens: some hundred gigabytes, at the speed of a slow disk.
const READ_WAIT: Duration = Duration::from_secs(30 * 60);
/// After this long whoever waits for it is told why.
const LONG: Duration = Duration::from_secs(3);
/// In a data folder: the store, and the configuration.
pub(crate) const STORE: &str = "nats";
const CONFIG: &str = "nats-server.conf";
const LOG: &str = "nats-server.log";
/// Messages up to the size that NATS itself calls sensible; ours stay far below one mebibyte.
const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

/// A nats-server that runs as long as this lives.
#[derive(Debug)]
pub(crate) struct NatsServer {
    stop: mpsc::Sender<()>,
    watcher: Option<JoinHandle<()>>,
    port: u16,
    log: PathBuf,
    has_ended: Arc<AtomicBool>,
}

impl NatsServer {
    /// Starts it on `port` of loopback, with its data in `folder`.
    pub(crate) fn start(program: &Path, folder: &Path, port: u16) -> anyhow::Result<Self> {
        Self::start_on(&folder.join(STORE), program, folder, port)
    }

    /// The same on a store that lies elsewhere than its configuration and log.
    pub(crate) fn start_on(store: &Path, program: &Path, folder: &Path, port: u16) -> anyhow::Result<Self> {
        let config = write_config(folder, store, port)?;
        let (program, log, has_ended) = (program.to_owned(), folder.join(LOG), Arc::default());
        let command = Supervised { program, folder: folder.to_owned(), config, log: log.clone(), has_ended: Arc::clone(&has_ended) };
        let (stop, stopped) = mpsc::channel();
        let (started, first) = mpsc::channel();
        // One thread for all its life: the kernel ends the child when the thread that started it ends.
        let watcher = std::thread::Builder::new().name("nats-server".to_owned()).spawn(move || command.watch(&stopped, &started))?;
        first.recv().map_err(|_| anyhow!("nats-server could not be started"))??;
        Ok(Self { stop, watcher: Some(watcher), port, log, has_ended })
    }

    /// Waits, bounded, until it listens, which it does once it has read its store: after a crash, all of it.
    ///
    /// # Errors
    /// Its last words, where it has ended instead.
    pub(crate) async fn until_listening(&self) -> anyhow::Result<()> {
        let (since, mut is_said) = (Instant::now(), false);
        while !self.has_ended.load(Ordering::Relaxed) && since.elapsed() < READ_WAIT {
            if tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                return Ok(());
            }
            if !is_said && since.elapsed() > LONG {
                is_said = true;
                tracing::info!("nats-server is still reading its store, as after a crash");
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
        bail!("nats-server does not listen, {}", last_words(&self.log))
    }

    /// Stops it and waits until it is gone.
    pub(crate) fn stop(mut self) {
        // A watcher that is gone has stopped it already.
        let _ = self.stop.send(());
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// The `nats` command: nothing but a nats-server that is kept alive.
pub(crate) async fn run(args: NatsArgs) -> anyhow::Result<()> {
    let program = find(args.nats_server.as_deref())?;
    let data = DataFolder::open(&args.data)?;
    let stop = CancellationToken::new();
    stop::on_signal(stop.clone())?;
    let port = free_port(args.port)?;
    let server = NatsServer::start(&program, data.path(), port)?;
    let listens = tokio::select! {
        listens = server.until_listening() => listens,
        () = stop.cancelled() => Ok(()),
    };
    if listens.is_ok() {
        tracing::info!("Keeping nats-server alive at nats://127.0.0.1:{port}, data in {}", data.path().display());
        stop.cancelled().await;
    }
    tokio::task::block_in_place(|| server.stop());
    listens.with_context(|| format!("see {}", data.path().join(LOG).display()))
}

/// `wanted`, or any port for 0, if it is free on loopback now.
pub(crate) fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let hint = "stop what has the port, or choose another with --nats-port";
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted));
    let probe = probe.with_context(|| format!("nats-server cannot listen on 127.0.0.1:{wanted}, {hint}"))?;
    Ok(probe.local_addr()?.port())
}

#[derive(Debug)]
struct Supervised {
    program: PathBuf,
    folder: PathBuf,
    config: PathBuf,
    log: PathBuf,
    has_ended: Arc<AtomicBool>,
}

impl Supervised {
    fn watch(&self, stopped: &mpsc::Receiver<()>, started: &mpsc::Sender<anyhow::Result<()>>) {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok(()));
        let mut looked = Instant::now();
        let mut waits_for_room = false;
        let (mut since, mut pause, mut said) = (Instant::now(), RESTART_PAUSE, String::new());
        loop {
            match stopped.recv_timeout(WATCH_INTERVAL) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return end(&mut child),
            }
            if let Ok(Some(status)) = child.try_wait() {
                if since.elapsed() > STARTED_AFTER {
                    (pause, said) = (RESTART_PAUSE, String::new());
                }
                self.say_that_it_died(status, &mut said);
                if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
                child = self.spawn_again(child);
                (since, pause) = (Instant::now(), (pause * 2).min(LONGEST_PAUSE));
            } else if looked.elapsed() >= HEALTH_INTERVAL {
                looked = Instant::now();
                let Some(why) = nats_health::write_error(&self.folder, child.id()) else { continue };
                if nats_health::has_room(&self.folder) {
                    tracing::warn!(why, "nats-server can no longer write; starting it again");
                    end(&mut child);
                    child = self.spawn_again(child);
                    (since, waits_for_room) = (Instant::now(), false);
                } else if !waits_for_room {
                    tracing::error!(why, "The disk of nats-server is full: free some space, and it is started again");
                    waits_for_room = true;
                }
            }
        }
    }

    /// Starts it once more; where that fails, the next look at the one that is gone tries again.
    fn spawn_again(&self, gone: Child) -> Child {
        match self.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "nats-server cannot be started; trying again");
                gone
            }
        }
    }

    /// Says why, unless that is what it `said` the last time.
    fn say_that_it_died(&self, status: ExitStatus, said: &mut String) {
        self.has_ended.store(true, Ordering::Relaxed);
        let last = last_words(&self.log);
        // Its lines begin with the number of the process in brackets, and with when they were written.
        let cause = last.splitn(3, '[').nth(2).unwrap_or(&last).to_owned();
        if *said != cause {
            tracing::warn!(%status, last, "nats-server has ended; starting it again");
            *said = cause;
        }
    }

    /// By way of this binary, so that it ends with us even when we are killed.
    fn spawn(&self) -> anyhow::Result<Child> {
        nats_health::forget_ports(&self.folder);
        let log = fs::File::options().create(true).append(true).open(&self.log).context("the log of nats-server cannot be written")?;
        // As the kernel knows it: the file may have been replaced since.
        Command::new("/proc/self/exe")
            .arg("supervised")
            .arg(std::process::id().to_string())
            .arg(&self.program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the whole group; it is stopped after the services.
            .process_group(0)
            .spawn()
            .context("nats-server cannot be started")
    }
}

/// The last line of a log.
fn last_words(log: &Path) -> String {
    let read = || {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        std::io::Result::Ok(end)
    };
    let end = read().unwrap_or_else(|error| format!("and its log cannot be read: {error}").into_bytes());
    String::from_utf8_lossy(&end).lines().last().unwrap_or_default().to_owned()
}

fn end(child: &mut Child) {
    // Its number may be somebody else's by now.
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    signal(child, Signal::TERM);
    let deadline = Instant::now() + NATS_WAIT;
    while Instant::now() < deadline {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
    signal(child, Signal::KILL);
    let _ = child.wait();
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::debug!(%error, "nats-server could not be signalled");
    }
}

/// The `supervised` command: becomes `program`, which the kernel kills when the parent is gone.
pub(crate) fn become_supervised(parent: u32, program: &Path, arguments: &[String]) -> anyhow::Error {
    match set_parent_process_death_signal(Some(Signal::KILL)) {
        // It may have been gone before it could be asked for.
        Ok(()) if parent_id() != parent => anyhow!("the parent is gone"),
        // Under this name it says where it can be asked how it is (`nats_health.rs`), however its file is called.
        Ok(()) => anyhow!(Command::new(program).arg0("nats-server").args(arguments).exec())
            .context(format!("{} cannot be run", program.display())),
        Err(error) => anyhow!(error).context("the kernel does not take a death signal"),
    }
}

/// Where the nats-server of a data folder was told to listen.
pub(crate) fn url_of(folder: &Path) -> Option<String> {
    let config = fs::read_to_string(folder.join(CONFIG)).ok()?;
    let listen = config.lines().find_map(|line| line.strip_prefix("listen: "))?;
    Some(format!("nats://{}", listen.trim_matches('"')))
}

fn write_config(folder: &Path, store: &Path, port: u16) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(store).with_context(|| format!("{} cannot be made", store.display()))?;
    let path = folder.join(CONFIG);
    // An fsync before every acknowledgement: with JetStream's default, a power cut loses what was
    // acknowledged in the last minutes.
    let config = format!(
        "# Written by millrace at every start.\n\
         listen: \"127.0.0.1:{port}\"\n\
         http: \"127.0.0.1:-1\"\n\
         ports_file_dir: {:?}\n\
         max_payload: {MAX_PAYLOAD_BYTES}\n\
         jetstream {{\n  store_dir: {:?}\n  sync_interval: always\n}}\n",
        folder.display().to_string(),
        store.display().to_string()
    );
    fs::write(&path, config).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// The nats-server to run: the one that is named, or the one on PATH, if it is new enough.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let (major, minor) = MIN_SERVER_VERSION;
    let get_one = format!(
        "run ./just dev, which brings one to .tools/bin, for PATH or --nats-server, or install nats-server {major}.{minor} or newer"
    );
    if let Some(program) = named {
        let found = version(program).with_context(|| format!("{} is no nats-server that runs here: {get_one}", program.display()))?;
        if found < MIN_SERVER_VERSION {
            bail!("{} is nats-server {}.{}, too old: {get_one}", program.display(), found.0, found.1);
        }
        return Ok(program.to_owned());
    }
    let program = Path::new("nats-server");
    match version(program) {
        Ok(found) if found >= MIN_SERVER_VERSION => Ok(program.to_owned()),
        Ok(found) => bail!("the nats-server on PATH is {}.{}, too old: {get_one}", found.0, found.1),
        Err(_) => bail!("there is no nats-server on PATH that runs: {get_one}"),
    }
}

fn version(program: &Path) -> anyhow::Result<(u64, u64)> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.trim().strip_prefix("nats-server: v").ok_or_else(|| anyhow!("it does not say its version"))?;
    let mut parts = number.split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        (_, _) => bail!("it does not say its version"),
    }
}
