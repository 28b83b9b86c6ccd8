//! A websocket that speaks `graphql-transport-ws`. One task has the connection and all its operations:
//! an operation is asked for its next answer only when the one before is on its way, so nothing is
//! buffered for a slow reader. What is rare lies in boxes: a connection has room in its task for the largest thing that it
//! ever waits for. This module must never know a field.

use std::time::{Duration, SystemTime};

use async_graphql::{Response as Answer, ServerError};
use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    response::Response,
};
use futures_util::{
    Stream, StreamExt as _,
    stream::{BoxStream, unfold},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_stream::StreamMap;
use tokio_tungstenite::tungstenite;

use super::{
    Door, answer,
    protocol::{Close, SUBPROTOCOL, Said, Tell, next},
};
use crate::{
    SignedIn,
    callers::Seat,
    errors::Failure,
    object::Object,
    operation::{Params, is_refused},
};

/// Read buffer of a websocket: the library's 128 KiB each would fill the memory with idle ones. A client says little, and
/// rarely: to subscribe takes half of this.
const READ_BUFFER_BYTES: usize = 1024;
/// How long a client has for its `connection_init`; the protocol's own server gives as much.
const INIT_WAIT: Duration = Duration::from_secs(3);
/// How often a client is asked for a sign of life that says nothing by itself; proxies cut what is
/// silent for a minute.
const PING_EVERY: Duration = Duration::from_secs(25);
/// Pings without any answer after which a client is taken for gone.
const UNANSWERED_PINGS: u32 = 2;
/// How long a client has to answer a close frame: without reading on, it would see no close but an
/// end of the connection.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long a client has to read why it is closed that sent more than is read.
const TOO_BIG_WAIT: Duration = Duration::from_secs(1);

/// Opens a websocket, where the page's origin may and there is room.
pub(super) async fn open(door: Door, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !door.origins.may_open(headers) {
        let message =
            "Pages of this origin may not open a websocket here. It takes those of its own origin, and of those in --allow-origin.";
        return answer::with_status(StatusCode::FORBIDDEN, Failure::Forbidden(message));
    }
    let from_headers = match door.sign_in(headers).await {
        Ok(signed_in) => signed_in,
        Err(response) => return *response,
    };
    let Some(seat) = door.gateway.callers.sit(None) else {
        let message = "As many connections are open as this gateway may have.";
        return answer::with_status(StatusCode::SERVICE_UNAVAILABLE, Failure::TooManyConnections(message));
    };
    let speaks = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .any(|offered| offered.to_str().is_ok_and(|offered| offered.split(',').any(|protocol| protocol.trim() == SUBPROTOCOL)));
    let most = door.gateway.limits.message_bytes;
    let upgrade = upgrade.protocols([SUBPROTOCOL]).read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
    upgrade.max_message_size(most).max_frame_size(most).on_upgrade(move |socket| {
        let deadline = Some(Instant::now() + INIT_WAIT);
        let mut session = Session { door, socket, state: State::Opened(from_headers), deadline, seat, operations: StreamMap::new() };
        async move {
            let end = if speaks { session.serve().await } else { End::Close(Close::OtherSubprotocol) };
            session.operations.clear();
            if let End::Close(close) = end {
                Box::pin(session.close(&close)).await;
            }
        }
    })
}

/// How a session ends.
enum End {
    /// The client is gone, or takes nothing any more.
    Gone,
    Close(Close),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// How far a connection has come.
#[derive(Clone, Copy)]
enum State {
    /// With what its request's headers said.
    Opened(SignedIn),
    Acknowledged(SignedIn),
}

/// What an operation has to say.
enum Event {
    Next(Answer),
    /// Nothing was run; the end.
    Refused(Vec<ServerError>),
    Complete,
}

struct Session {
    door: Door,
    socket: WebSocket,
    state: State,
    /// When `connection_init` must have come, or the token expires.
    deadline: Option<Instant>,
    seat: Seat,
    operations: StreamMap<String, BoxStream<'static, Event>>,
}

impl Session {
    async fn serve(&mut self) -> End {
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        // After a standstill of this process clients have as long to answer as ever.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        let stop = self.door.stop.clone();
        loop {
            let step = tokio::select! {
                said = self.socket.recv() => {
                    unanswered = 0;
                    self.hear(said).await
                }
                Some((id, event)) = self.operations.next(), if !self.operations.is_empty() => {
                    let message = self.told(&id, event);
                    self.send(message).await
                }
                () = until(self.deadline) => Err(self.late()),
                _ = pings.tick() => {
                    unanswered += 1;
                    if unanswered > UNANSWERED_PINGS { Err(End::Gone) } else { self.send(Message::Ping(Vec::new().into())).await }
                }
                () = stop.cancelled() => Err(Close::GoingAway.into()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn late(&self) -> End {
        match self.state {
            State::Opened(_) => Close::InitTimeout.into(),
            State::Acknowledged(_) => Close::Forbidden("The token has expired").into(),
        }
    }

    async fn hear(&mut self, said: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let text = match said {
            None => return Err(End::Gone),
            Some(Err(error)) => return Err(broken(error)),
            // What answers these is sent by the library; behind a close the stream ends.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => return Ok(()),
            Some(Ok(Message::Binary(_))) => return Err(Close::BadMessage("Messages are text").into()),
            Some(Ok(Message::Text(text))) => text,
        };
        match serde_json::from_str(&text).map(|Object(said)| said) {
            Ok(Said::ConnectionInit { payload }) => Box::pin(self.init(payload.unwrap_or_default())).await,
            Ok(Said::Ping { payload }) => self.send(Tell::Pong { payload }.message()).await,
            Ok(Said::Pong {}) => Ok(()),
            Ok(Said::Subscribe { id, payload: Object(payload) }) => Box::pin(self.subscribe(id, payload)).await,
            Ok(Said::Complete { id }) => {
                self.operations.remove(&id);
                Ok(())
            }
            Err(_) => Err(Close::BadMessage("This is no message of graphql-transport-ws").into()),
        }
    }

    /// The token comes in the payload under the name of the header or as `token`; else the request's
    /// own counts.
    async fn init(&mut self, payload: Map<String, Value>) -> Result<(), End> {
        let State::Opened(from_headers) = self.state else { return Err(Close::SecondInit.into()) };
        let signed_in = match authorization(&payload)? {
            Some(value) => self.door.gateway.sign_in(Some(&value)).await.map_err(|_| Close::Forbidden("Forbidden"))?,
            None => from_headers,
        };
        if !self.door.gateway.callers.hand_over(&mut self.seat, signed_in.caller) {
            return Err(Close::TooMany.into());
        }
        let left = signed_in.until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        self.deadline = left.and_then(|left| Instant::now().checked_add(left));
        self.state = State::Acknowledged(signed_in);
        self.send(Tell::ConnectionAck.message()).await
    }

    async fn subscribe(&mut self, id: String, params: Params) -> Result<(), End> {
        let State::Acknowledged(SignedIn { caller, .. }) = self.state else { return Err(Close::Unauthorized.into()) };
        if id.is_empty() || !params.names_document() {
            return Err(Close::BadMessage("A subscribe message has an id, and a query in its payload").into());
        }
        if self.operations.contains_key(&id) {
            return Err(Close::InUse(id).into());
        }
        let most = self.door.gateway.limits.socket_operations;
        if self.operations.len() >= most {
            let failure = Failure::LimitExceeded(format!("A websocket has at most {most} operations at once; this would be one more."));
            return self.send(Tell::Error { id: &id, payload: &[failure.into()] }.message()).await;
        }
        match self.door.gateway.prepare(params, caller) {
            Ok(operation) => {
                self.operations.insert(id, events(self.door.gateway.stream(operation)).boxed());
                Ok(())
            }
            Err(refused) => self.send(Tell::Error { id: &id, payload: &refused.errors }.message()).await,
        }
    }

    /// What the client is told of an event.
    fn told(&mut self, id: &str, event: Event) -> Message {
        let message = match &event {
            Event::Next(answer) => next(id, answer),
            Event::Refused(errors) => Tell::Error { id, payload: errors }.message(),
            Event::Complete => Tell::Complete { id }.message(),
        };
        if !matches!(event, Event::Next(_)) {
            // It ends only when it is asked once more; its id is free from here on.
            self.operations.remove(id);
        }
        message
    }

    /// Sends a message, as long as the client takes any.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.door.gateway.limits.slow_reader, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Says why it closes, and reads on until the client has heard it.
    async fn close(&mut self, close: &Close) {
        let last = async {
            if self.socket.send(Message::Close(Some(close.frame()))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
            if *close == Close::TooBig {
                // The rest of that message is never read, and a connection that ends with something unread takes
                // back what was sent last.
                tokio::time::sleep(TOO_BIG_WAIT).await;
            }
        };
        // A client that does not answer is left.
        let _ = timeout(CLOSE_WAIT, last).await;
    }
}

fn broken(error: axum::Error) -> End {
    match error.into_inner().downcast::<tungstenite::Error>().as_deref() {
        Ok(tungstenite::Error::Capacity(_)) => Close::TooBig.into(),
        Ok(tungstenite::Error::Utf8(_)) => Close::NoText.into(),
        Ok(_) | Err(_) => End::Gone,
    }
}

/// Whoever means to sign in, and does not know how, is not taken for somebody who does not.
fn authorization(payload: &Map<String, Value>) -> Result<Option<String>, Close> {
    let given = |name: &str| match payload.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(Close::Forbidden("A token is a text")),
    };
    let (header, capitalized, token) = (given("authorization")?, given("Authorization")?, given("token")?);
    Ok(header.or(capitalized).or_else(|| token.map(|token| format!("Bearer {token}"))))
}

/// What an operation's answers are on this protocol.
fn events(answers: BoxStream<'static, Answer>) -> impl Stream<Item = Event> {
    unfold(Some(answers), |open| async move {
        let mut answers = open?;
        match answers.next().await {
            Some(answer) if is_refused(&answer) => Some((Event::Refused(answer.errors), None)),
            Some(answer) => Some((Event::Next(answer), Some(answers))),
            None => Some((Event::Complete, None)),
        }
    })
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
