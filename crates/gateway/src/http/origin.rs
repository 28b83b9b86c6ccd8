//! Which pages' scripts may talk to the gateway: those of its own origin, and those that are configured
//! (RFC 6454; the Fetch standard's CORS). This module must never know who signed in.

use axum::http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN},
};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

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
}

impl Origins {
    /// From what is configured.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn new(listed: &[String]) -> Result<Self, OriginError> {
        let mut origins = Self { listed: Vec::new(), any: listed.iter().any(|origin| origin == ANY) };
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

    /// Whether a websocket with these headers may be opened. Browsers ask nobody before they open one,
    /// so it must be looked at here; what is no browser sends no origin.
    pub(super) fn may_open(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let own = || {
            let host = headers.get(HOST)?.to_str().ok()?;
            let (_, of) = origin.to_str().ok()?.split_once("://")?;
            Some(of.eq_ignore_ascii_case(host))
        };
        self.any || self.listed.contains(origin) || own().unwrap_or(false)
    }

    /// The same for requests: a browser asks before it sends one with JSON or a token to another origin.
    pub(super) fn cors(&self) -> CorsLayer {
        let allowed = if self.any { AllowOrigin::any() } else { AllowOrigin::list(self.listed.clone()) };
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([ACCEPT, AUTHORIZATION, CONTENT_TYPE])
            .max_age(REMEMBER)
    }
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
        assert!(Origins::new(&["app.example".to_owned()]).is_err());
        assert!(Origins::new(&["https://app.example/path".to_owned()]).is_err());
    }
}
