//! One log: append and look. This module must never decide what to do about an outcome.

use std::error::Error as _;

use async_nats::jetstream::{
    context::{PublishError, PublishErrorKind},
    message::PublishMessage,
    stream::{RawMessageErrorKind, Stream},
};

use crate::{Broker, Draft, Fault, Follower, LogName, Mark, Record, Scan, topology::subject};

/// What a server says when the expected sequence is not the last one; the second on replicated streams.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another writer appended first: nothing of this was stored.
    #[error("another writer has appended")]
    Refused,
    /// Nothing was stored, and the same may be tried later.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
    /// Nothing was stored: more waits already than the log takes. The same may be tried later.
    #[error("too much waits for the log already")]
    Overloaded,
    /// It may have been stored or not; only the log knows. Never try it again as it is.
    #[error("no answer came: {0}")]
    Unknown(String),
    /// It is larger than the server takes.
    #[error("{0} bytes are more than the server's max_payload takes")]
    TooLarge(usize),
}

/// A log's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogInfo {
    /// Its last record, 0 for none.
    pub last: u64,
    /// How many records it has.
    pub records: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// When its stream was created, in microseconds since 1970.
    pub created: i64,
    /// How many servers keep it.
    pub replicas: usize,
}

/// A log of this name on a server.
#[derive(Debug, Clone)]
pub struct Log {
    pub(crate) broker: Broker,
    name: LogName,
    subject: String,
}

impl Log {
    pub(crate) fn new(broker: Broker, name: LogName) -> Self {
        let subject = subject(&name);
        Self { broker, name, subject }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// Appends a record; with `expected`, only if that is the last sequence. One at a time, always:
    /// expected sequences of several in flight do not fence (see ARCHITECTURE.md).
    ///
    /// # Errors
    /// [`AppendError`], which says whether something may have been stored.
    pub async fn append(&self, draft: &Draft, expected: Option<u64>) -> Result<u64, AppendError> {
        let mut link = self.broker.link();
        let before = *link.borrow_and_update();
        if !before.connected {
            return Err(AppendError::Unavailable("no connection to nats-server".to_owned()));
        }
        let mut message = PublishMessage::build().payload(draft.payload.clone()).headers(draft.headers());
        if let Some(expected) = expected {
            message = message.expected_last_sequence(expected);
        }
        let ack = self.broker.jetstream.send_publish(self.subject.clone(), message).await.map_err(|error| refusal(&error, draft))?;
        tokio::select! {
            answer = ack.into_future() => answer.map(|ack| ack.sequence).map_err(|error| refusal(&error, draft)),
            // What is in flight when the connection goes never gets an answer.
            _ = link.wait_for(|link| *link != before) => Err(AppendError::Unknown("the connection was lost".to_owned())),
        }
    }

    /// How long it is, by its leader's word.
    ///
    /// # Errors
    /// A sentence, where the server does not say.
    pub async fn info(&self) -> Result<LogInfo, String> {
        let info = self.stream().await?.get_info().await.map_err(|error| error.to_string())?;
        Ok(LogInfo {
            last: info.state.last_sequence,
            records: info.state.messages,
            bytes: info.state.bytes,
            created: micros(info.created),
            replicas: info.config.num_replicas,
        })
    }

    /// One record, by its leader's word, of a stream that was created at `created`.
    ///
    /// # Errors
    /// A sentence where the server does not give it, or the fault in it.
    pub async fn read(&self, seq: u64, created: i64) -> Result<Result<Record, Fault>, String> {
        let message = self.stream().await?.get_raw_message(seq).await.map_err(|error| error.to_string())?;
        Ok(Record::parse(&self.name, seq, created, Some(&message.headers), message.payload))
    }

    /// Whether it has a record of this sequence, by its leader's word.
    ///
    /// # Errors
    /// A sentence, where the server does not say.
    pub async fn has(&self, seq: u64) -> Result<bool, String> {
        match self.stream().await?.get_raw_message(seq).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// How far `other` had come when the last record here was decided; what is wrong with that record its readers say.
    ///
    /// # Errors
    /// A sentence, where the server does not say.
    pub(crate) async fn last_seen(&self, other: &LogName) -> Result<u64, String> {
        let LogInfo { last, created, .. } = self.info().await?;
        let record = if last == 0 { None } else { self.read(last, created).await?.ok() };
        Ok(record.map_or(0, |record| record.cursor.get(other)))
    }

    /// Bytes of the largest message that the server takes.
    pub(crate) fn largest_message(&self) -> usize {
        self.broker.jetstream.client().server_info().max_payload
    }

    pub(crate) async fn stream(&self) -> Result<Stream<()>, String> {
        self.broker.jetstream.get_stream_no_info(self.name.as_str()).await.map_err(|error| error.to_string())
    }

    /// Reads it from its first record up to `end`, whatever is wrong with it.
    #[must_use]
    pub fn scan(&self, end: u64) -> Scan {
        Scan::start(self.clone(), end)
    }

    /// Follows it from behind `after` on.
    #[must_use]
    pub fn follow(&self, after: Mark) -> Follower {
        Follower::start(self.clone(), after)
    }
}

fn micros(time: time::OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn refusal(error: &PublishError, draft: &Draft) -> AppendError {
    let code = || {
        let source = error.source()?.downcast_ref::<async_nats::jetstream::Error>()?;
        Some(source.error_code().0)
    };
    match error.kind() {
        PublishErrorKind::WrongLastSequence => AppendError::Refused,
        PublishErrorKind::MaxPayloadExceeded => AppendError::TooLarge(draft.payload.len()),
        PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => AppendError::Unavailable(error.to_string()),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => AppendError::Unknown(error.to_string()),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::Other => match code() {
            Some(code) if WRONG_LAST_SEQUENCE.contains(&code) => AppendError::Refused,
            // A server that could not store it says so; where there are replicas, these may have.
            Some(_) | None => AppendError::Unknown(error.to_string()),
        },
    }
}
