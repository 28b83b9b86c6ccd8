//! Bearer tokens: JSON Web Tokens, HS256, with the claims that Millrace's have. This module must never know
//! what a caller may do.

use async_graphql::{Context, Error, ErrorExtensions as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::ids::customer_number;

/// The environment variable with the secret that tokens are signed with.
pub const SECRET: &str = "MONOLITH_JWT_SECRET";
/// Who issues tokens, and for whom.
const ISSUER: &str = "millrace";
/// How far an issuer's clock may be ahead, in seconds.
const LEEWAY_S: u64 = 5;

/// A customer that signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller(pub(super) i64);

/// Checks tokens.
pub(super) struct Keys {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Keys {
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        Self { key: DecodingKey::from_secret(secret), validation }
    }

    /// Whom the value of an `Authorization` header speaks for; nobody, where it is no good token of a customer.
    pub(super) fn caller(&self, authorization: &str) -> Option<Caller> {
        let token = authorization.strip_prefix("Bearer ")?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()?.claims;
        customer_number(&claims.sub).map(Caller)
    }
}

/// Whoever calls, if they signed in.
pub(super) fn caller(ctx: &Context<'_>) -> Result<Caller, Error> {
    ctx.data_opt::<Caller>().copied().ok_or_else(|| refused("UNAUTHENTICATED", "Sign in first."))
}

/// An error with a code, as the contract has them.
pub(super) fn refused(code: &'static str, message: &str) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("code", code))
}
