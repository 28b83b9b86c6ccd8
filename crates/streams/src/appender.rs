//! Group commit for command logs, which have many writers: commands that arrive while an append is
//! in flight go together into the next record. This module must never know what a command means.

use std::{sync::Arc, time::Duration};

use domain::PaymentId;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{AppendError, Condition, Cursor, Draft, Health, Log, LogName, Trace, Traces, metrics::WriterMetrics};

/// Commands that wait for their append at most; more are refused at once, so that a caller hears
/// of overload within milliseconds.
const QUEUE_COMMANDS: usize = 16_384;
/// Most commands of one record: with the longest texts they have 210 kB, so that what services make
/// of them stays below a server's usual limit of one mebibyte (see `STEP` in the engine).
const RECORD_COMMANDS: usize = 256;

/// After a failure, nothing is known of a log to which nobody appends: whoever sends no more commands here because of it
/// would never hear that it takes them again.
const TRIED_AGAIN: Duration = Duration::from_secs(5);

/// A command, and where its answer goes.
#[derive(Debug)]
pub struct AppendCommand<C> {
    command: C,
    /// The payment that it is about, and where its trace stands.
    trace: Option<(PaymentId, Trace)>,
    answer: oneshot::Sender<Result<u64, AppendError>>,
}

/// Appends commands to one log.
#[derive(Debug, Clone)]
pub struct CommandAppender<C> {
    queue: mpsc::Sender<AppendCommand<C>>,
}

impl<C: Serialize + Send + Sync + 'static> CommandAppender<C> {
    /// Starts to append to `log` until `stop`; `seen` says what the commands rest on, that is, how
    /// far the gateway had read when it took them.
    #[must_use]
    pub fn start(log: Log, seen: Arc<dyn Fn() -> Cursor + Send + Sync>, stop: CancellationToken) -> Self {
        Self::start_with(log, seen, stop, Health::default(), |_, _| {})
    }

    /// The same; `stored` hears of each record that was acknowledged, before the callers do, who may have gone away by then, and
    /// `health` of a log that acknowledges nothing although the server is there.
    #[must_use]
    pub fn start_with(
        log: Log,
        seen: Arc<dyn Fn() -> Cursor + Send + Sync>,
        stop: CancellationToken,
        health: Health,
        stored: impl Fn(u64, &[C]) + Send + Sync + 'static,
    ) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_COMMANDS);
        let standing = Standing { health, log: log.name().clone(), is_stalled: false, is_said: false };
        tokio::spawn(run(log, seen, commands, stop, standing, stored));
        Self { queue }
    }

    /// A place in the queue, so that whoever needs several has all or none.
    ///
    /// # Errors
    /// [`AppendError::Overloaded`], where the queue is full; [`AppendError::Unavailable`], where the gateway stops.
    pub fn reserve(&self) -> Result<Place<'_, C>, AppendError> {
        self.queue.try_reserve().map(|permit| Place { permit, trace: None }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(()) => AppendError::Unavailable("the gateway is stopping".to_owned()),
        })
    }

    /// Appends a command durably; answers with its record's sequence.
    ///
    /// # Errors
    /// [`AppendError`], which says whether it may have been stored.
    pub async fn append(&self, command: C) -> Result<u64, AppendError> {
        self.reserve()?.append(command).await
    }
}

/// A place in the queue of a log. Dropping it gives it back.
#[derive(Debug)]
pub struct Place<'a, C> {
    permit: mpsc::Permit<'a, AppendCommand<C>>,
    trace: Option<(PaymentId, Trace)>,
}

impl<C> Place<'_, C> {
    /// The same place for a command about `payment`, which is followed if the running task is.
    #[must_use]
    pub fn about(self, payment: PaymentId) -> Self {
        Self { trace: Trace::current().map(|trace| (payment, trace)), ..self }
    }

    /// Queues a command; the receiver hears how its append ended.
    pub fn submit(self, command: C) -> oneshot::Receiver<Result<u64, AppendError>> {
        let (answer, receiver) = oneshot::channel();
        self.permit.send(AppendCommand { command, trace: self.trace, answer });
        receiver
    }

    /// Appends a command durably; answers with its record's sequence.
    ///
    /// # Errors
    /// [`AppendError`], which says whether it may have been stored.
    pub async fn append(self, command: C) -> Result<u64, AppendError> {
        self.submit(command).await.unwrap_or_else(|_| Err(AppendError::Unknown("the gateway is stopping".to_owned())))
    }
}

/// Whether a log takes commands, as far as the last append says.
struct Standing {
    health: Health,
    log: LogName,
    /// Whether `health` has heard that it does not …
    is_stalled: bool,
    /// … and whether that was said in the log.
    is_said: bool,
}

impl Standing {
    fn note(&mut self, outcome: &Result<u64, AppendError>, commands: usize, is_connected: bool) {
        let log = &self.log;
        match outcome {
            Ok(_) => {
                if std::mem::take(&mut self.is_said) {
                    tracing::info!(%log, "Commands are acknowledged again");
                }
                self.pass();
            }
            // Why was said by whoever lost the connection, and the callers hear it.
            Err(error) if !is_connected => tracing::debug!(%log, %error, "Commands were refused"),
            Err(error) => {
                self.health.note(log, Condition::Stalled);
                self.is_stalled = true;
                if !std::mem::replace(&mut self.is_said, true) {
                    tracing::warn!(%log, commands, %error, "Commands were not acknowledged; not logged again until they are");
                }
            }
        }
    }

    /// Nothing is known against the log any more.
    fn pass(&mut self) {
        if std::mem::take(&mut self.is_stalled) {
            self.health.note(&self.log, Condition::Up);
        }
    }
}

async fn run<C: Serialize + Send + Sync + 'static>(
    log: Log,
    seen: Arc<dyn Fn() -> Cursor + Send + Sync>,
    mut commands: mpsc::Receiver<AppendCommand<C>>,
    stop: CancellationToken,
    mut standing: Standing,
    stored: impl Fn(u64, &[C]) + Send + Sync + 'static,
) {
    let metrics = WriterMetrics::new(log.name());
    let mut waiting = Vec::with_capacity(RECORD_COMMANDS);
    loop {
        let received = tokio::select! {
            received = commands.recv_many(&mut waiting, RECORD_COMMANDS) => received,
            () = stop.cancelled() => 0,
            () = tokio::time::sleep(TRIED_AGAIN), if standing.is_stalled => {
                standing.pass();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        let mut traces = Traces::default();
        waiting.iter_mut().filter_map(|waiting| waiting.trace.take()).for_each(|(payment, trace)| traces.follow(payment, trace));
        let (commands, answers): (Vec<_>, Vec<_>) = waiting.drain(..).map(|waiting| (waiting.command, waiting.answer)).unzip();
        let outcome = match Draft::new(&commands, &seen(), Vec::new()).map(|draft| draft.traced(traces)) {
            Ok(draft) => {
                let outcome = metrics.measure(commands.len(), log.append(&draft, None)).await;
                if let Ok(seq) = outcome {
                    stored(seq, &commands);
                    log.broker.feeds.offer(log.name(), seq, draft, Arc::new(commands));
                }
                outcome
            }
            Err(why) => Err(AppendError::Unavailable(why)),
        };
        standing.note(&outcome, answers.len(), log.broker.link().borrow().connected);
        for answer in answers {
            // A caller that went away does not need to know.
            let _ = answer.send(outcome.clone());
        }
    }
}
