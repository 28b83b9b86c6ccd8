//! Issues tokens with a shared secret: what `dev` and the operators' tool do. A gateway in production has
//! no such thing. This module must never check a token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::{
    Caller, Expected,
    claims::{Audience, Claims, Role},
};

/// Signs tokens (HS256) that [`Keys::from_secret`](super::Keys::from_secret) takes.
#[derive(Clone)]
pub struct Issuer {
    key: EncodingKey,
    expected: Expected,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer(secret)")
    }
}

impl Issuer {
    /// An issuer that has the secret.
    #[must_use]
    pub fn from_secret(secret: &[u8], expected: Expected) -> Self {
        Self { key: EncodingKey::from_secret(secret), expected }
    }

    /// A token that speaks for `caller` from now on for `lifetime`; none for an anonymous one.
    #[must_use]
    pub fn issue(&self, caller: Caller, lifetime: Duration) -> Option<String> {
        let (role, sub) = match caller {
            Caller::Anonymous => return None,
            Caller::Customer(id) => (Role::Customer, id.to_string()),
            Caller::Operator => (Role::Operator, "operator".to_owned()),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (nbf, exp) = (now.as_secs(), (now + lifetime).as_secs());
        let claims = Claims { iss: self.expected.issuer.clone(), aud: Audience::One(self.expected.audience.clone()), sub, role, nbf, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key).ok()
    }
}
