//! Who calls: bearer tokens (JWT, RFC 7519; HS256) with the issuer, audience and times checked.
//! This module must never know what a caller may do; it only says who it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::CustomerId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Both issuer and audience: the gateway issues its tokens for itself.
const ISSUER: &str = "millrace";
/// How long a token is good for: a month of development.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 4_096;

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

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleClaim {
    Customer,
    Operator,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    role: RoleClaim,
    nbf: u64,
    exp: u64,
}

/// The secret that tokens are signed and checked with.
#[derive(Clone)]
pub struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(secret)")
    }
}

impl Keys {
    /// Keys from a shared secret.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        validation.validate_nbf = true;
        Self { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret), validation }
    }

    /// A token for a caller; none for an anonymous one.
    ///
    /// # Errors
    /// [`AuthError`], where there is nothing to sign.
    pub fn mint(&self, caller: Caller) -> Result<String, AuthError> {
        let (role, sub) = match caller {
            Caller::Anonymous => return Err(AuthError),
            Caller::Customer(id) => (RoleClaim::Customer, id.to_string()),
            Caller::Operator => (RoleClaim::Operator, "operator".to_owned()),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (nbf, exp) = (now.as_secs(), (now + LIFETIME).as_secs());
        let claims = Claims { iss: ISSUER.to_owned(), aud: ISSUER.to_owned(), sub, role, nbf, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|_| AuthError)
    }

    /// Who a token says its bearer is.
    ///
    /// # Errors
    /// [`AuthError`], where it is not one of these keys', or not good now.
    pub fn verify(&self, token: &str) -> Result<SignedIn, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(|_| AuthError)?.claims;
        let caller = match claims.role {
            RoleClaim::Customer => claims.sub.parse().map(Caller::Customer).map_err(|_| AuthError)?,
            RoleClaim::Operator => Caller::Operator,
        };
        Ok(SignedIn { caller, until: UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp)) })
    }

    /// Who the value of an `Authorization` header (RFC 6750) speaks for; nobody, where there is none.
    ///
    /// # Errors
    /// [`AuthError`], where there is a value that is not a good bearer token.
    pub async fn sign_in(&self, authorization: Option<&str>) -> Result<SignedIn, AuthError> {
        let Some(value) = authorization else { return Ok(SignedIn { caller: Caller::Anonymous, until: None }) };
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.verify(token.trim()),
            Some(_) | None => Err(AuthError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_speaks_for_whom_it_was_minted_and_only_with_the_same_secret() {
        let keys = Keys::from_secret(b"one");
        let customer = Caller::Customer(CustomerId::from_bytes([7; 16]));
        for caller in [customer, Caller::Operator] {
            let token = keys.mint(caller).expect("signs");
            let signed_in = keys.sign_in(Some(&format!("Bearer {token}"))).await.expect("a good token");
            assert_eq!(signed_in.caller, caller);
            assert!(signed_in.until.expect("it expires") > SystemTime::now());
            assert_eq!(Keys::from_secret(b"two").verify(&token), Err(AuthError));
            assert_eq!(keys.verify(&format!("{token}x")), Err(AuthError));
        }
        assert_eq!(keys.sign_in(None).await, Ok(SignedIn { caller: Caller::Anonymous, until: None }));
        for wrong in ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c"] {
            assert_eq!(keys.sign_in(Some(wrong)).await, Err(AuthError), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_signed_is_not_taken() {
        // {"alg":"none"} and an operator's claims.
        let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtaWxscmFjZSIsImF1ZCI6Im1pbGxyYWNlIiwic3ViIjoib3BlcmF0b3IiLCJyb2xlIjoib3BlcmF0b3IifQ.";
        assert_eq!(Keys::from_secret(b"one").verify(token), Err(AuthError));
    }
}
