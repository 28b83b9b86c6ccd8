//! How much may be under way at once. This module must never know what a request asks.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody as _, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH},
    middleware::Next,
    response::Response,
};
use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use super::answer::{self, Media};
use crate::{errors::Failure, limits::Limits};

/// What requests under way take of the memory, in KiB: 256 MiB in all.
const MEMORY_KIB: u32 = 256 * 1024;
/// What one takes besides its body: its parse tree, its connection, and its answer, unless that is larger.
const REQUEST_KIB: u32 = 64;
/// The bodies of requests under way, in KiB: in bulks 4 MiB are some 20,000 payments, about a second's
/// work of two cores. What more would be let in would only wait, and take the time to parse it from
/// what was let in before.
const BODIES_KIB: u32 = 4 * 1024;
/// A quarter of each is kept for requests of at most this size, so that a customer's single payment
/// finds its way past bulks.
const SMALL_KIB: u32 = 16;

/// So many KiB of something, of which a quarter is for what is small.
struct Share {
    rest: Arc<Semaphore>,
    kept: Semaphore,
}

impl Share {
    /// So much in all, and for what is large no less than `largest`, which finds its place if alone.
    fn new(all: u32, largest: u32) -> Self {
        let kept = all / 4;
        Self { rest: Arc::new(Semaphore::new((all - kept).max(largest) as usize)), kept: Semaphore::new(kept as usize) }
    }

    /// So many KiB for a request with a body of `body` KiB, until they are dropped; none where that is too much now.
    fn take(&self, kib: u32, body: u32) -> Option<SemaphorePermit<'_>> {
        let kept = if body <= SMALL_KIB { self.kept.try_acquire_many(kib).ok() } else { None };
        kept.or_else(|| self.rest.try_acquire_many(kib).ok())
    }
}

/// A large answer with the memory that it has until it is sent.
struct Unsent {
    json: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

/// What requests may take together: memory as it fills, and work once it is known.
#[derive(Clone)]
pub(super) struct Budget {
    memory: Arc<Share>,
    bodies: Arc<Share>,
    most_bytes: usize,
    /// How long a body may take to arrive, or to be thrown away.
    patience: Duration,
}

/// A body with the memory that it has, or why it is not kept.
type Kept<'a> = Result<(Vec<u8>, Vec<SemaphorePermit<'a>>), Failure>;

impl Budget {
    /// A budget for bodies within these limits.
    pub(super) fn new(limits: &Limits) -> Self {
        let (most_bytes, patience) = (limits.body_bytes, limits.request_time);
        let largest = kib(most_bytes);
        let share = |all| Arc::new(Share::new(all, largest));
        Self { memory: share(MEMORY_KIB), bodies: share(BODIES_KIB), most_bytes, patience }
    }

    /// The place of a request whose body has so many KiB.
    fn work(&self, body: u32) -> Option<[SemaphorePermit<'_>; 2]> {
        Some([self.memory.take(REQUEST_KIB, body)?, self.bodies.take(body, body)?])
    }

    /// The body. What is too long, or has no room, is read to its end all the same and not kept: a client that is
    /// still sending would not see an answer.
    async fn receive(&self, mut chunks: BodyDataStream) -> Kept<'_> {
        let mut kept = Ok((Vec::new(), Vec::new()));
        while let Some(chunk) = chunks.next().await {
            let Ok(chunk) = chunk else { return Err(too_long(self.most_bytes)) };
            kept = kept.and_then(|kept| self.keep(kept, &chunk));
        }
        kept
    }

    /// Memory is taken for what has come, not for what was announced: so nobody has any by announcing much.
    fn keep<'a>(&'a self, (mut bytes, mut memory): (Vec<u8>, Vec<SemaphorePermit<'a>>), chunk: &[u8]) -> Kept<'a> {
        let length = bytes.len() + chunk.len();
        if length > self.most_bytes {
            return Err(too_long(self.most_bytes));
        }
        let has = if memory.is_empty() { 0 } else { kib(bytes.len()) };
        let needs = kib(length) - has;
        if needs > 0 {
            memory.push(self.memory.take(needs, kib(length)).ok_or(Failure::Overloaded)?);
        }
        bytes.extend_from_slice(chunk);
        Ok((bytes, memory))
    }

    /// Lets a request in, and takes back its place once it is answered.
    async fn admit(&self, request: Request, next: Next) -> Response {
        if request.method() == Method::GET {
            return match self.work(kib(0)) {
                Some(_under_way) => self.send(next.run(request).await).await,
                None => answer::failure(Failure::Overloaded),
            };
        }
        let (parts, body) = request.into_parts();
        let mut chunks = body.into_data_stream();
        if self.work(kib(announced(&parts.headers).min(self.most_bytes))).is_none() {
            let drained = async { while let Some(Ok(_)) = chunks.next().await {} };
            // One that sends for ever is not waited for.
            let _ = timeout(self.patience, drained).await;
            return answer::failure(Failure::Overloaded);
        }
        let (bytes, _memory) = match timeout(self.patience, self.receive(chunks)).await {
            Ok(Ok(received)) => received,
            Ok(Err(failure @ Failure::LimitExceeded(_))) => return answer::with_status(StatusCode::PAYLOAD_TOO_LARGE, failure),
            Ok(Err(failure)) => return answer::failure(failure),
            Err(_) => return answer::with_status(StatusCode::REQUEST_TIMEOUT, Failure::BodyTooSlow),
        };
        match self.work(kib(bytes.len())) {
            Some(_under_way) => self.send(next.run(Request::from_parts(parts, Body::from(bytes))).await).await,
            None => answer::failure(Failure::Overloaded),
        }
    }

    /// The answer as it is sent. A large one takes memory until its client has taken all of it, however slowly: a quarter is
    /// left for what is small, and where the rest is used up it is not kept.
    async fn send(&self, response: Response) -> Response {
        // A subscription's events are made as they are sent, one at a time.
        let is_large = response.body().size_hint().exact().is_some_and(|bytes| bytes > u64::from(REQUEST_KIB) * 1024);
        if !is_large {
            return response;
        }
        let (parts, body) = response.into_parts();
        // It is in memory already.
        let Ok(json) = to_bytes(body, usize::MAX).await else { return unsent() };
        match Arc::clone(&self.memory.rest).try_acquire_many_owned(kib(json.len())) {
            Ok(memory) => Response::from_parts(parts, Body::from(Bytes::from_owner(Unsent { json, _memory: memory }))),
            Err(_) => unsent(),
        }
    }
}

/// What is said instead of an answer that has no room.
fn unsent() -> Response {
    let message = "There is no room for this answer now, and what it answers may have been done. Ask for less; repeat no payment but with its idempotency key.";
    answer::with_status(StatusCode::SERVICE_UNAVAILABLE, Failure::Unavailable(message.to_owned()))
}

/// Lets a request in, or refuses it where too much is under way: what is let in is answered in time, and the
/// memory stays bounded whatever is asked. A body that would be too much now is not even kept; its place is taken
/// once it has come, so that no slow sender stands in anybody's way.
pub(super) async fn admit(State(budget): State<Budget>, request: Request, next: Next) -> Response {
    let media = Media::accepted(request.headers());
    let response = budget.admit(request, next).await;
    answer::refused_as(media, response)
}

/// How long a body says it is; nothing, where it does not say.
fn announced(headers: &HeaderMap) -> usize {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(MEMORY_KIB)
}

fn too_long(most: usize) -> Failure {
    Failure::LimitExceeded(format!("The request has more than {most} bytes, or did not arrive whole."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_left_for_what_is_small_however_large_the_others_are() {
        let budget = Budget::new(&Limits::default());
        let large: Vec<_> = [2_048, 1_020, 1_026, 17].into_iter().filter_map(|body| budget.work(body)).collect();
        assert_eq!(large.len(), 2, "3 MiB, less a little");
        let small: Vec<_> = (0..200).map_while(|_| budget.work(SMALL_KIB)).collect();
        assert_eq!(small.len(), 64, "a MiB");
        assert!(budget.work(17).is_none());
        drop(large);
        assert!(budget.work(SMALL_KIB).is_some(), "also where no bulk is");
    }

    #[tokio::test]
    async fn what_is_not_sent_yet_has_its_memory_and_leaves_some_for_what_is_small() {
        let budget = Budget::new(&Limits::default());
        let large = || Response::new(Body::from(vec![b'x'; 40 << 20]));
        let mut unsent = Vec::new();
        for _ in 0..4 {
            let answer = budget.send(large()).await;
            assert_eq!(answer.status(), StatusCode::OK);
            unsent.push(answer);
        }
        let refused = budget.send(large()).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "192 MiB have no room for five");
        assert!(budget.work(SMALL_KIB).is_some(), "who asks for little is let in");
        assert_eq!(budget.send(Response::new(Body::from("little"))).await.status(), StatusCode::OK);
        unsent.pop();
        assert_eq!(budget.send(large()).await.status(), StatusCode::OK, "one was sent");
    }

    #[tokio::test]
    async fn a_body_takes_memory_for_what_has_come() {
        let budget = Budget::new(&Limits::default());
        let free = || budget.memory.rest.available_permits() + budget.memory.kept.available_permits();
        let all = free();
        let kept = budget.keep((Vec::new(), Vec::new()), b"x").expect("room");
        assert_eq!(all - free(), 1, "a KiB, whatever was announced");
        let kept = budget.keep(kept, &[0; 100 * 1024]).expect("room");
        assert_eq!(all - free(), 101);
        let more = vec![0; Limits::default().body_bytes];
        assert!(matches!(budget.keep(kept, &more), Err(Failure::LimitExceeded(_))));
        assert_eq!(all, free(), "what is not kept takes nothing");
    }
}
