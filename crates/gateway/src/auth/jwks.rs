//! Where a JWK Set comes from, and how it is kept up to date: one task looks it up from time to time, and
//! when a token names a key that is not there; requests only ever read. The last good set stays until
//! there is another. This module must never know a key or a token.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use super::{
    SigningAlgorithm,
    key_set::{KeySet, PinnedKey, SetError},
};
use crate::http::is_this_machine;

/// A key that its issuer took back is not taken any more after this, if the set can be had.
const REFRESH: Duration = Duration::from_secs(300);
/// Tokens that name unknown keys cause one look in this time, however many there are: the issuer must
/// not suffer from whoever makes up tokens. A new key is known after this at the latest.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// How long one look may take; who waits for it also waits for one that was under way.
const LOOK_WAIT: Duration = Duration::from_secs(5);
/// Most requests that wait for a look. When an issuer has a new key everybody has it at once, but tokens
/// that somebody made up must not fill this gateway with requests that wait.
const MAX_WAITING: usize = 256;
/// Largest set: 64 keys with certificates have less.
const MAX_SET_BYTES: u64 = 256 * 1024;

/// Where a set is.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file, which may be replaced while it is used.
    File(PathBuf),
    /// An address, `https`, or `http` on this machine.
    Url(Url),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address with a password ends up in logs: leave it out".to_owned());
        }
        match url.scheme() {
            "https" => Ok(Self::Url(url)),
            "http" if is_this_machine(url.authority()) => Ok(Self::Url(url)),
            "http" => Err("take https: on http anybody on the way can put keys of their own in place".to_owned()),
            _ => Err("name a file, or an https address".to_owned()),
        }
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The address cannot be asked by this process at all.
    #[error("no HTTPS client can be made")]
    Client(#[source] reqwest::Error),
    /// The address does not answer.
    #[error("it does not answer")]
    Away(#[source] reqwest::Error),
    /// It takes too long.
    #[error("it does not answer within {} s", LOOK_WAIT.as_secs())]
    Slow,
    /// The address answers, but not with a set.
    #[error("it answers with the status {0}")]
    Status(StatusCode),
    /// The file cannot be read.
    #[error("it cannot be read")]
    File(#[source] std::io::Error),
    /// More than a set can have.
    #[error("it has more than {MAX_SET_BYTES} bytes")]
    TooLarge,
    /// What is there is no set, or has no usable key.
    #[error("{0}")]
    Unusable(String),
}

impl From<SetError> for JwksError {
    fn from(error: SetError) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// Looks a set up.
struct Lookup {
    location: Location,
    client: Client,
    allowed: Vec<SigningAlgorithm>,
}

impl Lookup {
    fn new(location: Location, allowed: &[SigningAlgorithm]) -> Result<Self, JwksError> {
        // Where an address leads is said by whoever configured it, so no redirect is followed.
        let client = Client::builder().redirect(Policy::none()).build().map_err(JwksError::Client)?;
        Ok(Self { location, client, allowed: allowed.to_vec() })
    }

    async fn look(&self) -> Result<KeySet, JwksError> {
        let bytes = async {
            match &self.location {
                Location::File(path) => read(path).await,
                Location::Url(url) => self.fetch(url.clone()).await,
            }
        };
        let bytes = tokio::time::timeout(LOOK_WAIT, bytes).await.map_err(|_| JwksError::Slow)??;
        Ok(KeySet::parse(&bytes, &self.allowed)?)
    }

    async fn fetch(&self, url: Url) -> Result<Vec<u8>, JwksError> {
        let away = |error: reqwest::Error| JwksError::Away(error.without_url());
        let mut response = self.client.get(url).header("accept", "application/json").send().await.map_err(away)?;
        if response.status() != StatusCode::OK {
            return Err(JwksError::Status(response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            bytes.extend_from_slice(&chunk);
            within_bounds(&bytes)?;
        }
        Ok(bytes)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, JwksError> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(JwksError::File)?;
    file.take(MAX_SET_BYTES + 1).read_to_end(&mut bytes).await.map_err(JwksError::File)?;
    within_bounds(&bytes)?;
    Ok(bytes)
}

fn within_bounds(bytes: &[u8]) -> Result<(), JwksError> {
    if bytes.len() as u64 > MAX_SET_BYTES { Err(JwksError::TooLarge) } else { Ok(()) }
}

/// The last good set.
#[derive(Clone)]
struct Known {
    set: Arc<KeySet>,
    /// When it was last looked up because of an unknown key.
    asked: Option<Instant>,
}

impl Known {
    fn may_ask(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= LOOK_PAUSE)
    }
}

/// Keys by `kid`, kept up to date as long as a copy of this lives.
#[derive(Clone)]
pub(super) struct Keyring {
    known: watch::Receiver<Known>,
    unknown_key: Arc<Notify>,
    waiting: Arc<Semaphore>,
}

impl Keyring {
    pub(super) async fn open(location: Location, allowed: &[SigningAlgorithm]) -> Result<Self, JwksError> {
        let lookup = Lookup::new(location, allowed)?;
        let set = lookup.look().await?.usable()?;
        set.refused.iter().for_each(|refusal| tracing::warn!("A key of the JWKS is not used, {refusal}"));
        let (sender, known) = watch::channel(Known { set: Arc::new(set), asked: None });
        let unknown_key = Arc::new(Notify::new());
        tokio::spawn(keep(lookup, sender, Arc::clone(&unknown_key)));
        Ok(Self { known, unknown_key, waiting: Arc::new(Semaphore::new(MAX_WAITING)) })
    }

    /// Lives as long as the task that looks does.
    #[cfg(test)]
    pub(super) fn task(&self) -> std::sync::Weak<Notify> {
        Arc::downgrade(&self.unknown_key)
    }

    /// The key with this `kid`. One that is not known is looked for once, together with everybody who
    /// does at that time, unless that was done a moment ago.
    pub(super) async fn key(&self, kid: &str) -> Option<Arc<PinnedKey>> {
        let mut known = self.known.clone();
        let (key, may_ask) = {
            let now = known.borrow_and_update();
            (now.set.get(kid), now.may_ask())
        };
        if key.is_some() || !may_ask {
            return key;
        }
        let _place = self.waiting.try_acquire().ok()?;
        self.unknown_key.notify_one();
        let _ = tokio::time::timeout(LOOK_WAIT * 2, known.changed()).await;
        known.borrow().set.get(kid)
    }
}

/// Looks the set up from time to time and when asked; ends when nobody has a copy of the keyring.
async fn keep(lookup: Lookup, known: watch::Sender<Known>, unknown_key: Arc<Notify>) {
    let mut is_failing = false;
    loop {
        let is_asked = tokio::select! {
            () = known.closed() => return,
            () = tokio::time::sleep(REFRESH) => false,
            () = unknown_key.notified() => true,
        };
        // Who asked while it was looked up has had the answer.
        if is_asked && !known.borrow().may_ask() {
            continue;
        }
        let outcome = lookup.look().await;
        match &outcome {
            Err(error) if !is_failing => {
                let error: &(dyn std::error::Error + 'static) = error;
                tracing::warn!(error, "The JWKS cannot be had; its last good keys stay in use");
            }
            Ok(_) if is_failing => tracing::info!("The JWKS can be had again"),
            Ok(_) | Err(_) => {}
        }
        is_failing = outcome.is_err();
        known.send_modify(|known| {
            known.asked = if is_asked { Some(Instant::now()) } else { known.asked };
            if let Ok(set) = outcome {
                let new = set.refused.iter().filter(|refusal| !known.set.refused.contains(refusal));
                new.for_each(|refusal| tracing::warn!("A key of the JWKS is not used, {refusal}"));
                if set.is_empty() && !known.set.is_empty() {
                    tracing::warn!("The JWKS has no usable key any more: no token is taken until it has one");
                }
                known.set = Arc::new(set);
            }
        });
    }
}
