//! Follows a log over reconnects, record by record, without gap or repeat. This module must never
//! interpret a record.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{Chain, Fault, Log, LogInfo, Mark, Record, pull};

/// Read ahead of whoever takes it: enough to make large batches of a backlog, and little for the
/// hundreds of followers that a process with many shards has.
const READ_AHEAD_RECORDS: usize = 1_024;
const READ_AHEAD_BYTES: usize = 512 * 1024;
/// Pause before a consumer is made again that could not be made or was lost.
const REOPEN_PAUSE: Duration = Duration::from_millis(50);
/// A new leader of a replicated log was seen to say that it ends before what was acknowledged, until it had
/// applied all that its quorum has. Only what it still says after this long is believed.
pub const LEADER_WAIT: Duration = Duration::from_secs(5);
/// A log is said to be out of reach after this many failed attempts, and then each time they have doubled.
const COMPLAIN_AFTER: u32 = 100;

/// A log being followed. Dropping it ends that.
#[derive(Debug)]
pub struct Follower {
    records: mpsc::Receiver<Result<Ahead, Fault>>,
    _task: AbortOnDropHandle<()>,
}

/// A record that was read ahead, with its share of the room for such.
#[derive(Debug)]
struct Ahead {
    record: Record,
    /// The server had no more when it sent this.
    is_last: bool,
    _room: OwnedSemaphorePermit,
}

impl Follower {
    pub(crate) fn start(log: Log, after: Mark) -> Self {
        Self::start_with(log, after, Mark::default, |_| {})
    }

    /// Whenever it begins anew it goes on from `known`, where that is further than it has read; `recognised` hears of each connection
    /// on which the log was found to be the one that was read so far.
    pub(crate) fn start_with(
        log: Log,
        after: Mark,
        known: impl Fn() -> Mark + Send + Sync + 'static,
        recognised: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        let (sender, records) = mpsc::channel(READ_AHEAD_RECORDS);
        let task = AbortOnDropHandle::new(tokio::spawn(run(log, after, known, recognised, sender)));
        Self { records, _task: task }
    }

    /// The next record. It waits as long as there is none, over any outage.
    ///
    /// # Errors
    /// [`Fault`], after which nothing more comes.
    pub async fn next(&mut self) -> Result<Record, Fault> {
        match self.records.recv().await {
            Some(ahead) => ahead.map(|ahead| ahead.record),
            None => std::future::pending().await,
        }
    }

    /// The next record, and whether the server had no more when it sent it.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Record, bool), Fault>> {
        match self.records.poll_recv(cx) {
            Poll::Ready(Some(ahead)) => Poll::Ready(ahead.map(|ahead| (ahead.record, ahead.is_last))),
            // The task ended after a fault that was handed out, or with the runtime.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

pub(crate) enum Interrupted {
    /// Try again from where it stands.
    Retry(String),
    /// Stop for good.
    Fault(Fault),
    /// Nobody listens any more.
    Dropped,
}

impl From<Fault> for Interrupted {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<String> for Interrupted {
    fn from(why: String) -> Self {
        Self::Retry(why)
    }
}

async fn run(
    log: Log,
    mut after: Mark,
    known: impl Fn() -> Mark + Send + Sync,
    recognised: impl Fn(u64) + Send + Sync,
    sender: mpsc::Sender<Result<Ahead, Fault>>,
) {
    let mut attempts = 0_u32;
    loop {
        let known = known();
        after = if known.seq > after.seq { known } else { after };
        let start = after.seq;
        match read_on(&log, &mut after, &recognised, &sender).await {
            Interrupted::Dropped => return,
            Interrupted::Fault(fault) => {
                // Whoever is gone does not need to know.
                let _ = sender.send(Err(fault)).await;
                return;
            }
            Interrupted::Retry(why) => {
                attempts = if after.seq > start { 1 } else { attempts.saturating_add(1) };
                if attempts.is_multiple_of(COMPLAIN_AFTER) && (attempts / COMPLAIN_AFTER).is_power_of_two() {
                    tracing::warn!(log = %log.name(), attempts, why, "A log is out of reach; still trying");
                }
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
        }
    }
}

/// Reads until something interrupts.
async fn read_on(
    log: &Log,
    after: &mut Mark,
    recognised: &(impl Fn(u64) + Send + Sync),
    sender: &mpsc::Sender<Result<Ahead, Fault>>,
) -> Interrupted {
    match try_read_on(log, after, recognised, sender).await {
        Ok(never) => match never {},
        Err(interrupted) => interrupted,
    }
}

async fn try_read_on(
    log: &Log,
    after: &mut Mark,
    recognised: &(impl Fn(u64) + Send + Sync),
    sender: &mpsc::Sender<Result<Ahead, Fault>>,
) -> Result<std::convert::Infallible, Interrupted> {
    let mut link = log.broker.link();
    let generation = link.borrow_and_update().generation;
    let info = recognise(log, after).await?;
    recognised(generation);
    let (created, mut more) = (info.created, info.last > after.seq);
    let room = Arc::new(Semaphore::new(READ_AHEAD_BYTES));
    let mut messages = pull::messages(log, after.seq + 1).await?;
    let mut is_first = true;
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            // A server that was restarted has forgotten its consumers: make a new one at once.
            _ = link.wait_for(|link| link.generation != generation) => return Err("reconnected".to_owned().into()),
            () = sender.closed() => return Err(Interrupted::Dropped),
            why = pull::stalled(more) => return Err(why.into()),
        };
        let message = message.ok_or_else(|| "the consumer ended".to_owned())?.map_err(|error| error.to_string())?;
        let about = message.info().map_err(|error| error.to_string())?;
        let seq = about.stream_sequence;
        more = about.pending > 0;
        if seq <= after.seq {
            continue;
        }
        if seq != after.seq + 1 {
            // What got lost on the way, be it with a connection, comes when it is asked for again; what the log lacks does not.
            let gap = Fault::Gap { log: log.name().clone(), after: after.seq, found: seq };
            let is_lacking = is_first && !log.has(after.seq + 1).await?;
            return Err(if is_lacking { gap.into() } else { gap.to_string().into() });
        }
        is_first = false;
        let message = message.message;
        let record = Record::parse(log.name(), seq, created, message.headers.as_ref(), message.payload)?;
        if let Some(chain) = chain_at(after) {
            record.continues(chain)?;
        }
        *after = record.mark();
        send_ahead(record, !more, &room, sender).await.ok_or(Interrupted::Dropped)?;
    }
}

/// Hands a record on once there is room; none if nobody takes it any more.
async fn send_ahead(record: Record, is_last: bool, room: &Arc<Semaphore>, sender: &mpsc::Sender<Result<Ahead, Fault>>) -> Option<()> {
    let bytes = u32::try_from(record.len().clamp(1, READ_AHEAD_BYTES)).ok()?;
    let room = Arc::clone(room).acquire_many_owned(bytes).await.ok()?;
    sender.send(Ok(Ahead { record, is_last, _room: room })).await.ok()
}

/// The hash that the next record must continue, where it is known.
fn chain_at(mark: &Mark) -> Option<Chain> {
    if mark.seq == 0 { Some(Chain::default()) } else { mark.chain }
}

/// Makes sure that the log is the one that was read up to `after`; says how it stands.
pub(crate) async fn recognise(log: &Log, after: &Mark) -> Result<LogInfo, Interrupted> {
    let (name, seq) = (log.name().clone(), after.seq);
    let since = Instant::now();
    let mut info = log.info().await?;
    let is_it = |created| after.created.is_none_or(|before| before == created);
    while info.last < seq && is_it(info.created) && info.replicas > 1 && since.elapsed() < LEADER_WAIT {
        tokio::time::sleep(REOPEN_PAUSE).await;
        info = log.info().await?;
    }
    let created = info.created;
    if seq > 0 && !is_it(created) {
        return Err(Fault::Replaced { log: name, seq }.into());
    }
    if info.last < seq {
        return Err(Fault::LostTail { log: name, last: info.last, expected: seq }.into());
    }
    if seq > 0 && after.chain.is_some() {
        let read = log.read(seq, created).await;
        if read.is_err() && !log.has(seq).await? {
            return Err(Fault::Gap { log: name, after: seq - 1, found: seq + 1 }.into());
        }
        if read??.mark().chain != after.chain {
            return Err(Fault::Replaced { log: name, seq }.into());
        }
    }
    if info.records == 0 && info.last > seq {
        return Err(Fault::Gap { log: name, after: seq, found: info.last + 1 }.into());
    }
    Ok(info)
}
