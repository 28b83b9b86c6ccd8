//! A JWK Set that a real server answers with, or does not.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use serde_json::json;

use super::*;

/// How long a condition may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of a JWKS: what it answers, and how often it was asked.
#[derive(Clone, Default)]
struct Jwks {
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Jwks {
    async fn start() -> (Self, Location) {
        let jwks = Self::default();
        let answer = async |State(jwks): State<Self>| {
            jwks.asked.fetch_add(1, Ordering::SeqCst);
            let (status, body) = jwks.answer.lock().expect("whole").clone();
            (StatusCode::from_u16(status).expect("a status"), body)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let routes = Router::new().route("/keys", get(answer)).with_state(jwks.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (jwks, url.parse().expect("a location"))
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().expect("whole") = (status, body.to_owned());
    }

    fn has(&self, signers: &[&Signer]) {
        self.answers(200, &json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_new_key_is_looked_for_once_and_whoever_makes_keys_up_causes_no_storm() {
    let (jwks, location) = Jwks::start().await;
    let [old, new] = ["old", "new"].map(|kid| Signer::new(Algorithm::ES256, kid));
    let good = claims(&json!({}));
    jwks.has(&[&old]);
    let keys = Keys::from_jwks(location, &SigningAlgorithm::ALL, expected()).await.expect("keys");
    for _ in 0..10 {
        assert!(caller(&keys, &old.sign(&good)).await.is_ok());
    }
    assert_eq!(jwks.asked(), 1, "known keys need no look");
    jwks.has(&[&new]);
    let token = new.sign(&good);
    let at_once = futures_util::future::join_all((0..100).map(|_| caller(&keys, &token))).await;
    assert!(at_once.iter().all(Result::is_ok), "everybody waits for the one look");
    assert_eq!(jwks.asked(), 2);
    assert_eq!(caller(&keys, &old.sign(&good)).await, Err(AuthError), "a key that was taken back");
    for number in 0..1_000 {
        let made_up = Header { kid: Some(number.to_string()), ..Header::new(Algorithm::ES256) };
        assert_eq!(caller(&keys, &old.sign_with(made_up, &good)).await, Err(AuthError));
    }
    assert!(jwks.asked() <= 3, "{} looks", jwks.asked());
    assert!(caller(&keys, &token).await.is_ok());
}

#[tokio::test]
async fn the_last_good_set_stays_whatever_its_server_says() {
    let (jwks, location) = Jwks::start().await;
    let signer = Signer::new(Algorithm::EdDSA, "only");
    for (status, body) in [(500, "{}"), (200, "{}"), (200, "<html>"), (302, ""), (200, &"x".repeat(300_000))] {
        jwks.answers(status, body);
        assert!(Keys::from_jwks(location.clone(), &SigningAlgorithm::ALL, expected()).await.is_err(), "no start without keys");
        jwks.has(&[&signer]);
        let keys = Keys::from_jwks(location.clone(), &SigningAlgorithm::ALL, expected()).await.expect("keys");
        jwks.answers(status, body);
        let before = jwks.asked();
        let unknown = signer.sign_with(Header { kid: Some("unknown".to_owned()), ..Header::new(Algorithm::EdDSA) }, &claims(&json!({})));
        assert_eq!(caller(&keys, &unknown).await, Err(AuthError));
        assert_eq!(jwks.asked(), before + 1);
        assert!(caller(&keys, &signer.sign(&claims(&json!({})))).await.is_ok());
    }
    let nobody = "https://127.0.0.1:1/keys".parse::<Location>().expect("a location");
    assert!(Keys::from_jwks(nobody, &SigningAlgorithm::ALL, expected()).await.is_err(), "TLS has one provider, and says no more than no");
}

#[tokio::test]
async fn keys_that_were_taken_back_are_taken_no_more_also_where_no_other_is_left() {
    let (jwks, location) = Jwks::start().await;
    let signer = Signer::new(Algorithm::EdDSA, "only");
    for nothing_usable in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"only","k":"c2VjcmV0"}]}"#] {
        jwks.has(&[&signer]);
        let keys = Keys::from_jwks(location.clone(), &SigningAlgorithm::ALL, expected()).await.expect("keys");
        let token = signer.sign(&claims(&json!({})));
        assert!(caller(&keys, &token).await.is_ok());
        jwks.answers(200, nothing_usable);
        assert!(Keys::from_jwks(location.clone(), &SigningAlgorithm::ALL, expected()).await.is_err(), "no start without keys");
        let unknown = signer.sign_with(Header { kid: Some("unknown".to_owned()), ..Header::new(Algorithm::EdDSA) }, &claims(&json!({})));
        assert_eq!(caller(&keys, &unknown).await, Err(AuthError), "which looks once more");
        assert_eq!(caller(&keys, &token).await, Err(AuthError), "{nothing_usable}");
    }
}

#[tokio::test]
async fn nobody_looks_any_more_once_the_keys_are_dropped() {
    let (jwks, location) = Jwks::start().await;
    jwks.has(&[&Signer::new(Algorithm::EdDSA, "only")]);
    let keys = Keys::from_jwks(location, &SigningAlgorithm::ALL, expected()).await.expect("keys");
    let Source::Jwks(keyring) = &keys.source else { panic!("a keyring") };
    let waits = keyring.task();
    assert_eq!(waits.strong_count(), 2);
    drop(keys);
    let gone = async {
        while waits.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the task ends");
}
