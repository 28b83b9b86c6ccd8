//! What one request, one caller and one connection may take. This module must never know a field.

use std::time::Duration;

/// The limits of a gateway; what is above one is refused with `LIMIT_EXCEEDED`, and what comes too
/// often with `RATE_LIMITED`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body. A bulk of 1,000 payments with the longest texts has fewer than two mebibytes.
    pub body_bytes: usize,
    /// Levels of selections. The contract's own queries need half of the default.
    pub depth: usize,
    /// Fields of an answer, where those of a page count as often as the page is long, and those of a bulk as often as
    /// it has payments: of a thousand each may tell all that there is to tell, which is 28 fields, and the types of these.
    pub complexity: usize,
    /// Aliases in an operation: each is the same work once more.
    pub aliases: usize,
    /// Fields of the operation's root.
    pub root_fields: usize,
    /// Directives on a field.
    pub directives: usize,
    /// Operations in a request's array.
    pub batch: usize,
    /// Operations that a signed-in caller may ask for in a second.
    pub caller_rate: u32,
    /// Operations that all anonymous callers together may ask for in a second.
    pub anonymous_rate: u32,
    /// Websockets and event streams that are open at once.
    pub sockets: usize,
    /// The same of one caller; all anonymous ones count as one.
    pub caller_sockets: usize,
    /// Operations under way on a websocket at once.
    pub socket_operations: usize,
    /// Bytes of a message on a websocket.
    pub message_bytes: usize,
    /// How long an operation may take that is no subscription, and a request's body to arrive. A payment that is waited for takes ten
    /// seconds at most, and a read at a position five.
    pub request_time: Duration,
    /// How long a client may take nothing of what is sent before its connection is closed.
    pub slow_reader: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 * 1024 * 1024,
            depth: 16,
            complexity: 40_000,
            aliases: 30,
            root_fields: 20,
            directives: 5,
            batch: 10,
            caller_rate: 20_000,
            anonymous_rate: 20_000,
            sockets: 25_000,
            caller_sockets: 20_000,
            socket_operations: 100,
            message_bytes: 64 * 1024,
            request_time: Duration::from_secs(30),
            slow_reader: Duration::from_secs(10),
        }
    }
}
