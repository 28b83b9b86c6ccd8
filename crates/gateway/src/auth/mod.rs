//! Who calls: bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519), taken as the best current
//! practice (RFC 8725) says: the key is one that was configured, the key says the algorithm, and issuer,
//! audience and times are always checked. Nothing that a token says of how to check it is believed.
//! This module must never know what a caller may do; it only says who it is.

mod claims;
mod issuer;
mod jwks;
mod key_set;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::SystemTime};

use domain::CustomerId;
use jsonwebtoken::decode_header;

pub use claims::Expected;
pub use issuer::Issuer;
pub use jwks::{JwksError, Location};
pub use key_set::{KeyRefusal, SigningAlgorithm};

use jwks::Keyring;
use key_set::PinnedKey;

/// Longest token that is looked at; those of large identity providers have three to four thousand bytes.
const MAX_TOKEN_BYTES: usize = 8_192;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Nobody that signed in.
    Anonymous,
    /// A customer.
    Customer(CustomerId),
    /// An operator of the bank.
    Operator,
}

/// Who signed in, and until when that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIn {
    /// Who it is.
    pub caller: Caller,
    /// When the token expires; none, for whoever came without one.
    pub until: Option<SystemTime>,
}

/// A token that is not taken. It does not say why: whoever holds a good one need not know, and
/// others should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bearer token is not valid")]
pub struct AuthError;

/// What tokens are checked with. Nothing can be signed with it.
#[derive(Clone)]
pub struct Keys {
    source: Source,
    expected: Arc<Expected>,
}

#[derive(Clone)]
enum Source {
    /// One shared secret, HS256; a token's `kid` does not matter.
    Secret(Arc<PinnedKey>),
    /// Public keys by `kid`.
    Jwks(Keyring),
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.source {
            Source::Secret(_) => "Keys(secret)",
            Source::Jwks(_) => "Keys(JWKS)",
        })
    }
}

impl Keys {
    /// Takes tokens that were signed with a shared secret (HS256, RFC 7518 section 3.2).
    #[must_use]
    pub fn from_secret(secret: &[u8], expected: Expected) -> Self {
        Self { source: Source::Secret(Arc::new(PinnedKey::secret(secret))), expected: Arc::new(expected) }
    }

    /// Takes tokens that were signed with a key of a JWK Set (RFC 7517), which is looked up now and kept
    /// up to date by a task of the current runtime as long as a copy of this lives.
    ///
    /// # Errors
    /// [`JwksError`], where there is no usable key now.
    pub async fn from_jwks(location: Location, allowed: &[SigningAlgorithm], expected: Expected) -> Result<Self, JwksError> {
        let keyring = Keyring::open(location, allowed).await?;
        Ok(Self { source: Source::Jwks(keyring), expected: Arc::new(expected) })
    }

    /// Who the value of an `Authorization` header (RFC 6750) speaks for; nobody, where there is none.
    ///
    /// # Errors
    /// [`AuthError`], where there is a value that is not a good bearer token.
    pub async fn sign_in(&self, authorization: Option<&str>) -> Result<SignedIn, AuthError> {
        let Some(value) = authorization else { return Ok(SignedIn { caller: Caller::Anonymous, until: None }) };
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.verify(token.trim()).await,
            Some(_) | None => Err(AuthError),
        }
    }

    async fn verify(&self, token: &str) -> Result<SignedIn, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError);
        }
        // Of what a header may hold, `kid` is used, to find the key. Keys and places of keys that it brings
        // along (`jwk`, `jku`, `x5u`, `x5c`) are nothing to us, and `alg` must be what the key says.
        let header = decode_header(token).map_err(|_| AuthError)?;
        // Extensions that must be understood (RFC 7515 section 4.1.11): none is.
        if header.crit.is_some() {
            return Err(AuthError);
        }
        let key = match &self.source {
            Source::Secret(key) => Arc::clone(key),
            Source::Jwks(keyring) => keyring.key(header.kid.as_deref().ok_or(AuthError)?).await.ok_or(AuthError)?,
        };
        claims::check(token, &key, &self.expected)
    }
}
