//! Which pages' scripts may talk to the gateway: those of its own origin, and those that are configured
//! (RFC 6454; the Fetch standard's CORS). This module must never know who signed in.

use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER},
    uri::Authority,
};
use std::{net::IpAddr, time::Duration};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::traces::TRACEPARENT;

/// How long a browser may remember what it was told.
const REMEMBER: Duration = Duration::from_secs(600);
const ANY: &str = "*";

/// A text that is no origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin: write scheme, host and port as a browser sends them, like https://app.example, or * for any")]
pub struct OriginError(String);

/// The origins besides its own that may talk to the gateway.
#[derive(Debug, Default)]
pub struct Origins {
    listed: Vec<HeaderValue>,
    any: bool,
    is_local: bool,
}

impl Origins {
    /// From what is configured.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn new(listed: &[String]) -> Result<Self, OriginError> {
        let mut origins = Self { listed: Vec::new(), any: listed.iter().any(|origin| origin == ANY), is_local: false };
        for text in listed.iter().filter(|text| *text != ANY) {
            let wrong = || OriginError(text.clone());
            let host = text.split_once("://").map(|(_, host)| host).ok_or_else(wrong)?;
            if host.is_empty() || host.contains('/') {
                return Err(wrong());
            }
            origins.listed.push(HeaderValue::from_str(text).map_err(|_| wrong())?);
        }
        Ok(origins)
    }

    /// The same, for a gateway that is only for whoever sits at its machine: no other name for it is its own origin. A
    /// page from elsewhere could have its name lead here (DNS rebinding).
    #[must_use]
    pub fn of_this_machine(self) -> Self {
        Self { is_local: true, ..self }
    }

    /// Whether a websocket with these headers may be opened. Browsers ask nobody before they open one,
    /// so it must be looked at here; what is no browser sends no origin.
    pub(super) fn may_open(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        if origins.next().is_some() {
            return false;
        }
        let own = || {
            let host = headers.get(HOST)?.to_str().ok()?;
            let (_, of) = origin.to_str().ok()?.split_once("://")?;
            Some(of.eq_ignore_ascii_case(host) && (!self.is_local || is_this_machine(host)))
        };
        self.any || self.listed.contains(origin) || own().unwrap_or(false)
    }

    /// The same for requests: a browser asks before it sends one with JSON or a token to another origin.
    pub(super) fn cors(&self) -> CorsLayer {
        let allowed = if self.any { AllowOrigin::any() } else { AllowOrigin::list(self.listed.clone()) };
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static(TRACEPARENT)])
            .expose_headers([RETRY_AFTER])
            .max_age(REMEMBER)
    }
}

/// Whether a `Host` header names the machine itself.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_origin_and_the_listed_may_open_a_websocket() {
        let origins = Origins::new(&["https://app.example".to_owned()]).expect("origins");
        let may = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:4000"))]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            origins.may_open(&headers)
        };
        assert!(may(None));
        assert!(may(Some("http://127.0.0.1:4000")));
        assert!(may(Some("https://app.example")));
        for other in ["http://app.example", "https://app.example.evil", "http://127.0.0.1:4001", "null", ""] {
            assert!(!may(Some(other)), "{other}");
        }
        let mut two = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:4000"))]);
        for origin in ["http://127.0.0.1:4000", "http://evil.example"] {
            two.append(ORIGIN, HeaderValue::from_static(origin));
        }
        assert!(!origins.may_open(&two), "which of them it is nobody knows");
        assert!(Origins::new(&["app.example".to_owned()]).is_err());
        assert!(Origins::new(&["https://app.example/path".to_owned()]).is_err());
    }

    #[test]
    fn only_names_of_the_machine_itself_are_its_own_where_it_is_for_nobody_else() {
        for (host, is_own) in [
            ("127.0.0.1:4000", true),
            ("127.8.0.1", true),
            ("localhost:4000", true),
            ("LOCALHOST", true),
            ("[::1]:4000", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:4000", false),
            ("10.0.0.1", false),
            ("user@", false),
            ("", false),
        ] {
            assert_eq!(is_this_machine(host), is_own, "{host}");
        }
        let headers = |host: &'static str, origin: &'static str| {
            HeaderMap::from_iter([(HOST, HeaderValue::from_static(host)), (ORIGIN, HeaderValue::from_static(origin))])
        };
        let evil = headers("evil.example:4000", "http://evil.example:4000");
        assert!(Origins::default().may_open(&evil), "a name that its owner gave it");
        assert!(!Origins::default().of_this_machine().may_open(&evil));
        assert!(Origins::default().of_this_machine().may_open(&headers("localhost:4000", "http://localhost:4000")));
    }
}
