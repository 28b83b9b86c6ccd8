//! The connection to nats-server, and whether it stands. This module must never know which logs
//! there are.

use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerAddr, jetstream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Log, LogName, feed::Feeds};

/// The oldest nats-server that is taken: what appends and stream metadata rely on was tested from here on.
pub const MIN_SERVER_VERSION: (u64, u64) = (2, 12);
/// How long an append or an API request waits for its answer. With an fsync each they take
/// milliseconds; a disk that stalls for longer than this counts as an unknown outcome.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The first connection is tried for this long, so that a server started at the same moment is met.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Pause between attempts to connect, first and longest: a server that is back is found at once.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(400);
/// Attempts at one more connection after which it is said that there is none: some ten seconds.
const COMPLAIN_EVERY: u32 = 25;
/// A connection that answers no ping for two of these is given up.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Whether the connection stands, and how often it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it stands now.
    pub connected: bool,
    /// Grows with every connection made.
    pub generation: u64,
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers.
    #[error("no nats-server answers at {url} ({why}): start one, or name another with --nats")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What happened.
        why: String,
    },
    /// One answers that does not let this process in.
    #[error("nats-server at {url} refuses this process ({why}): name a user and a password that it takes in MILLRACE_NATS")]
    Refused {
        /// Where.
        url: String,
        /// What it said.
        why: String,
    },
    /// One answers that is too old.
    #[error("nats-server at {url} is version {version}; {}.{} or newer is needed", MIN_SERVER_VERSION.0, MIN_SERVER_VERSION.1)]
    TooOld {
        /// Where.
        url: String,
        /// Its version.
        version: String,
    },
    /// One answers that has no JetStream.
    #[error("nats-server at {url} runs without JetStream: start it with -js")]
    NoJetStream {
        /// Where.
        url: String,
    },
}

/// The servers that are named, with commas between them: any node of a cluster will do.
fn servers(urls: &str) -> Vec<&str> {
    urls.split(',').map(str::trim).collect()
}

/// URLs as they may be shown: without the names and passwords that may stand in them.
fn shown(urls: &str) -> String {
    let without_password = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    };
    servers(urls).into_iter().map(without_password).collect::<Vec<_>>().join(", ")
}

/// A connection to nats-server that mends itself.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(crate) jetstream: jetstream::Context,
    url: String,
    link: watch::Receiver<Link>,
    leaving: CancellationToken,
    pub(crate) feeds: Feeds,
}

impl Broker {
    /// Connects to the server at `url`, or to one of several that have commas between them.
    ///
    /// # Errors
    /// [`ConnectError`], where nobody answers within five seconds or the server will not do.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let (sender, link) = watch::channel(Link::default());
        let leaving = CancellationToken::new();
        let deadline = tokio::time::Instant::now() + CONNECT_WAIT;
        let client = loop {
            match options(url, sender.clone(), Some(leaving.clone())).connect(servers(url)).await {
                Ok(client) => break client,
                Err(error) if matches!(error.kind(), ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation) => {
                    return Err(ConnectError::Refused { url: shown(url), why: error.to_string() });
                }
                Err(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(RECONNECT_PAUSE_MAX).await,
                Err(error) => return Err(ConnectError::Unreachable { url: shown(url), why: error.to_string() }),
            }
        };
        let server = client.server_info();
        if !is_new_enough(&server.version) {
            return Err(ConnectError::TooOld { url: shown(url), version: server.version });
        }
        if !server.jetstream {
            return Err(ConnectError::NoJetStream { url: shown(url) });
        }
        Ok(Self::on(client, url.to_owned(), link, leaving, Feeds::default()).await)
    }

    /// The longest message that the server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.jetstream.client().server_info().max_payload
    }

    /// One more connection of this process to the same server, so that what reads far behind does not stand in the way
    /// of others: a server cuts a connection for which more than 64 MiB wait. Its coming and going is
    /// not said again. Tries until it can, or until the server is left.
    pub async fn another(&self) -> Self {
        let (sender, link) = watch::channel(Link::default());
        let mut attempts = 0_u32;
        loop {
            match options(&self.url, sender.clone(), None).connect(servers(&self.url)).await {
                Ok(client) => return Self::on(client, self.url.clone(), link, self.leaving.clone(), self.feeds.clone()).await,
                Err(_) if self.leaving.is_cancelled() => return self.clone(),
                Err(error) => {
                    attempts += 1;
                    if attempts.is_multiple_of(COMPLAIN_EVERY) && self.link.borrow().connected {
                        tracing::warn!(url = shown(&self.url), attempts, %error, "nats-server takes no further connection of this process; still trying");
                    }
                    tokio::time::sleep(RECONNECT_PAUSE_MAX).await;
                }
            }
        }
    }

    async fn on(
        client: async_nats::Client,
        url: String,
        mut link: watch::Receiver<Link>,
        leaving: CancellationToken,
        feeds: Feeds,
    ) -> Self {
        // The event of the first connection arrives a moment after the connection itself.
        let _ = tokio::time::timeout(CONNECT_WAIT, link.wait_for(|link| link.connected)).await;
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(REQUEST_TIMEOUT);
        Self { jetstream, url, link, leaving, feeds }
    }

    /// The log of this name.
    #[must_use]
    pub fn log(&self, name: LogName) -> Log {
        Log::new(self.clone(), name)
    }

    /// Says that the server will be stopped, so that its going is no news.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Follows whether the connection stands.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }
}

/// With `told`, what happens to the connection is said in the log, until that is cancelled.
fn options(urls: &str, link: watch::Sender<Link>, told: Option<CancellationToken>) -> ConnectOptions {
    // The library does not take them from there: the servers of a cluster know the same users.
    let addresses = servers(urls).into_iter().filter_map(|url| url.parse::<ServerAddr>().ok());
    let credentials = addresses.filter_map(|address| Some((address.username()?.to_owned(), address.password()?.to_owned()))).next();
    credentials
        .map_or_else(ConnectOptions::new, |(name, password)| ConnectOptions::with_user_and_password(name, password))
        .name("millrace")
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| (RECONNECT_PAUSE * u32::try_from(attempt).unwrap_or(u32::MAX).max(1)).min(RECONNECT_PAUSE_MAX))
        .event_callback(move |event| {
            note(&link, &event);
            if told.as_ref().is_some_and(|told| !told.is_cancelled()) {
                tell(&link, &event);
            }
            std::future::ready(())
        })
}

fn note(link: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => link.send_modify(|link| *link = Link { connected: true, generation: link.generation + 1 }),
        Event::Closed | Event::Disconnected => link.send_modify(|link| link.connected = false),
        Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining | Event::ServerError(_) | Event::ClientError(_) => {}
    }
}

fn tell(link: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected if link.borrow().generation > 1 => tracing::info!("Connected to nats-server again"),
        Event::Connected | Event::Closed => {}
        Event::Disconnected => tracing::warn!("Lost the connection to nats-server; trying again until it is back"),
        Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining => tracing::warn!(%event, "nats-server reports"),
        Event::ServerError(_) | Event::ClientError(_) => tracing::debug!(%event, "nats-server reports"),
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| part.parse::<u64>().ok());
    matches!((parts.next().flatten(), parts.next().flatten()), (Some(major), Some(minor)) if (major, minor) >= MIN_SERVER_VERSION)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_passwords_of_servers_are_not_shown() {
        assert_eq!(
            super::shown("nats://lisa:secret@one:4222, tls://two,three:4222,token@four"),
            "nats://one:4222, tls://two, three:4222, four"
        );
    }

    #[test]
    fn old_servers_are_told_from_new_ones() {
        assert!(super::is_new_enough("2.12.0") && super::is_new_enough("v2.15.1") && super::is_new_enough("3.0.0-beta"));
        assert!(!super::is_new_enough("2.9.10") && !super::is_new_enough("2.11.9") && !super::is_new_enough(""));
    }
}
