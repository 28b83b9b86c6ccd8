//! Processes that end with this one, however it ends. The kernel sends a death signal when the *thread* that
//! started a process ends, so one thread that lives as long as this process starts them all. This module
//! must never know what they are.

use std::{
    io,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// How long a process has to end in order; its data is thrown away, so there is little to do.
const END_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether it has: seldom enough to cost nothing, often enough to be no wait.
const END_POLL: Duration = Duration::from_millis(10);

type Order = (Command, mpsc::Sender<io::Result<Child>>);

static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

/// Starts a process that asks the kernel for a death signal, or is started by way of something that does.
///
/// # Errors
/// Where it cannot be started.
pub fn spawn(command: Command) -> anyhow::Result<Child> {
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                // Whoever ordered it may have gone.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let name = command.get_program().to_owned();
    let (answer, started) = mpsc::channel();
    starter.send((command, answer)).context("what starts processes has ended")?;
    started.recv().context("what starts processes has ended")?.with_context(|| format!("{} cannot be started", name.display()))
}

/// Asks a process to end, and ends it by force where it does not within [`END_WAIT`].
pub fn end(child: &mut Child, how: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, how);
    }
    let deadline = Instant::now() + END_WAIT;
    while Instant::now() < deadline {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        thread::sleep(END_POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
