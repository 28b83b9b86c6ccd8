//! Answers over HTTP: which media type and which status (GraphQL over HTTP, §6). This module must
//! never know what was asked.

use std::cmp::Reverse;

use async_graphql::{Response as Answer, ServerError};
use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER as RETRY_AFTER_HEADER, WWW_AUTHENTICATE},
    },
    response::Response,
};
use projections::{RejectedBy, count_rejects};

use crate::{
    errors::{Failure, RETRY_AFTER, code_of},
    operation::is_refused,
    plain::{write_json, write_value},
};

const JSON: &str = "application/json; charset=utf-8";
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json; charset=utf-8";

/// Bytes that most answers fit into.
const ROOM: usize = 512;

/// What a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`: what was asked for wrongly is a 200 with errors, since whoever reads the
    /// status could not tell an intermediary's error page from an answer.
    Json,
    /// `application/graphql-response+json`: the status says it too.
    GraphqlResponse,
    /// `text/event-stream`: answers as they come.
    EventStream,
}

impl Media {
    const ALL: [Self; 3] = [Self::Json, Self::GraphqlResponse, Self::EventStream];

    const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GraphqlResponse => "application/graphql-response+json",
            Self::EventStream => "text/event-stream",
        }
    }

    /// What the client likes best of what there is (RFC 9110 §12.5.1), of several the one that it names first; none, where it takes
    /// none of it.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(ACCEPT) {
            return Some(Self::Json);
        }
        let liked = Self::ALL.into_iter().filter_map(|media| Some((media.liked(headers)?, media)));
        // Of equals the last is the greatest, and of these JSON is what everybody reads.
        liked.rev().max_by_key(|(liked, _)| *liked).map(|(_, media)| media)
    }

    /// How much a client likes it, in thousandths, and how early it says so; none, where it does not take it. Of what it says the most
    /// specific counts.
    fn liked(self, headers: &HeaderMap) -> Option<(u32, Reverse<usize>)> {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let said = values.flat_map(|value| value.split(',')).enumerate().filter_map(|(place, range)| {
            let mut parts = range.split(';').map(str::trim);
            let specific = self.is_in(parts.next().unwrap_or_default())?;
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, thousandths);
            Some((specific, Reverse(place), quality))
        });
        said.max().filter(|(.., quality)| *quality > 0).map(|(_, place, quality)| (quality, place))
    }

    /// How specific a range is that it is in.
    fn is_in(self, range: &str) -> Option<u8> {
        match range.strip_suffix("/*") {
            // Whoever takes anything waits for an answer, not for a stream of them.
            Some("*") => (self != Self::EventStream).then_some(0),
            Some(kind) => self.name().starts_with(&format!("{}/", kind.to_ascii_lowercase())).then_some(1),
            None => self.name().eq_ignore_ascii_case(range).then_some(2),
        }
    }

    /// Whether a client takes events, be it that it likes something else better: subscriptions have no other answer.
    pub(super) fn takes_events(headers: &HeaderMap) -> bool {
        headers.contains_key(ACCEPT) && Self::EventStream.liked(headers).is_some()
    }
}

/// A weight in thousandths: one digit before the point, at most three behind it. What is none counts as 1.
fn thousandths(weight: &str) -> u32 {
    let (whole, places) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = format!("{places:0<3}");
    match (whole.parse::<u32>(), digits.parse::<u32>()) {
        (Ok(whole @ (0 | 1)), Ok(places)) if digits.len() == 3 => (whole * 1_000 + places).min(1_000),
        _ => 1_000,
    }
}

/// Writes an answer as it is sent: one that nothing was run for has no `data`.
pub(super) fn write(answer: &Answer, json: &mut Vec<u8>) {
    let has_data = !is_refused(answer);
    json.push(b'{');
    if has_data {
        json.extend_from_slice(b"\"data\":");
        write_value(&answer.data, json);
    }
    if !answer.errors.is_empty() {
        json.extend_from_slice(if has_data { b",\"errors\":" } else { b"\"errors\":" });
        write_json(&answer.errors, json);
    }
    json.push(b'}');
}

/// The answer to one operation.
pub(super) fn one(answer: &Answer, media: Media) -> Response {
    let status = if !is_refused(answer) {
        StatusCode::OK
    } else if let Some(status) = status_of(&answer.errors) {
        status
    } else if media == Media::Json {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut json = Vec::with_capacity(ROOM);
    write(answer, &mut json);
    response(status, media, json)
}

/// The answers to an array of operations, as they come.
#[derive(Default)]
pub(super) struct Many(Vec<u8>);

impl Many {
    /// How many they have so far.
    pub(super) const fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, answer: &Answer) {
        self.0.push(if self.0.is_empty() { b'[' } else { b',' });
        write(answer, &mut self.0);
    }

    /// All of them; there is one at least.
    pub(super) fn response(mut self, media: Media) -> Response {
        self.0.push(b']');
        response(StatusCode::OK, media, self.0)
    }
}

/// What is refused before there is an operation.
pub(super) fn failure(failure: Failure) -> Response {
    with_status(status_of_code(failure.code()).unwrap_or(StatusCode::BAD_REQUEST), failure)
}

/// What is refused with a status of its own.
pub(super) fn with_status(status: StatusCode, failure: Failure) -> Response {
    count_rejects(RejectedBy::Transport, failure.code(), 1);
    let mut json = Vec::new();
    write(&Answer::from_errors(vec![failure.into()]), &mut json);
    response(status, Media::Json, json)
}

/// What was refused as the client takes it: of a status that says so it need not read `application/json` (GraphQL over HTTP, §6.4).
pub(super) fn refused_as(media: Option<Media>, mut response: Response) -> Response {
    let is_json = || response.headers().get(CONTENT_TYPE).is_some_and(|now| now == JSON);
    if media == Some(Media::GraphqlResponse) && !response.status().is_success() && is_json() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRAPHQL_RESPONSE));
    }
    response
}

/// What is refused because of its method.
pub(super) fn not_allowed(allow: &'static str, message: &str) -> Response {
    let mut response = with_status(StatusCode::METHOD_NOT_ALLOWED, Failure::BadRequest(message.to_owned()));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// The status of errors that HTTP has a word for, in either media type.
fn status_of(errors: &[ServerError]) -> Option<StatusCode> {
    errors.iter().find_map(|error| status_of_code(code_of(error)?))
}

fn status_of_code(code: &str) -> Option<StatusCode> {
    match code {
        "UNAUTHENTICATED" => Some(StatusCode::UNAUTHORIZED),
        "RATE_LIMITED" => Some(StatusCode::TOO_MANY_REQUESTS),
        "OVERLOADED" => Some(StatusCode::SERVICE_UNAVAILABLE),
        "TIMED_OUT" => Some(StatusCode::GATEWAY_TIMEOUT),
        "INTERNAL" => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => None,
    }
}

fn response(status: StatusCode, media: Media, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let content_type = match media {
        Media::GraphqlResponse => GRAPHQL_RESPONSE,
        Media::Json | Media::EventStream => JSON,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER_HEADER, HeaderValue::from(RETRY_AFTER.as_secs()));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_likes_best_is_what_it_gets() {
        let accepted = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(value).expect("a header"));
            Media::accepted(&headers)
        };
        assert_eq!(Media::accepted(&HeaderMap::new()), Some(Media::Json));
        assert_eq!(accepted("*/*"), Some(Media::Json));
        assert_eq!(accepted("application/graphql-response+json, application/json;q=0.9"), Some(Media::GraphqlResponse));
        assert_eq!(accepted("application/json, application/graphql-response+json;q=0.9"), Some(Media::Json));
        assert_eq!(accepted("application/json;q=0.1, text/event-stream;q=0.25"), Some(Media::EventStream));
        assert_eq!(accepted("text/html, */*;q=0.8"), Some(Media::Json));
        assert_eq!(accepted("text/html"), None);
        assert_eq!(accepted("application/json;q=0"), None);
        assert_eq!(accepted("application/json;q=0, */*"), Some(Media::GraphqlResponse));
        assert_eq!(accepted("*/*, application/graphql-response+json"), Some(Media::Json));
        assert_eq!(accepted("*/*, text/event-stream"), Some(Media::Json));
        assert_eq!(accepted("Text/*;q=0.5, application/*;q=0.4"), Some(Media::EventStream));
    }
}
