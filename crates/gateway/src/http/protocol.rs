//! The messages of `graphql-transport-ws`, and what a websocket is closed with (its PROTOCOL document,
//! RFC 6455 §7.4). This module must never know a connection.

use async_graphql::{Response as Answer, ServerError};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer;
use crate::{object::Object, operation::Params, plain::write_json};

/// The subprotocol that a client must offer.
pub(super) const SUBPROTOCOL: &str = "graphql-transport-ws";
/// Longest reason that a close frame can carry.
const REASON_BYTES: usize = 123;

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said {
    ConnectionInit { payload: Option<Map<String, Value>> },
    Ping { payload: Option<Map<String, Value>> },
    Pong {},
    Subscribe { id: String, payload: Object<Params> },
    Complete { id: String },
}

/// What a client is told beside answers, which [`next`] tells.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Tell<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// An answer, of several maybe.
pub(super) fn next(id: &str, answer: &Answer) -> Message {
    let mut json = br#"{"type":"next","id":"#.to_vec();
    write_json(&id, &mut json);
    json.extend_from_slice(br#","payload":"#);
    answer::write(answer, &mut json);
    json.push(b'}');
    // What is written is text, all of it.
    Message::Text(Utf8Bytes::try_from(json).unwrap_or_default())
}

impl Tell<'_> {
    pub(super) fn message(&self) -> Message {
        // What is serialized are strings, numbers and maps of them: that cannot fail.
        Message::Text(serde_json::to_string(self).unwrap_or_default().into())
    }
}

/// Why a websocket is closed by the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Close {
    /// The process stops: connect to another, or again.
    GoingAway,
    /// A text that is not UTF-8 (RFC 6455 §8.1).
    NoText,
    /// A message that is larger than is taken.
    TooBig,
    /// No room for one more: connect again later.
    TooMany,
    /// A message that is none of the protocol's.
    BadMessage(&'static str),
    /// An operation before the connection was acknowledged.
    Unauthorized,
    /// A token that is not taken, or has expired.
    Forbidden(&'static str),
    /// The client offers another subprotocol.
    OtherSubprotocol,
    /// No `connection_init` in time.
    InitTimeout,
    /// An id that is in use on this connection.
    InUse(String),
    /// A second `connection_init`.
    SecondInit,
}

impl Close {
    pub(super) fn frame(&self) -> CloseFrame {
        let (code, reason) = match self {
            Self::GoingAway => (1001, "Going away"),
            Self::NoText => (1007, "Text is UTF-8"),
            Self::TooBig => (1009, "Message too big"),
            Self::TooMany => (1013, "Too many connections, try again later"),
            Self::BadMessage(why) => (4400, *why),
            Self::Unauthorized => (4401, "Unauthorized"),
            Self::Forbidden(why) => (4403, *why),
            Self::OtherSubprotocol => (4406, "Subprotocol not acceptable"),
            Self::InitTimeout => (4408, "Connection initialisation timeout"),
            Self::InUse(_) => (4409, "Subscriber already exists"),
            Self::SecondInit => (4429, "Too many initialisation requests"),
        };
        let in_use = |id: &String| format!("Subscriber for {id} already exists");
        let reason = if let Self::InUse(id) = self { in_use(id) } else { reason.to_owned() };
        let end = reason.floor_char_boundary(REASON_BYTES);
        CloseFrame { code, reason: Utf8Bytes::from(&reason[..end]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_its_frame_whatever_the_id() {
        let frame = Close::InUse("ü".repeat(200)).frame();
        assert_eq!(frame.code, 4409);
        assert!(frame.reason.len() <= REASON_BYTES);
        assert_eq!(Close::InUse("7".to_owned()).frame().reason.as_str(), "Subscriber for 7 already exists");
    }

    #[test]
    fn what_is_no_message_of_the_protocol_is_not_read() {
        for text in [
            "",
            "{}",
            "[]",
            r#"["connection_init", null]"#,
            r#"["subscribe", "1", {"query": "{ a }"}]"#,
            r#"{"type": "subscribe", "id": "1", "payload": ["{ a }"]}"#,
            r#"{"type": "start", "id": "1"}"#,
            r#"{"type": "subscribe", "payload": {"query": "{ a }"}}"#,
            r#"{"type": "subscribe", "id": 1, "payload": {"query": "{ a }"}}"#,
            r#"{"type": "subscribe", "id": "1", "payload": {"query": 1}}"#,
            r#"{"type": "connection_init", "payload": "text"}"#,
            r#"{"type": "complete"}"#,
        ] {
            assert!(serde_json::from_str::<Object<Said>>(text).is_err(), "{text}");
        }
        assert!(matches!(serde_json::from_str(r#"{"type": "pong", "payload": {}}"#), Ok(Object(Said::Pong {}))));
        let subscribe = r#"{"type": "subscribe", "id": "1", "payload": {"query": "{ a }"}}"#;
        assert!(matches!(serde_json::from_str(subscribe), Ok(Object(Said::Subscribe { .. }))));
        assert!(matches!(serde_json::from_str(r#"{"type": "connection_init"}"#), Ok(Object(Said::ConnectionInit { payload: None }))));
    }
}
