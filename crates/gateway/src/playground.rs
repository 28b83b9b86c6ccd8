//! The playground: the page that `web/` builds, embedded in the binary, and whom it is signed in as. This module
//! must never know a field of the schema, nor hand out a token that it was not given for that.

use std::sync::{Arc, OnceLock};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS},
    },
    response::{Html, IntoResponse, Response},
    routing::get,
};
use rust_embed::{Embed, EmbeddedFile};
use serde_json::{Value, json};

use crate::{errors::Failure, http::is_this_machine};

/// What `./just web` built; empty where it did not.
#[derive(Embed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Page;

/// Stands in for it, and says how it is built.
const NOT_BUILT: &str = include_str!("playground_missing.html");
/// The page asks nobody but this gateway. Its editor writes styles into elements and brings a font along.
const POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; \
                      font-src 'self' data:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Assets are named by their content, so a browser may keep them for as long as it likes.
const KEEP: &str = "public, max-age=31536000, immutable";
/// The page names the assets of its build, so it is asked for each time.
const ASK_AGAIN: &str = "no-cache";
/// Tokens are kept nowhere.
const KEEP_NOT: &str = "no-store";

/// Whom the page is signed in as: nobody, until it is told.
#[derive(Debug, Clone, Default)]
pub struct Playground {
    demo: Arc<OnceLock<Value>>,
}

impl Playground {
    /// Whether the page is in this binary.
    #[must_use]
    pub fn is_built() -> bool {
        Page::get("index.html").is_some()
    }

    /// Has the page open its tabs for `demo`, tokens included: whoever reaches the gateway by a name of its own
    /// machine gets them.
    pub fn sign_in(&self, demo: Value) {
        // The first one stays.
        let _ = self.demo.set(demo);
    }
}

/// The page and what it needs.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(playground: Playground) -> Router<S> {
    Router::new().route("/", get(page)).route("/assets/{name}", get(asset)).route("/playground.json", get(signed_in)).with_state(playground)
}

async fn page() -> Response {
    Page::get("index.html").map_or_else(not_built, |file| answer("index.html", ASK_AGAIN, file))
}

fn not_built() -> Response {
    ([(CACHE_CONTROL, KEEP_NOT)], Html(NOT_BUILT)).into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    let path = format!("assets/{name}");
    Page::get(&path).map_or_else(|| StatusCode::NOT_FOUND.into_response(), |file| answer(&path, KEEP, file))
}

/// A page from elsewhere could have its name lead here, and would be of the same origin (DNS rebinding): to such a
/// name nobody is signed in.
async fn signed_in(State(playground): State<Playground>, headers: HeaderMap) -> Response {
    let is_here = headers.get(HOST).and_then(|host| host.to_str().ok()).is_some_and(is_this_machine);
    if playground.demo.get().is_some() && !is_here {
        let failure = Failure::Forbidden("Ask for this by a name of the machine itself, like localhost.");
        let body = Json(json!({ "errors": [{ "message": failure.message(), "extensions": { "code": failure.code() } }] }));
        return (StatusCode::FORBIDDEN, [(CACHE_CONTROL, KEEP_NOT)], body).into_response();
    }
    ([(CACHE_CONTROL, KEEP_NOT)], Json(json!({ "demo": playground.demo.get() }))).into_response()
}

fn answer(path: &str, cache: &'static str, file: EmbeddedFile) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type(path)),
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, file.data).into_response()
}

/// What the build consists of.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("md") => "text/markdown; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("ttf") => "font/ttf",
        Some("woff2") => "font/woff2",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_that_stands_in_says_what_builds_the_playground() {
        let answer = not_built();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(NOT_BUILT.contains("./just web"));
    }

    #[tokio::test]
    async fn tokens_are_given_out_under_names_of_the_machine_itself() {
        let playground = Playground::default();
        playground.sign_in(json!({ "token": "secret" }));
        for (host, status) in
            [("localhost:4000", StatusCode::OK), ("127.0.0.1:4000", StatusCode::OK), ("evil.example", StatusCode::FORBIDDEN)]
        {
            let headers = HeaderMap::from_iter([(HOST, axum::http::HeaderValue::from_static(host))]);
            assert_eq!(signed_in(State(playground.clone()), headers).await.status(), status, "{host}");
        }
        assert_eq!(signed_in(State(playground), HeaderMap::new()).await.status(), StatusCode::FORBIDDEN);
    }
}
