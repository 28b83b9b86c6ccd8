//! What a token must say (RFC 7519 section 4.1), and whom it then speaks for. Claims are read into types
//! of their own, so that one of another type is refused and never skipped. This module must never
//! choose a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};

use super::{AuthError, Caller, SignedIn, key_set::PinnedKey};

/// How far an issuer's clock may be ahead, so that a token that was just made is taken. It does not
/// prolong a token: who has one that expired gets a new one.
pub(super) const LEEWAY: Duration = Duration::from_secs(5);

/// Who must have issued a token (`iss`), and for whom (`aud`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The only `iss` that is taken.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
}

/// What the `role` claim may be. Without one it is a customer's token.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    #[default]
    Customer,
    Operator,
}

/// One principal or several (RFC 7519 section 4.1.3).
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn holds(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// Times are whole seconds (a `NumericDate` without fraction); texts and floats are refused.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub iss: String,
    pub aud: Audience,
    pub sub: String,
    #[serde(default)]
    pub role: Role,
    pub nbf: u64,
    pub exp: u64,
}

/// How a token of this algorithm is validated by the library: signature and times. Issuer and audience
/// are checked on the typed claims.
pub(super) fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation
}

/// Whom a token that is signed with `key` speaks for.
pub(super) fn check(token: &str, key: &PinnedKey, expected: &Expected) -> Result<SignedIn, AuthError> {
    let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation).map_err(|_| AuthError)?.claims;
    if claims.iss != expected.issuer || !claims.aud.holds(&expected.audience) {
        return Err(AuthError);
    }
    let until = UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp)).filter(|until| *until > SystemTime::now()).ok_or(AuthError)?;
    let caller = match claims.role {
        Role::Customer => claims.sub.parse().map(Caller::Customer).map_err(|_| AuthError)?,
        Role::Operator => Caller::Operator,
    };
    Ok(SignedIn { caller, until: Some(until) })
}
