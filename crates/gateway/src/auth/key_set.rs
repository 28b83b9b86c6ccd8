//! A JWK Set (RFC 7517) read into keys that each have one algorithm. A key that is not surely a public
//! key for signatures of an allowed algorithm is left out, with a sentence. This module must never
//! know where a set comes from.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::claims::validation;

/// Most keys of a set: providers have two or three at a time, and a set that is far larger is none.
const MAX_KEYS: usize = 64;
/// Longest `kid` that is looked at; thumbprints have 43 characters.
const MAX_KID_BYTES: usize = 256;
/// RFC 7518 section 3.3: RSA keys have 2048 bits at least.
const MIN_RSA_BYTES: usize = 256;
/// P-256 coordinates and Ed25519 keys have 256 bits.
const CURVE_BYTES: usize = 32;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037) that keys of a set may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SigningAlgorithm {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    /// The one algorithm that a key of this kind and size has here.
    fn of(key: &AlgorithmParameters) -> Option<Self> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
        match key {
            AlgorithmParameters::RSA(key) => (bytes(&key.n) >= MIN_RSA_BYTES && bytes(&key.e) > 0).then_some(Self::Rs256),
            AlgorithmParameters::EllipticCurve(key) => {
                let is_of_its_size = bytes(&key.x) == CURVE_BYTES && bytes(&key.y) == CURVE_BYTES;
                (key.curve == EllipticCurve::P256 && is_of_its_size).then_some(Self::Es256)
            }
            AlgorithmParameters::OctetKeyPair(key) => {
                (key.curve == EllipticCurve::Ed25519 && bytes(&key.x) == CURVE_BYTES).then_some(Self::EdDsa)
            }
            // The library's list is open, for kinds to come.
            AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) | _ => None,
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SigningAlgorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| "choose among RS256, ES256 and EdDSA; HS256 is what --jwt-secret has".to_owned())
    }
}

/// A key with everything that a token must fit, its one algorithm included.
pub(super) struct PinnedKey {
    pub decoding: DecodingKey,
    pub validation: Validation,
}

impl PinnedKey {
    /// A shared secret: HS256.
    pub(super) fn secret(secret: &[u8]) -> Self {
        Self { decoding: DecodingKey::from_secret(secret), validation: validation(Algorithm::HS256) }
    }
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// No `kid`, or a long one.
    #[error("one without a kid of at most {MAX_KID_BYTES} bytes, so that no token could name it")]
    NoKid,
    /// Two have the same `kid`; none of them is used.
    #[error("{0:?}: several keys have this kid")]
    DuplicateKid(String),
    /// A shared secret.
    #[error("{0:?}: it is symmetric, so whoever reads the set can sign with it")]
    Symmetric(String),
    /// More than the public half.
    #[error("{0:?}: it holds the private key too, which belongs in no set and must now be replaced")]
    Private(String),
    /// `use` or `key_ops` say something else.
    #[error("{0:?}: it is not for checking signatures")]
    NotForSignatures(String),
    /// A `kty` or `crv` of other algorithms, or members that do not fit.
    #[error("{0:?}: it is none of RSA with 2048 bits or more, P-256, and Ed25519")]
    OtherKind(String),
    /// `alg` says another one than its kind has.
    #[error("{0:?}: its alg is not {1}, which is what such a key has here")]
    OtherAlgorithm(String, SigningAlgorithm),
    /// Not among those that were configured.
    #[error("{0:?}: {1} is not among the algorithms that are allowed")]
    NotAllowed(String, SigningAlgorithm),
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetError {
    #[error("it is no JWK Set: JSON like {{\"keys\": […]}} with at most {MAX_KEYS} keys")]
    NotASet,
    #[error("it has no usable key{}", sentences(.0))]
    NoKey(Vec<KeyRefusal>),
}

fn sentences(refusals: &[KeyRefusal]) -> String {
    refusals.iter().map(|refusal| format!("; {refusal}")).collect()
}

/// The usable keys of a set, and why the others are not.
#[derive(Default)]
pub(super) struct KeySet {
    keys: HashMap<String, Arc<PinnedKey>>,
    pub refused: Vec<KeyRefusal>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set, which may have no usable key: whoever takes back the last one takes back all.
    pub(super) fn parse(bytes: &[u8], allowed: &[SigningAlgorithm]) -> Result<Self, SetError> {
        let Document { keys } = serde_json::from_slice(bytes).map_err(|_| SetError::NotASet)?;
        if keys.len() > MAX_KEYS {
            return Err(SetError::NotASet);
        }
        let (mut set, mut seen) = (Self::default(), HashSet::new());
        for key in &keys {
            let kid = match kid(key) {
                Ok(kid) => kid,
                Err(refusal) => {
                    set.refused.push(refusal);
                    continue;
                }
            };
            if !seen.insert(kid) {
                set.keys.remove(kid);
                set.refused.push(KeyRefusal::DuplicateKid(kid.to_owned()));
                continue;
            }
            match pinned(kid, key, allowed) {
                Ok(key) => drop(set.keys.insert(kid.to_owned(), Arc::new(key))),
                Err(refusal) => set.refused.push(refusal),
            }
        }
        Ok(set)
    }

    /// The same set, if it has a usable key.
    pub(super) fn usable(self) -> Result<Self, SetError> {
        if self.keys.is_empty() { Err(SetError::NoKey(self.refused)) } else { Ok(self) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn get(&self, kid: &str) -> Option<Arc<PinnedKey>> {
        self.keys.get(kid).cloned()
    }
}

fn kid(key: &Value) -> Result<&str, KeyRefusal> {
    let kid = key.get("kid").and_then(Value::as_str);
    kid.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID_BYTES).ok_or(KeyRefusal::NoKid)
}

/// A key with the algorithm that its kind has (RFC 7517 section 4), where nothing speaks against it.
fn pinned(kid: &str, key: &Value, allowed: &[SigningAlgorithm]) -> Result<PinnedKey, KeyRefusal> {
    let named = || kid.to_owned();
    if key.get("kty").is_some_and(|kty| kty == "oct") {
        return Err(KeyRefusal::Symmetric(named()));
    }
    if key.get("d").is_some() {
        return Err(KeyRefusal::Private(named()));
    }
    let jwk = Jwk::deserialize(key).map_err(|_| KeyRefusal::OtherKind(named()))?;
    let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_signatures {
        return Err(KeyRefusal::NotForSignatures(named()));
    }
    let algorithm = SigningAlgorithm::of(&jwk.algorithm).ok_or_else(|| KeyRefusal::OtherKind(named()))?;
    if jwk.common.key_algorithm.is_some_and(|said| said != KeyAlgorithm::from(algorithm.algorithm())) {
        return Err(KeyRefusal::OtherAlgorithm(named(), algorithm));
    }
    if !allowed.contains(&algorithm) {
        return Err(KeyRefusal::NotAllowed(named(), algorithm));
    }
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| KeyRefusal::OtherKind(named()))?;
    Ok(PinnedKey { decoding, validation: validation(algorithm.algorithm()) })
}
