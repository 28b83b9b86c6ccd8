//! A record: the events of one step in one JetStream message, and what its headers say.
//! This module must never know how records are sent or stored.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Cursor, Fault, LogName, Traces,
    cursor::{parse_entries, write_entries},
    encoding,
};

/// Names of the headers that every record carries.
pub(crate) const CONTENT_TYPE_HEADER: &str = "Content-Type";
const CURSOR_HEADER: &str = "Millrace-Cursor";
const INPUTS_HEADER: &str = "Millrace-Inputs";
const CHAIN_HEADER: &str = "Millrace-Chain";
const CONCERNS_HEADER: &str = "Millrace-Concerns";
/// Not in the chain: it says nothing that anything rests on, and versions that do not know it read on.
const TRACES_HEADER: &str = "Millrace-Traces";

/// A hash over a record and all records before it (BLAKE3, cut to 16 bytes: against accidents and
/// mix-ups, which is what it is for).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain([u8; 16]);

impl Chain {
    /// The hash that follows this one, over headers and payload.
    fn next(self, headers: [&str; 3], payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        for header in headers {
            hasher.update(&header.len().to_be_bytes()).update(header.as_bytes());
        }
        hasher.update(payload);
        let mut chain = [0; 16];
        chain.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(chain)
    }

    fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(|bits| Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A place in a log, with what is needed to recognise the log when one comes back to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last record that was read, 0 for none.
    pub seq: u64,
    /// That record's hash, see [`Record::hash`], where it is known.
    pub chain: Option<Chain>,
    /// When the stream was created, in microseconds since 1970, where it is known.
    pub created: Option<i64>,
}

impl Mark {
    /// A place of which only the number is known.
    #[must_use]
    pub const fn at(seq: u64) -> Self {
        Self { seq, chain: None, created: None }
    }
}

/// A record that is to be appended.
#[derive(Debug, Clone)]
pub struct Draft {
    cursor: Cursor,
    inputs: BTreeMap<LogName, Chain>,
    concerns: Vec<u16>,
    traces: Traces,
    /// Its hash, once it is chained.
    pub chain: Option<Chain>,
    pub(crate) payload: Bytes,
}

impl Draft {
    /// A record with these events, resting on `cursor`, for shards `concerns` to act on.
    ///
    /// # Errors
    /// A sentence, where the events cannot be encoded.
    pub fn new<E: Serialize>(events: &[E], cursor: &Cursor, concerns: Vec<u16>) -> Result<Self, String> {
        let payload = encoding::encode(events).map_err(|error| error.to_string())?.into();
        Ok(Self { cursor: cursor.clone(), inputs: BTreeMap::new(), concerns, traces: Traces::default(), chain: None, payload })
    }

    /// The same record with where the traces of its payments stand.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// The same record with the hashes of the records that it was decided on.
    #[must_use]
    pub fn decided_on(self, inputs: BTreeMap<LogName, Chain>) -> Self {
        Self { inputs, ..self }
    }

    /// The same record as the one that follows `before` in a chained log.
    #[must_use]
    pub fn chained(mut self, before: Chain) -> Self {
        self.chain = Some(self.after(before));
        self
    }

    fn after(&self, before: Chain) -> Chain {
        before.next([&self.cursor.to_string(), &write_entries(&self.inputs), &write_shards(&self.concerns)], &self.payload)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE_HEADER, encoding::CONTENT_TYPE);
        headers.insert(CURSOR_HEADER, self.cursor.to_string());
        if !self.inputs.is_empty() {
            headers.insert(INPUTS_HEADER, write_entries(&self.inputs));
        }
        if let Some(chain) = self.chain {
            headers.insert(CHAIN_HEADER, chain.to_string());
        }
        if !self.concerns.is_empty() {
            headers.insert(CONCERNS_HEADER, write_shards(&self.concerns));
        }
        if !self.traces.is_empty() {
            headers.insert(TRACES_HEADER, self.traces.to_string());
        }
        headers
    }

    /// The record that this became at `seq` of a log created at `created`, with the events that it was made of.
    pub(crate) fn stored<E: Send + Sync + 'static>(self, log: LogName, seq: u64, created: i64, events: Arc<Vec<E>>) -> Record {
        let hash = self.chain.unwrap_or_else(|| self.after(Chain::default()));
        let Self { cursor, inputs, concerns, traces, chain, payload } = self;
        let decoded: Decoded = Arc::new(OnceLock::from(events as Arc<dyn Any + Send + Sync>));
        Record { log, seq, cursor, inputs, concerns, traces, chain, created, hash, payload, decoded }
    }
}

fn write_shards(shards: &[u16]) -> String {
    shards.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

/// A record as it stands in a log.
#[derive(Debug, Clone)]
pub struct Record {
    /// The log.
    pub log: LogName,
    /// Its place there, from 1, without gaps.
    pub seq: u64,
    /// What it rests on.
    pub cursor: Cursor,
    /// The hashes of the records that it was decided on: of each input, the last one taken.
    pub inputs: BTreeMap<LogName, Chain>,
    /// The other shards that have to act on it.
    pub concerns: Vec<u16>,
    /// Where the traces of its payments stand, as far as they are followed.
    pub traces: Traces,
    /// Its hash, where the log is chained.
    pub chain: Option<Chain>,
    /// When its stream was created, in microseconds since 1970.
    pub created: i64,
    hash: Chain,
    payload: Bytes,
    decoded: Decoded,
}

/// The events of a record once somebody has asked for them: they are decoded once, however many read them.
type Decoded = Arc<OnceLock<Arc<dyn Any + Send + Sync>>>;

impl Record {
    pub(crate) fn parse(log: &LogName, seq: u64, created: i64, headers: Option<&HeaderMap>, payload: Bytes) -> Result<Self, Fault> {
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let unreadable = |why: &str| Fault::Unreadable { log: log.clone(), seq, why: why.to_owned() };
        if header(CONTENT_TYPE_HEADER) != Some(encoding::CONTENT_TYPE) {
            return Err(unreadable("its Content-Type is not one that this version reads"));
        }
        let cursor = Cursor::parse(header(CURSOR_HEADER).unwrap_or_default()).ok_or_else(|| unreadable("its cursor is malformed"))?;
        let inputs = parse_entries(header(INPUTS_HEADER).unwrap_or_default(), Chain::parse);
        let inputs = inputs.ok_or_else(|| unreadable("the hashes of its inputs are malformed"))?;
        let concerns = header(CONCERNS_HEADER).unwrap_or_default().split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let concerns = concerns.map_err(|_| unreadable("the shards that it concerns are malformed"))?;
        let chain = header(CHAIN_HEADER).map(|text| Chain::parse(text).ok_or_else(|| unreadable("its chain is malformed"))).transpose()?;
        let hash = chain.unwrap_or_default();
        let traces = header(TRACES_HEADER).map(Traces::parse).unwrap_or_default();
        let decoded = Decoded::default();
        let record = Self { log: log.clone(), seq, cursor, inputs, concerns, traces, chain, created, hash, payload, decoded };
        Ok(if chain.is_some() { record } else { Self { hash: record.after(Chain::default()), ..record } })
    }

    /// Its events, decoded once for all that share the record.
    ///
    /// # Errors
    /// [`Fault::Unreadable`], where one is not known here.
    pub fn events<E: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<Vec<E>>, Fault> {
        if let Some(events) = self.decoded.get().and_then(|decoded| Arc::clone(decoded).downcast().ok()) {
            return Ok(events);
        }
        let events = Arc::new(self.decode()?);
        // Somebody else may have been faster.
        let _ = self.decoded.set(Arc::clone(&events) as Arc<dyn Any + Send + Sync>);
        Ok(events)
    }

    /// Its events, for one who reads alone.
    ///
    /// # Errors
    /// [`Fault::Unreadable`], where one is not known here.
    pub fn decode<E: DeserializeOwned>(&self) -> Result<Vec<E>, Fault> {
        encoding::decode(&self.payload).map_err(|error| self.unreadable(error.to_string()))
    }

    /// The fault of one that cannot be understood.
    #[must_use]
    pub fn unreadable(&self, why: String) -> Fault {
        Fault::Unreadable { log: self.log.clone(), seq: self.seq, why }
    }

    /// The fault of one in a log that `reader` is not made to read.
    #[must_use]
    pub fn unexpected(&self, reader: &str) -> Fault {
        self.unreadable(format!("{reader} does not read {}: see its readers in streams.yaml", self.log.base()))
    }

    /// Its size in bytes, without headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// What it is recognised by: its place in the chain, or, in a log without one, its own content.
    #[must_use]
    pub const fn hash(&self) -> Chain {
        self.hash
    }

    /// The place behind it.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { seq: self.seq, chain: Some(self.hash), created: Some(self.created) }
    }

    fn after(&self, before: Chain) -> Chain {
        before.next([&self.cursor.to_string(), &write_entries(&self.inputs), &write_shards(&self.concerns)], &self.payload)
    }

    /// Makes sure that it has a place in a chain, unless it is a command's: whoever else could write the log could say anything.
    ///
    /// # Errors
    /// [`Fault::BrokenChain`], where it has none.
    pub fn belongs(&self, is_command: bool) -> Result<(), Fault> {
        if is_command || self.chain.is_some() { Ok(()) } else { Err(self.broken()) }
    }

    fn broken(&self) -> Fault {
        Fault::BrokenChain { log: self.log.clone(), seq: self.seq }
    }

    /// # Errors
    /// [`Fault::BrokenChain`], where it does not follow `before`.
    pub fn continues(&self, before: Chain) -> Result<(), Fault> {
        match self.chain {
            Some(chain) if chain != self.after(before) => Err(self.broken()),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> LogName {
        LogName::new(name, None)
    }

    #[test]
    fn a_record_that_was_changed_breaks_the_chain() {
        let cursor: Cursor = [(log("accounts"), 1)].into_iter().collect();
        let inputs: BTreeMap<_, _> = [(log("accounts"), Chain([7; 16]))].into_iter().collect();
        let draft = Draft::new(&[1, 2], &cursor, vec![3]).expect("encodes").decided_on(inputs.clone()).chained(Chain::default());
        let parse = |payload: Bytes| Record::parse(&log("x"), 1, 0, Some(&draft.headers()), payload).expect("parses");
        let record = parse(draft.payload.clone());
        assert!(record.continues(Chain::default()).is_ok());
        assert_eq!((record.concerns.clone(), record.events::<u8>().expect("decodes").to_vec()), (vec![3], vec![1, 2]));
        assert_eq!(record.inputs, inputs);
        let other = Draft::new(&[1, 3], &cursor, vec![]).expect("encodes");
        assert!(parse(other.payload).continues(Chain::default()).is_err());
        assert!(record.continues(record.chain.expect("chained")).is_err());
        assert!(Record { concerns: vec![4], ..record }.continues(Chain::default()).is_err());
    }

    #[test]
    fn traces_travel_beside_the_chain() {
        let header = "pay_01a205c9d65276489813914a6930e5e4=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let draft = Draft::new(&[1], &Cursor::default(), vec![]).expect("encodes").chained(Chain::default());
        let traced = draft.clone().traced(Traces::parse(header));
        let parse = |draft: &Draft| Record::parse(&log("x"), 1, 0, Some(&draft.headers()), draft.payload.clone()).expect("parses");
        assert_eq!(parse(&traced).traces.to_string(), header);
        assert!(parse(&draft).traces.is_empty());
        assert_eq!(parse(&traced).hash(), parse(&draft).hash());
        assert!(parse(&traced).continues(Chain::default()).is_ok());
    }

    #[test]
    fn a_record_without_a_chain_is_recognised_by_its_content() {
        let hash = |events: &[u8]| {
            let draft = Draft::new(events, &Cursor::default(), vec![]).expect("encodes");
            Record::parse(&log("x"), 1, 0, Some(&draft.headers()), draft.payload).expect("parses").hash()
        };
        assert_eq!(hash(&[1]), hash(&[1]));
        assert_ne!(hash(&[1]), hash(&[2]));
    }
}
