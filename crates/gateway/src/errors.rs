//! The one edge where errors become GraphQL errors with a stable `extensions.code`, and causes stay
//! inside. This module must never know what was asked.

use std::time::Duration;

use async_graphql::{Error, ErrorExtensions as _, ServerError, Value};
use projections::StoreError;
use streams::AppendError;
use uuid::Uuid;

/// When to try again what may work then: an outage of the log is looked at anew within this.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where an error says so.
const RETRY_AFTER_KEY: &str = "retryAfterMs";

/// What to do where nobody knows whether something was done. What has no idempotency key would be done twice.
const FIND_OUT: &str = "Repeat it with the same idempotency key to find out; where it had none, look for it before you send it again.";

/// What a caller is told besides data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request itself is wrong, whoever sends it.
    BadRequest(String),
    /// One of the limits of a request; the message says which, and how much is the most.
    LimitExceeded(String),
    /// As many connections are open as there may be; the message says whose.
    TooManyConnections(&'static str),
    /// More operations a second than this caller may ask for.
    RateLimited,
    /// It took longer than an operation may take.
    TimedOut,
    /// Its body did not come in time, so nothing was done.
    BodyTooSlow,
    /// A document that nobody stored, or that was forgotten.
    PersistedQueryNotFound,
    /// A document that is not on the list.
    UntrustedDocument,
    /// No valid token, where one is needed.
    Unauthenticated,
    /// A token that is not valid.
    BadToken,
    /// Not for this caller's role.
    Forbidden(&'static str),
    /// No such account, or not theirs.
    UnknownAccount,
    /// No such payment, or not theirs.
    UnknownPayment,
    /// An input that its type does not refuse, but the operation does.
    BadInput(String),
    /// Nothing was done: more is asked at once than this machine takes. Try again later.
    Overloaded,
    /// Try again later; the message says whether something may have been stored.
    Unavailable(String),
    /// The read model did not come as far as was asked in time; try again.
    StaleRead,
    /// Ours; the id stands in the log.
    Internal(Uuid),
}

impl Failure {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BAD_REQUEST",
            Self::LimitExceeded(_) | Self::TooManyConnections(_) => "LIMIT_EXCEEDED",
            Self::RateLimited => "RATE_LIMITED",
            Self::TimedOut | Self::BodyTooSlow => "TIMED_OUT",
            // The name that clients of automatic persisted queries look for.
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::UntrustedDocument => "UNTRUSTED_DOCUMENT",
            Self::Unauthenticated | Self::BadToken => "UNAUTHENTICATED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::UnknownAccount => "UNKNOWN_ACCOUNT",
            Self::UnknownPayment => "UNKNOWN_PAYMENT",
            Self::BadInput(_) => "BAD_USER_INPUT",
            Self::Overloaded => "OVERLOADED",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::StaleRead => "STALE_READ",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// Whether the same may work a moment later.
    const fn passes(&self) -> bool {
        match self {
            Self::Overloaded
            | Self::Unavailable(_)
            | Self::StaleRead
            | Self::RateLimited
            | Self::TooManyConnections(_)
            | Self::TimedOut
            | Self::BodyTooSlow => true,
            Self::BadRequest(_)
            | Self::LimitExceeded(_)
            | Self::PersistedQueryNotFound
            | Self::UntrustedDocument
            | Self::BadToken
            | Self::Unauthenticated
            | Self::Forbidden(_)
            | Self::UnknownAccount
            | Self::UnknownPayment
            | Self::BadInput(_)
            | Self::Internal(_) => false,
        }
    }

    /// A read model cannot be asked now.
    pub(crate) fn not_level() -> Self {
        Self::Unavailable("A read model is being built again. Try again in a moment.".to_owned())
    }

    /// What the caller of several things is told where one failed and others were stored.
    pub(crate) fn of_a_part(self) -> Self {
        // An internal error is told by its id alone, which says nothing of what was stored.
        if self.passes() || matches!(self, Self::Internal(_)) { Self::part_stored() } else { self }
    }

    fn part_stored() -> Self {
        let message = "A part of this was stored; whether the rest was is unknown. Repeat what had an idempotency key: what was stored is answered again. Look for what had none before you send it again.";
        Self::Unavailable(message.to_owned())
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::BadRequest(why) | Self::LimitExceeded(why) => why.clone(),
            Self::RateLimited => "Nothing was done: the rate limit is exceeded. Try again in a second.".to_owned(),
            Self::TimedOut => {
                format!("This took too long; what it was to change may have been done or not. {FIND_OUT}")
            }
            Self::BodyTooSlow => "Nothing was done: the request's body did not come in time. Send it again.".to_owned(),
            // The words that clients of automatic persisted queries look for.
            Self::PersistedQueryNotFound => "PersistedQueryNotFound".to_owned(),
            Self::UntrustedDocument => "This gateway runs documents of its list only: name one by its id.".to_owned(),
            Self::Unauthenticated => "Sign in first: send a bearer token.".to_owned(),
            Self::BadToken => "The bearer token is not valid: get a new one, or send none.".to_owned(),
            Self::Forbidden(why) | Self::TooManyConnections(why) => (*why).to_owned(),
            Self::UnknownAccount => "There is no such account.".to_owned(),
            Self::UnknownPayment => "There is no such payment.".to_owned(),
            Self::BadInput(why) | Self::Unavailable(why) => why.clone(),
            Self::Overloaded => "Nothing was stored: more is asked than can be taken now. Try again in a second.".to_owned(),
            Self::StaleRead => {
                "The state asked for with atLeast, or shown by other answers, is not here yet. Try again in a moment.".to_owned()
            }
            Self::Internal(id) => format!("Something went wrong here. It was logged as {id}."),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.message()).extend_with(|_, extensions| {
            extensions.set("code", failure.code());
            if failure.passes() {
                extensions.set(RETRY_AFTER_KEY, RETRY_AFTER.as_secs() * 1_000);
            }
        })
    }
}

/// The same of an error that is about to be answered.
pub(crate) fn of_a_part(error: ServerError) -> ServerError {
    let passes = error.extensions.as_ref().is_some_and(|extensions| extensions.get(RETRY_AFTER_KEY).is_some());
    if !passes {
        return error;
    }
    let told = Error::from(Failure::part_stored());
    ServerError { message: told.message, extensions: told.extensions, ..error }
}

/// The code of an error that is about to be answered: everything that goes out has one.
pub(crate) fn code_of(error: &ServerError) -> Option<&str> {
    let Value::String(code) = error.extensions.as_ref()?.get("code")? else { return None };
    Some(code)
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        let error = Error::from(failure);
        Self { extensions: error.extensions, ..Self::new(error.message, None) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::NotLevel) {
            return Self::not_level();
        }
        let id = Uuid::new_v4();
        tracing::error!(%id, %error, "A read model could not be read");
        Self::Internal(id)
    }
}

/// Where an append was not acknowledged: what the caller may conclude.
impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let message = match error {
            AppendError::Overloaded => return Self::Overloaded,
            AppendError::Unknown(_) => format!("The log has not confirmed this: it may have been stored or not. {FIND_OUT}"),
            AppendError::Refused | AppendError::Unavailable(_) | AppendError::TooLarge(_) => {
                "Nothing was stored: the log cannot be written now. Try again in a moment.".to_owned()
            }
        };
        Self::Unavailable(message)
    }
}
