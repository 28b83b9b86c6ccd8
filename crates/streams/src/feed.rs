//! A log read once by a process, for all that follow it there. Its newest records stand in a ring; who
//! has fallen behind the ring reads on alone until it is back. What this process appends itself stands
//! there as soon as it is acknowledged, with its events, so that nobody has to decode them; and while it is the
//! log's writer, and hands on all there is, nothing is read back from the server.
//! This module must never interpret a record.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use crate::{Chain, Draft, Fault, Follower, Link, Log, LogName, Mark, Record};

/// How long a ring keeps a record that is followed by others: longer than a fold waits for its disk. Who falls behind
/// reads and decodes again what others have: with a tenth of this, payments took a third more processor time.
const RING_KEEPS: Duration = Duration::from_secs(1);
/// Payloads that it keeps at most, half a second at full load. There are four rings a shard.
const RING_BYTES: usize = 16 * 1024 * 1024;

/// A writer that hands on everything may have lost its log to another process without a word, while nothing
/// comes in. So a log must have been handed on here to where it ended when it was asked this long ago.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The logs that are read in a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feeds(Arc<Mutex<HashMap<LogName, Weak<Feed>>>>);

#[derive(Debug)]
struct Feed {
    ring: Arc<Mutex<Ring>>,
    /// The connection by which the ring is filled.
    link: watch::Receiver<Link>,
    /// Whether the log's writer is in this process, and the ring has all that it appended.
    is_handed_on: Arc<watch::Sender<bool>>,
    _task: AbortOnDropHandle<()>,
}

/// The writer of a log in this process, for as long as nobody is known to have appended besides.
#[derive(Debug)]
pub(crate) struct Writer {
    feeds: Feeds,
    log: LogName,
}

#[derive(Debug)]
struct Ring {
    /// With the time at which each came.
    records: VecDeque<(Instant, Record)>,
    bytes: usize,
    /// The newest record.
    last: Mark,
    /// On which connection the log was found to be the one that stands here. Before that nothing is handed on: a log that has lost its
    /// tail grows again with the first appends, and what was lost would never be missed.
    recognised: Option<u64>,
    /// Something is wrong with the log; whoever reads it alone is told what.
    has_ended: bool,
    waiting: Vec<Waker>,
}

impl Feeds {
    /// The feed of a log for one who has read up to `at`; it begins there where there is none. None for
    /// one who has read another log under this name.
    fn join(&self, log: &Log, at: Mark) -> Option<Arc<Feed>> {
        let mut feeds = lock(&self.0);
        let running = feeds.get(log.name()).and_then(Weak::upgrade).filter(|feed| !lock(&feed.ring).has_ended);
        let feed = running.unwrap_or_else(|| {
            let feed = Arc::new(Feed::start(log, at));
            feeds.insert(log.name().clone(), Arc::downgrade(&feed));
            feed
        });
        let fits = lock(&feed.ring).fits(&at);
        fits.then_some(feed)
    }

    /// Hands on what this process has appended at `seq`, where somebody follows the log.
    pub(crate) fn offer<E: Send + Sync + 'static>(&self, log: &LogName, seq: u64, draft: Draft, events: Arc<Vec<E>>) {
        if let Some(feed) = self.running(log) {
            feed.offer(log, seq, draft, events);
        }
    }

    /// Who appends to `log` from here on, expecting to be the only one.
    pub(crate) fn writer(&self, log: &LogName) -> Writer {
        Writer { feeds: self.clone(), log: log.clone() }
    }

    fn running(&self, log: &LogName) -> Option<Arc<Feed>> {
        lock(&self.0).get(log).and_then(Weak::upgrade)
    }
}

impl Writer {
    /// Hands on what was appended at `seq`.
    pub(crate) fn offer<E: Send + Sync + 'static>(&self, seq: u64, draft: Draft, events: Arc<Vec<E>>) {
        if let Some(feed) = self.feeds.running(&self.log) {
            let is_handed_on = feed.offer(&self.log, seq, draft, events);
            feed.is_handed_on.send_if_modified(|before| std::mem::replace(before, is_handed_on) != is_handed_on);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(feed) = self.feeds.running(&self.log) {
            feed.is_handed_on.send_replace(false);
        }
    }
}

impl Feed {
    fn start(log: &Log, at: Mark) -> Self {
        let ring = Ring { records: VecDeque::new(), bytes: 0, last: at, recognised: None, has_ended: false, waiting: Vec::new() };
        let (ring, is_handed_on) = (Arc::new(Mutex::new(ring)), Arc::new(watch::Sender::new(false)));
        let filling = fill(log.clone(), Arc::clone(&ring), Arc::clone(&is_handed_on));
        Self { ring, link: log.broker.link(), is_handed_on, _task: AbortOnDropHandle::new(tokio::spawn(filling)) }
    }

    /// Whether it was the next record.
    fn offer<E: Send + Sync + 'static>(&self, log: &LogName, seq: u64, draft: Draft, events: Arc<Vec<E>>) -> bool {
        let Link { connected, generation } = *self.link.borrow();
        let mut ring = lock(&self.ring);
        let is_recognised = connected && ring.recognised == Some(generation);
        let created = ring.last.created.filter(|_| is_recognised && seq == ring.last.seq + 1);
        if let Some(created) = created {
            ring.push(draft.stored(log.clone(), seq, created, events));
        }
        created.is_some()
    }
}

/// Fills a ring from the server, except while it is handed on all there is.
async fn fill(log: Log, ring: Arc<Mutex<Ring>>, is_handed_on: Arc<watch::Sender<bool>>) {
    let mut handed_on = is_handed_on.subscribe();
    loop {
        let (at, known, recognised) = (lock(&ring).last, Arc::clone(&ring), Arc::clone(&ring));
        let mut link = log.broker.link();
        let generation = link.borrow_and_update().generation;
        let found = move |generation| lock(&recognised).recognised = Some(generation);
        let mut follower = Follower::start_with(log.clone(), at, move || lock(&known).last, found);
        loop {
            tokio::select! {
                read = follower.next() => match read {
                    Ok(record) => lock(&ring).push(record),
                    Err(_) => return lock(&ring).end(),
                },
                // The sender is held here as well.
                _ = handed_on.wait_for(|is_handed_on| *is_handed_on) => break,
            }
        }
        drop(follower);
        tokio::select! {
            _ = handed_on.wait_for(|is_handed_on| !*is_handed_on) => {}
            // What is behind a new connection may be another log, which a follower finds out.
            _ = link.wait_for(|link| link.generation != generation) => {}
            () = left_behind(&log, &ring) => {}
        }
        is_handed_on.send_replace(false);
    }
}

/// Ends when the log has had more for a while than the ring, or is another one.
async fn left_behind(log: &Log, ring: &Mutex<Ring>) {
    let mut end = 0;
    while lock(ring).last.seq >= end {
        // A server that does not answer is noticed by those who append.
        if let Ok(info) = log.info().await {
            end = if lock(ring).last.created == Some(info.created) { info.last } else { u64::MAX };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Ring {
    /// Takes a record over, if it is the next one: what was offered comes from the server once more.
    fn push(&mut self, record: Record) {
        if record.seq != self.last.seq + 1 {
            return;
        }
        self.last = record.mark();
        self.bytes += record.len();
        let now = Instant::now();
        self.records.push_back((now, record));
        while let Some((came, oldest)) = self.records.front()
            && self.records.len() > 1
            && (self.bytes > RING_BYTES || *came + RING_KEEPS < now)
        {
            self.bytes -= oldest.len();
            self.records.pop_front();
        }
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Whether the log is the one that was read up to `at`, as far as that can be seen here.
    fn fits(&self, at: &Mark) -> bool {
        let same = |one: Option<Chain>, other: Option<Chain>| one.is_none() || other.is_none() || one == other;
        match self.after(at) {
            Some(next) => at.chain.is_none_or(|chain| next.continues(chain).is_ok()),
            None => at.seq > self.last.seq || (at.seq == self.last.seq && same(at.chain, self.last.chain)),
        }
    }

    fn after(&self, at: &Mark) -> Option<&Record> {
        let (_, first) = self.records.front()?;
        let (_, next) = self.records.get(usize::try_from((at.seq + 1).checked_sub(first.seq)?).ok()?)?;
        Some(next)
    }
}

/// One who follows a log, alone or with others.
#[derive(Debug)]
pub(crate) struct Tap {
    log: Log,
    at: Mark,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Alone(Follower),
    Shared(Arc<Feed>),
}

impl Tap {
    /// Follows a log from behind `at`.
    pub(crate) fn new(log: Log, at: Mark) -> Self {
        let source = Source::Alone(log.follow(at));
        Self { log, at, source }
    }

    /// The next record.
    ///
    /// # Errors
    /// [`Fault`], after which nothing more comes.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Record, Fault>> {
        loop {
            match &mut self.source {
                Source::Alone(follower) => {
                    let Poll::Ready(read) = follower.poll_next(cx) else { return Poll::Pending };
                    return Poll::Ready(read.map(|(record, is_last)| self.took(record, is_last)));
                }
                Source::Shared(feed) => {
                    let mut ring = lock(&feed.ring);
                    if let Some(record) = ring.after(&self.at) {
                        let record = record.clone();
                        self.at = record.mark();
                        return Poll::Ready(Ok(record));
                    }
                    if self.at.seq >= ring.last.seq && !ring.has_ended {
                        if !ring.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                            ring.waiting.push(cx.waker().clone());
                        }
                        return Poll::Pending;
                    }
                }
            }
            self.source = Source::Alone(self.log.follow(self.at));
        }
    }

    fn took(&mut self, record: Record, is_last: bool) -> Record {
        self.at = record.mark();
        if is_last && let Some(feed) = self.log.broker.feeds.join(&self.log, self.at) {
            self.source = Source::Shared(feed);
        }
        record
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds the lock can panic half-way through a change.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
