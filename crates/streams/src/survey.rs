//! How the logs stand by their leaders' word, and how far this process's read models are behind them.
//! This module must never decide what to do about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::Mutex, time::Instant};

use crate::{Cursor, Host, LogInfo, LogName};

/// A log that does not answer for this long is out of reach. One that is well takes a millisecond, and
/// whoever asks how a process stands gives up after some seconds.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// However often somebody asks, the server is asked for all logs once in this time.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// A read model that is further behind does not keep up: it folds as many records in one batch, which
/// takes less than a second.
pub const MAX_LAG_RECORDS: u64 = 2_048;

/// A read model that is behind, by however little, and has folded nothing for so long stands still: it folds within milliseconds.
const STANDS_STILL: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Every log: how it stands, or why nobody knows.
    pub logs: BTreeMap<LogName, Result<LogInfo, String>>,
    /// How many records each read model has still to fold; none where one of its logs is out of reach.
    pub lags: BTreeMap<LogName, Option<u64>>,
    /// The read models that stand still.
    pub standing: BTreeSet<LogName>,
}

impl Survey {
    /// Whether each log is in reach, and no read model stands still or is too far behind.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.standing.is_empty()
            && self.logs.values().all(Result::is_ok)
            && self.lags.values().all(|lag| lag.is_some_and(|lag| lag <= MAX_LAG_RECORDS))
    }

    async fn take(host: &Host, behind: &mut Behind) -> Self {
        let logs: BTreeMap<_, _> = join_all(host.topology.all().map(|(log, _)| ask(host, log))).await.into_iter().collect();
        let lag = |(model, folded): (&LogName, &Cursor)| {
            let reads = host.topology.read_by(model.base(), model.shard());
            let behind = reads.iter().map(|log| Some(logs.get(log)?.as_ref().ok()?.last.saturating_sub(folded.get(log))));
            let lag = behind.sum();
            (model.clone(), lag)
        };
        let folded = host.health.folded();
        let lags: BTreeMap<_, _> = folded.iter().map(lag).collect();
        Self { standing: behind.look(folded, &lags), logs, lags }
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

/// The read models that were behind when somebody looked, how far they had come, and since when they have come no further.
#[derive(Debug, Default)]
struct Behind(BTreeMap<LogName, (Cursor, Instant)>);

impl Behind {
    /// Looks once more; says which stand still.
    fn look(&mut self, mut folded: BTreeMap<LogName, Cursor>, lags: &BTreeMap<LogName, Option<u64>>) -> BTreeSet<LogName> {
        folded.retain(|model, _| lags.get(model).copied().flatten().is_some_and(|lag| lag > 0));
        let mut before = std::mem::take(&mut self.0);
        for (model, cursor) in folded {
            let since = before.remove(&model).filter(|(then, _)| *then == cursor).map_or_else(Instant::now, |(_, since)| since);
            self.0.insert(model, (cursor, since));
        }
        self.0.iter().filter(|(_, (_, since))| since.elapsed() > STANDS_STILL).map(|(model, _)| model.clone()).collect()
    }
}

/// Looks for whoever asks, and lets those who ask at once share what was seen.
#[derive(Debug, Clone)]
pub struct Surveyor {
    /// Whose logs and read models.
    pub host: Host,
    last: Arc<Mutex<(Option<Seen>, Behind)>>,
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
        let (last, behind) = &mut *last;
        if let Some(seen) = last
            && seen.at.elapsed() < FRESH_FOR
        {
            return Arc::clone(&seen.survey);
        }
        let survey = Arc::new(Survey::take(&self.host, behind).await);
        *last = Some(Seen { at: Instant::now(), survey: Arc::clone(&survey) });
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_model_that_is_behind_and_does_not_fold_stands_still() {
        let (model, log) = (LogName::new("overview", Some(0)), LogName::new("ledger", Some(0)));
        let mut behind = Behind::default();
        let mut look = |folded: u64, lag: Option<u64>| {
            let folded = [(model.clone(), [(log.clone(), folded)].into_iter().collect())].into();
            !behind.look(folded, &[(model.clone(), lag)].into()).is_empty()
        };
        for (folded, lag, is_standing) in [
            (5, Some(0), false),
            // Quiet for long, and something has just come.
            (5, Some(1), false),
            (5, Some(1), true),
            (6, Some(1), false),
            // Where its log does not answer, nobody knows.
            (6, None, false),
            (6, Some(9), false),
        ] {
            assert_eq!(look(folded, lag), is_standing, "{folded} {lag:?}");
            tokio::time::advance(STANDS_STILL + Duration::from_millis(1)).await;
        }
    }
}
