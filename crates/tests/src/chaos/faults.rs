//! How each fault is made, and mended again where it does not mend itself. This module must never
//! judge what comes of it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::freeze;

use super::{
    bank::{Bank, Process, signal},
    disk,
    proxy::Network,
    schedule::{Event, Fault},
};

/// How much later answers come over a slow network, chunk by chunk.
const SLOW: Duration = Duration::from_millis(40);
/// What is overwritten in a damaged file: some pages of redb.
const DAMAGE_BYTES: u64 = 16 * 1024;

/// What became of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injected {
    /// It happened; from this moment on payments have to flow.
    At(Instant),
    /// This machine cannot make it.
    Skipped(&'static str),
}

/// Makes a fault happen. Payments have to flow again from its begin on where it leaves a `serve`
/// untouched, and else from its end on.
///
/// # Errors
/// Where it could neither be made nor is known to be impossible here.
pub async fn inject(bank: &mut Bank, event: &Event) -> anyhow::Result<Injected> {
    let begun = Instant::now();
    Ok(match make(bank, event).await.with_context(|| format!("{event:?}"))? {
        Injected::At(_) if event.fault.leaves_one() => Injected::At(begun),
        injected @ (Injected::At(_) | Injected::Skipped(_)) => injected,
    })
}

async fn make(bank: &mut Bank, event: &Event) -> anyhow::Result<Injected> {
    let serve = event.serve;
    match event.fault {
        Fault::KillServe => killed(&mut [&mut bank.serves[serve]], event.lasting).await,
        Fault::KillBoth => {
            let [first, second] = &mut bank.serves;
            killed(&mut [first, second], event.lasting).await
        }
        Fault::KillNats => {
            signal(bank.nats.child()?, Signal::KILL)?;
            Ok(Injected::At(Instant::now()))
        }
        Fault::KillSupervisor => killed(&mut [&mut bank.nats], event.lasting).await,
        Fault::PauseServe => paused(bank.serves[serve].pid()?, event.lasting).await,
        Fault::PauseNats => paused(bank.nats.child()?, event.lasting).await,
        Fault::Cut => networked(bank, event, Network::Cut).await,
        Fault::Delay => networked(bank, event, Network::Slow(SLOW)).await,
        Fault::Swallow => {
            networked(bank, event, Network::Deaf).await?;
            // What was lost is not sent again: the connection is of no use any more.
            networked(bank, event, Network::Cut).await
        }
        Fault::DeleteFiles => with_files(bank, event, |files| files.iter().try_for_each(|file| Ok(fs::remove_file(file)?))).await,
        Fault::TruncateFile => with_one_file(bank, event, |file, length| file.set_len(length / 2)).await,
        Fault::DamageFile => {
            let damage = |file: &File, length: u64| {
                let at = event.choice % length.saturating_sub(DAMAGE_BYTES).max(1);
                file.write_all_at(&vec![0xA5; usize::try_from(DAMAGE_BYTES).unwrap_or_default()], at)
            };
            with_one_file(bank, event, damage).await
        }
        Fault::FullLogDisk => full(&bank.log_disk, event.lasting).await,
        Fault::FullModelDisk => full(&bank.model_disks[serve], event.lasting).await,
        Fault::FailingFsync => failing_fsync(bank.nats.child()?, event.lasting).await,
        Fault::PowerCut => power_cut(bank).await,
    }
}

async fn killed(processes: &mut [&mut Process], lasting: Duration) -> anyhow::Result<Injected> {
    for process in processes.iter_mut() {
        process.kill()?;
    }
    sleep(lasting).await;
    for process in processes.iter_mut() {
        process.start()?;
    }
    Ok(Injected::At(Instant::now()))
}

async fn paused(pid: u32, lasting: Duration) -> anyhow::Result<Injected> {
    signal(pid, Signal::STOP)?;
    sleep(lasting).await;
    signal(pid, Signal::CONT)?;
    Ok(Injected::At(Instant::now()))
}

async fn networked(bank: &Bank, event: &Event, network: Network) -> anyhow::Result<Injected> {
    bank.networks[event.serve].set(network);
    sleep(event.lasting).await;
    bank.networks[event.serve].set(Network::Good);
    Ok(Injected::At(Instant::now()))
}

/// Does something to the redb files of one `serve` while it is down.
async fn with_files(bank: &mut Bank, event: &Event, act: impl FnOnce(&[PathBuf]) -> anyhow::Result<()>) -> anyhow::Result<Injected> {
    bank.serves[event.serve].kill()?;
    let mut files = Vec::new();
    for folder in ["models", "state"] {
        for entry in fs::read_dir(bank.data(event.serve).join(folder))? {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "redb"));
    files.sort();
    act(&files)?;
    bank.serves[event.serve].start()?;
    Ok(Injected::At(Instant::now()))
}

async fn with_one_file(bank: &mut Bank, event: &Event, act: impl FnOnce(&File, u64) -> std::io::Result<()>) -> anyhow::Result<Injected> {
    let choose = |files: &[PathBuf]| {
        let index = usize::try_from(event.choice % files.len().max(1) as u64)?;
        let file = File::options().write(true).open(files.get(index).context("no redb file at all")?)?;
        Ok(act(&file, file.metadata()?.len())?)
    };
    with_files(bank, event, choose).await
}

async fn full(disk: &super::disk::Disk, lasting: Duration) -> anyhow::Result<Injected> {
    if !disk.is_real() {
        return Ok(Injected::Skipped("no disk can be mounted here"));
    }
    disk.fill()?;
    sleep(lasting).await;
    disk.free()?;
    Ok(Injected::At(Instant::now()))
}

/// How long strace has to let go of a process.
const DETACH_WAIT: Duration = Duration::from_secs(2);

async fn failing_fsync(pid: u32, lasting: Duration) -> anyhow::Result<Injected> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &pid.to_string(), "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
    strace.args(["-e", "inject=fsync,fdatasync:error=EIO"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let Ok(mut strace) = strace.spawn() else { return Ok(Injected::Skipped("strace is not installed")) };
    let tracer = strace.id().context("it was just started")?;
    let is_attached = attached(pid, tracer).await;
    if is_attached {
        sleep(lasting).await;
    }
    // It detaches by itself, and is gone already where nats-server was started again meanwhile; where that
    // was killed just then, it was seen to wait for it for ever.
    if strace.try_wait()?.is_none() {
        signal(tracer, Signal::INT)?;
    }
    if timeout(DETACH_WAIT, strace.wait()).await.is_err() {
        strace.kill().await?;
    }
    Ok(if is_attached { Injected::At(Instant::now()) } else { Injected::Skipped("strace may not attach here") })
}

/// Waits until the kernel says that a process is traced by the other; false, if that one ends instead.
async fn attached(pid: u32, tracer: u32) -> bool {
    let is_tracer = format!("TracerPid:\t{tracer}\n");
    let is_traced = || fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&is_tracer));
    let waited = crate::eventually("strace attaches", || async { Ok((is_traced() || is_gone(tracer)).then_some(())) });
    waited.await.is_ok() && is_traced()
}

/// Whether a process has ended, though its parent may not have noticed.
fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

async fn power_cut(bank: &mut Bank) -> anyhow::Result<Injected> {
    let Bank { nats, serves, log_disk, model_disks, .. } = bank;
    let disks = [&*log_disk, &model_disks[0], &model_disks[1]];
    if !disks.iter().all(|disk| disk.is_real()) {
        return Ok(Injected::Skipped("no disk can be mounted here"));
    }
    if !disk::can_cut_power() {
        return Ok(Injected::Skipped("python3 is not installed"));
    }
    let server = nats.child()?;
    // In the moment of the cut nobody runs: an fsync that is under way while the kernel shuts its file
    // system down may return success for bytes that are lost, which no power cut does to anybody alive.
    // (A program that only writes and fsyncs saw that in one of 25 cuts.)
    for pid in [server, serves[0].pid()?, serves[1].pid()?] {
        freeze(pid)?;
    }
    for disk in disks {
        disk.cut_power()?;
    }
    nats.kill()?;
    serves.iter_mut().try_for_each(Process::kill)?;
    crate::eventually("nats-server ends with its supervisor", || async { Ok(is_gone(server).then_some(())) }).await?;
    for disk in disks {
        disk.plug_in_again()?;
    }
    nats.start()?;
    serves.iter_mut().try_for_each(Process::start)?;
    Ok(Injected::At(Instant::now()))
}

/// Makes sure that nothing of the bank has ended by itself.
///
/// # Errors
/// Where a process of the bank has ended by itself.
pub fn all_run(bank: &mut Bank) -> anyhow::Result<()> {
    for process in bank.serves.iter_mut().chain([&mut bank.nats]) {
        ensure!(process.runs()?, "a process has ended by itself");
    }
    Ok(())
}
