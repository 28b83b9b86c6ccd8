//! Reads a log from its first record to an end, for whoever checks it: what is wrong is said, and the
//! reading goes on behind it. This module must never interpret a record.

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{Chain, Fault, Log, LogInfo, Record, pull};

/// Records parsed ahead of whoever takes them: enough that reading and checking do not wait for each
/// other. What a server sends at once is bounded by the pull.
const READ_AHEAD_RECORDS: usize = 64;
/// A server that gives nothing to so many consumers one after the other will not do.
const ATTEMPTS: u32 = 10;

/// What stands in a log, in its order.
#[derive(Debug)]
pub enum Sighting {
    /// A record that can be read.
    Record(Record),
    /// What is wrong at, or before, the next one.
    Fault(Fault),
}

/// A log being read to an end. Dropping it ends that.
#[derive(Debug)]
pub struct Scan {
    sightings: mpsc::Receiver<Result<Sighting, String>>,
    _task: AbortOnDropHandle<()>,
}

impl Scan {
    pub(crate) fn start(log: Log, end: u64) -> Self {
        let (sender, sightings) = mpsc::channel(READ_AHEAD_RECORDS);
        let task = async move {
            if let Err(why) = run(&log, end, &sender).await {
                // Whoever is gone does not need to know.
                let _ = sender.send(Err(why)).await;
            }
        };
        Self { sightings, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// What comes next; nothing behind the end.
    ///
    /// # Errors
    /// A sentence, where the server does not give it.
    pub async fn next(&mut self) -> Result<Option<Sighting>, String> {
        self.sightings.recv().await.transpose()
    }
}

async fn run(log: &Log, end: u64, sender: &mpsc::Sender<Result<Sighting, String>>) -> Result<(), String> {
    let info = log.info().await?;
    let mut place = Place { log, created: info.created, seq: 0, chain: Some(Chain::default()) };
    let mut attempts = 0;
    while place.seq < end {
        let start = place.seq;
        match read_on(&mut place, end, &info, sender).await {
            Ok(()) => break,
            Err(why) => {
                attempts = if place.seq > start { 1 } else { attempts + 1 };
                if attempts >= ATTEMPTS {
                    return Err(why);
                }
            }
        }
    }
    if place.seq < end {
        let gap = Fault::Gap { log: log.name().clone(), after: place.seq, found: end + 1 };
        let _ = sender.send(Ok(Sighting::Fault(gap))).await;
    }
    Ok(())
}

/// Reads on to the end, or to the last message that there is.
async fn read_on(place: &mut Place<'_>, end: u64, info: &LogInfo, sender: &mpsc::Sender<Result<Sighting, String>>) -> Result<(), String> {
    // Of a log that lacks records the last ones may be among them; then nothing more comes.
    let lacks_some = info.records < info.last;
    let mut more = info.records > 0;
    let mut messages = pull::messages(place.log, place.seq + 1).await?;
    let mut is_first = true;
    while place.seq < end && more {
        let message = tokio::select! {
            message = messages.next() => message,
            why = pull::stalled(true) => return Err(why),
        };
        let message = message.ok_or_else(|| "the consumer ended".to_owned())?.map_err(|error| error.to_string())?;
        let about = message.info().map_err(|error| error.to_string())?;
        let (seq, pending) = (about.stream_sequence, about.pending);
        more = pending > 0 || !lacks_some;
        if seq <= place.seq {
            continue;
        }
        if seq > end {
            break;
        }
        // What got lost on the way, be it with a connection, comes when it is asked for again; what the log lacks does not.
        if seq != place.seq + 1 && (!is_first || place.log.has(place.seq + 1).await?) {
            return Err(format!("the server left out what is behind {}", place.seq));
        }
        is_first = false;
        for sighting in place.arrive(seq, message.message) {
            if sender.send(Ok(sighting)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How far the reading has come.
struct Place<'a> {
    log: &'a Log,
    created: i64,
    seq: u64,
    /// The hash that the next record must continue, where it is known.
    chain: Option<Chain>,
}

impl Place<'_> {
    /// What a message at `seq` is: a fault or none before it, then itself or what is wrong with it.
    fn arrive(&mut self, seq: u64, message: async_nats::Message) -> impl Iterator<Item = Sighting> {
        let name = self.log.name();
        let gap = (seq != self.seq + 1).then(|| Fault::Gap { log: name.clone(), after: self.seq, found: seq });
        let before = if gap.is_some() { None } else { self.chain };
        self.seq = seq;
        let (broken, sighting) = match Record::parse(name, seq, self.created, message.headers.as_ref(), message.payload) {
            Ok(record) => {
                self.chain = Some(record.hash());
                (before.and_then(|before| record.continues(before).err()), Sighting::Record(record))
            }
            Err(fault) => {
                self.chain = None;
                (None, Sighting::Fault(fault))
            }
        };
        gap.into_iter().chain(broken).map(Sighting::Fault).chain([sighting])
    }
}
