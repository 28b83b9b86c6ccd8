//! Where an audit of a bank that runs ends in each log: at positions that are closed under cause, so
//! that nothing in one log rests on what is behind the end of another. This module must never
//! interpret a record.

use std::{collections::BTreeMap, time::Duration};

use streams::{Broker, Cursor, LEADER_WAIT, LogName, Topology};
use tokio::time::{Instant, sleep};

/// Pause before a leader is asked again.
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(50);

/// Why an audit could not look.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A log cannot be read.
    #[error("the log {log} cannot be read ({why}): see that its nats-server is up, then audit again")]
    Log {
        /// Which.
        log: LogName,
        /// What happened.
        why: String,
    },
    /// The server holds something else.
    #[error("{0}: name the nats-server of a bank with --nats, or its data folder with --data")]
    NoBank(String),
    /// Our own failure.
    #[error("the audit itself failed: {0}")]
    Broken(String),
}

/// The end of a log.
#[derive(Debug, Default)]
struct End {
    /// The last record that is looked at.
    seq: u64,
    /// The last one that there is.
    last: u64,
    created: i64,
    /// What the last one that is looked at rests on.
    cursor: Cursor,
}

/// The ends of all logs.
#[derive(Debug, Default)]
pub(crate) struct Ends(BTreeMap<LogName, End>);

impl Ends {
    /// Asks downstream logs first, then moves upstream ends on to what the last records rest on and to
    /// `at_least`, until nothing moves any more.
    pub(crate) async fn find(broker: &Broker, topology: &Topology, at_least: &Cursor) -> Result<Self, AuditError> {
        let mut ends = Self::default();
        // streams.yaml has logs in the order in which payments go through them.
        let mut logs: Vec<LogName> = topology.all().map(|(name, _)| name).collect();
        logs.reverse();
        for log in &logs {
            let info = broker.log(log.clone()).info().await.map_err(|why| AuditError::Log { log: log.clone(), why })?;
            let end = End { seq: info.last, last: info.last, created: info.created, cursor: Cursor::default() };
            ends.0.insert(log.clone(), end);
        }
        let mut required = at_least.clone();
        let mut stale = logs.clone();
        while !stale.is_empty() {
            for log in stale.drain(..) {
                // Command logs have many writers, and no cursor of one covers those of others.
                if !topology.is_command_log(&log) {
                    required.merge(&ends.look(broker, &log).await?);
                }
            }
            stale.extend(ends.raise(broker, &required).await?);
        }
        // What was read so far may rest on what was appended meanwhile.
        for (log, end) in &mut ends.0 {
            end.last = last_of(broker, log, end.seq).await?;
        }
        Ok(ends)
    }

    /// Reads what the last record of a log rests on.
    async fn look(&mut self, broker: &Broker, log: &LogName) -> Result<Cursor, AuditError> {
        let Some(end) = self.0.get_mut(log).filter(|end| end.seq > 0) else { return Ok(Cursor::default()) };
        let read = broker.log(log.clone());
        let failed = |why| AuditError::Log { log: log.clone(), why };
        // A record that is gone or cannot be understood is for the checks to say.
        end.cursor = match read.read(end.seq, end.created).await {
            Ok(found) => found.map(|record| record.cursor).unwrap_or_default(),
            Err(why) if read.has(end.seq).await.map_err(failed)? => return Err(failed(why)),
            Err(_) => Cursor::default(),
        };
        Ok(end.cursor.clone())
    }

    /// Moves ends on to what is required, as far as there is something; says which moved.
    async fn raise(&mut self, broker: &Broker, required: &Cursor) -> Result<Vec<LogName>, AuditError> {
        let mut moved = Vec::new();
        for (log, end) in &mut self.0 {
            let wanted = required.get(log);
            if wanted > end.last {
                end.last = last_of(broker, log, wanted).await?;
            }
            if wanted.min(end.last) > end.seq {
                end.seq = wanted.min(end.last);
                moved.push(log.clone());
            }
        }
        Ok(moved)
    }

    /// The last record of a log that is looked at.
    pub(crate) fn seq(&self, log: &LogName) -> u64 {
        self.0.get(log).map_or(0, |end| end.seq)
    }

    /// The last record that a log has, where it is known here.
    pub(crate) fn last(&self, log: &LogName) -> Option<u64> {
        self.0.get(log).map(|end| end.last)
    }

    /// When a log was created.
    pub(crate) fn created(&self, log: &LogName) -> i64 {
        self.0.get(log).map_or(0, |end| end.created)
    }

    /// How far the owner of a log has read its inputs.
    pub(crate) fn cursor(&self, log: &LogName) -> &Cursor {
        static NOTHING: std::sync::LazyLock<Cursor> = std::sync::LazyLock::new(Cursor::default);
        self.0.get(log).map_or(&NOTHING, |end| &end.cursor)
    }

    /// All of it.
    pub(crate) fn records(&self) -> u64 {
        self.0.values().map(|end| end.seq).sum()
    }
}

/// Where a log ends of which somebody has seen the record `seen`: a new leader may not know that of its quorum for a while.
async fn last_of(broker: &Broker, log: &LogName, seen: u64) -> Result<u64, AuditError> {
    let since = Instant::now();
    loop {
        let info = broker.log(log.clone()).info().await.map_err(|why| AuditError::Log { log: log.clone(), why })?;
        if info.last >= seen || info.replicas == 1 || since.elapsed() > LEADER_WAIT {
            return Ok(info.last);
        }
        sleep(ASK_AGAIN_PAUSE).await;
    }
}

#[cfg(test)]
impl Ends {
    /// Ends of which the cursors are given.
    pub(crate) fn of(cursors: &[(LogName, Cursor)]) -> Self {
        Self(cursors.iter().map(|(log, cursor)| (log.clone(), End { cursor: cursor.clone(), ..End::default() })).collect())
    }
}
