//! How the logs stand by their leaders' word, and how far this process's read models are behind them.
//! This module must never decide what to do about it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Mutex, time::Instant};

use crate::{Host, LogInfo, LogName};

/// A log that does not answer for this long is out of reach. One that is well takes a millisecond, and
/// whoever asks how a process stands gives up after some seconds.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// However often somebody asks, the server is asked for all logs once in this time.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// A read model that is further behind does not keep up: it folds as many records in one batch, which
/// takes less than a second.
pub const MAX_LAG_RECORDS: u64 = 2_048;

/// What was seen.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Every log: how it stands, or why nobody knows.
    pub logs: BTreeMap<LogName, Result<LogInfo, String>>,
    /// How many records each read model has still to fold; none where one of its logs is out of reach.
    pub lags: BTreeMap<LogName, Option<u64>>,
}

impl Survey {
    /// Whether each log is in reach, and no read model too far behind.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.logs.values().all(Result::is_ok) && self.lags.values().all(|lag| lag.is_some_and(|lag| lag <= MAX_LAG_RECORDS))
    }

    async fn take(host: &Host) -> Self {
        let logs: BTreeMap<_, _> = join_all(host.topology.all().map(|(log, _)| ask(host, log))).await.into_iter().collect();
        let lag = |(model, folded): (LogName, crate::Cursor)| {
            let reads = host.topology.read_by(model.base(), model.shard());
            let behind = reads.iter().map(|log| Some(logs.get(log)?.as_ref().ok()?.last.saturating_sub(folded.get(log))));
            let lag = behind.sum();
            (model, lag)
        };
        let lags = host.health.folded().into_iter().map(lag).collect();
        Self { logs, lags }
    }
}

async fn ask(host: &Host, name: LogName) -> (LogName, Result<LogInfo, String>) {
    if !host.broker.link().borrow().connected {
        return (name, Err("no connection to nats-server".to_owned()));
    }
    let log = host.broker.log(name.clone());
    let answer = tokio::time::timeout(ANSWER_WAIT, log.info()).await;
    (name, answer.unwrap_or_else(|_| Err("no answer".to_owned())))
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    survey: Arc<Survey>,
}

/// Looks for whoever asks, and lets those who ask at once share what was seen.
#[derive(Debug, Clone)]
pub struct Surveyor {
    /// Whose logs and read models.
    pub host: Host,
    last: Arc<Mutex<Option<Seen>>>,
}

impl Surveyor {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self { host, last: Arc::default() }
    }

    /// How things stand now, or stood a moment ago.
    pub async fn look(&self) -> Arc<Survey> {
        let mut last = self.last.lock().await;
        if let Some(seen) = &*last
            && seen.at.elapsed() < FRESH_FOR
        {
            return Arc::clone(&seen.survey);
        }
        let survey = Arc::new(Survey::take(&self.host).await);
        *last = Some(Seen { at: Instant::now(), survey: Arc::clone(&survey) });
        survey
    }
}
