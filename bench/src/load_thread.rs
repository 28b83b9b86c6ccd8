//! The thread that a load client runs on, alone, so that nothing else of the bench delays it; and the times between
//! which it counts. This module must never know what the load is.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::{
    io::unix::AsyncFd,
    runtime::Builder,
    sync::{Notify, oneshot},
    task::{LocalSet, spawn_blocking},
};

use crate::cpu::{CpuSeconds, CpuWatch, Group};

/// How long the last answers and messages are waited for.
pub(crate) const LAST_WAIT: Duration = Duration::from_secs(10);
/// Longest latency that is told from longer ones: nothing waits longer.
const LONGEST_MICROS: u64 = 120_000_000;
/// Figures of a latency: a tenth of a percent.
const FIGURES: u8 = 3;

/// Latencies in microseconds.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LONGEST_MICROS, FIGURES)?)
}

/// As a latency is recorded.
pub(crate) fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// When the `number`-th of so many a second is due, from 0.
pub(crate) fn due_after(number: u64, per_second: u64) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Runs a load client to its end, on a thread of its own.
pub(crate) async fn on_own_thread<T, F>(client: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (answer, result) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("load client".to_owned()).spawn(move || {
        let result = LocalSet::new().block_on(&runtime, async { client().await });
        // Who asked may have gone.
        let _ = answer.send(result);
    })?;
    result.await.context("the load client panicked")?
}

/// When load begins, and between which times it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

impl Window {
    pub(crate) fn from_now(warm_up: Duration, duration: Duration) -> Self {
        let start = Instant::now();
        Self { start, from: start + warm_up, until: start + warm_up + duration }
    }

    pub(crate) fn holds(&self, at: Instant) -> bool {
        (self.from..self.until).contains(&at)
    }

    /// What these used of the processors between the two times. It is read beside the load, which is not to wait for it.
    pub(crate) async fn cpu(self, groups: Vec<Group>) -> anyhow::Result<CpuSeconds> {
        tokio::time::sleep_until(self.from.into()).await;
        let watch = spawn_blocking(|| CpuWatch::start(groups)).await??;
        tokio::time::sleep_until(self.until.into()).await;
        spawn_blocking(move || watch.stop()).await?
    }
}

/// Wakes to the microsecond: the runtime's own timer has a grain of a millisecond, which is as much as is measured.
#[derive(Debug)]
pub(crate) struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    #[expect(
        deprecated,
        reason = "unsound with types that later give away another descriptor; OwnedFd does not, and there is no unsafe code here"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer: AsyncFd::new(timer)? })
    }

    pub(crate) async fn until(&self, due: Instant) -> io::Result<()> {
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        let seconds = i64::try_from(wait.as_secs()).map_err(io::Error::other)?;
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: seconds, tv_nsec: i64::from(wait.subsec_nanos()) },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut guard = self.timer.readable().await?;
            let mut expirations = [0; 8];
            if let Ok(read) = guard.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                return read.map(|_| ());
            }
        }
    }
}

/// What was due and waits for a connection. Its length is bounded by who fills it.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: RefCell<VecDeque<T>>,
    is_closed: Cell<bool>,
    changed: Notify,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: RefCell::default(), is_closed: Cell::new(false), changed: Notify::new() }
    }
}

impl<T> Queue<T> {
    pub(crate) fn push(&self, item: T) {
        self.waiting.borrow_mut().push_back(item);
        self.changed.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Whoever waits gets what is left, then nothing.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.changed.notify_waiters();
    }

    pub(crate) async fn pop(&self) -> Option<T> {
        loop {
            // Before looking, so that no change falls between.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(item) = self.waiting.borrow_mut().pop_front() {
                return Some(item);
            }
            if self.is_closed.get() {
                return None;
            }
            changed.await;
        }
    }
}
