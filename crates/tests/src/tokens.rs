//! Tokens of the tests: `serve` issues none, so whoever knows the secret does. This module must never
//! know what a token opens.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// What tokens are signed with, at every gateway under test that is given a secret.
pub const SECRET: &str = "the secret of the tests, of 32 bytes or more";

/// Longer than any test or campaign.
const LIFETIME_S: u64 = 24 * 60 * 60;

/// The claims of a good token.
#[must_use]
pub fn claims(sub: &str, role: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({ "iss": "millrace", "aud": "millrace", "sub": sub, "role": role, "nbf": now, "exp": now + LIFETIME_S })
}

/// A token that says this, signed with [`SECRET`].
///
/// # Errors
/// Where it cannot be signed.
pub fn signed(claims: &Value) -> anyhow::Result<String> {
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()))?)
}

/// A customer's token.
///
/// # Errors
/// Where it cannot be signed.
pub fn of_customer(id: &str) -> anyhow::Result<String> {
    signed(&claims(id, "customer"))
}

/// An operator's token.
///
/// # Errors
/// Where it cannot be signed.
pub fn of_operator() -> anyhow::Result<String> {
    signed(&claims("operator", "operator"))
}
