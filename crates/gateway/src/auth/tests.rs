//! Tokens that must be taken and tokens that must not. Keys are real, and so is the server of the JWKS.

mod served;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of the tests, with more than 32 bytes";

fn expected() -> Expected {
    Expected { issuer: "https://issuer.example".to_owned(), audience: "millrace".to_owned() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn customer() -> CustomerId {
    CustomerId::from_bytes([7; 16])
}

/// The claims of a good token of a customer, with some changed, or left out where they are null.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "millrace", "sub": customer().to_string(), "nbf": now() - 1, "exp": now() + 600,
    });
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A private key of the tests, and how its public half stands in a set.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: String,
}

impl Signer {
    fn new(algorithm: Algorithm, kid: &str) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm.family() {
            AlgorithmFamily::Ec => {
                EncodingKey::from_ec_der(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key").as_ref())
            }
            AlgorithmFamily::Ed => EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&random).expect("a key").as_ref()),
            AlgorithmFamily::Rsa | AlgorithmFamily::Hmac => {
                let key: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key").as_der().expect("DER");
                // What PKCS #8 wraps it in has 26 bytes for a key of this size; inside is PKCS #1.
                EncodingKey::from_rsa_der(&key.as_ref()[26..])
            }
        };
        Self { algorithm, key, kid: kid.to_owned() }
    }

    fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public half");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.kid);
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_with(Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) }, claims)
    }

    fn sign_with(&self, header: Header, claims: &Value) -> String {
        jsonwebtoken::encode(&header, claims, &self.key).expect("signed")
    }
}

fn with_secret(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(SECRET)).expect("signed")
}

async fn caller(keys: &Keys, token: &str) -> Result<Caller, AuthError> {
    keys.sign_in(Some(&format!("Bearer {token}"))).await.map(|signed_in| signed_in.caller)
}

async fn from_file(set: &Value) -> Result<Keys, JwksError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), set.to_string()).expect("written");
    Keys::from_jwks(Location::File(file.path().to_owned()), &SigningAlgorithm::ALL, expected()).await
}

#[tokio::test]
async fn a_token_speaks_for_whom_it_was_issued_and_only_with_the_same_secret() {
    let (keys, issuer) = (Keys::from_secret(SECRET, expected()), Issuer::from_secret(SECRET, expected()));
    for who in [Caller::Customer(customer()), Caller::Operator] {
        let token = issuer.issue(who, Duration::from_secs(60)).expect("signed");
        let signed_in = keys.sign_in(Some(&format!("bearer {token}"))).await.expect("a good token");
        assert_eq!(signed_in.caller, who);
        assert!(signed_in.until.expect("it expires") > SystemTime::now());
        assert_eq!(caller(&Keys::from_secret(b"another", expected()), &token).await, Err(AuthError));
        assert_eq!(caller(&keys, &format!("{token}x")).await, Err(AuthError));
        assert_eq!(keys.sign_in(Some(&token)).await, Err(AuthError), "no scheme");
    }
    assert_eq!(issuer.issue(Caller::Anonymous, Duration::from_secs(60)), None);
    assert_eq!(keys.sign_in(None).await, Ok(SignedIn { caller: Caller::Anonymous, until: None }));
    for wrong in ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", &format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1))] {
        assert_eq!(keys.sign_in(Some(wrong)).await, Err(AuthError), "{wrong:?}");
    }
}

#[tokio::test]
async fn every_claim_must_be_there_of_its_type_and_true() {
    let keys = Keys::from_secret(SECRET, expected());
    let hs256 = Header::new(Algorithm::HS256);
    for (good, who) in [
        (json!({}), Caller::Customer(customer())),
        (json!({ "role": "customer" }), Caller::Customer(customer())),
        (json!({ "role": "operator", "sub": "anna" }), Caller::Operator),
        (json!({ "aud": ["others", "millrace"] }), Caller::Customer(customer())),
        // An issuer whose clock is a little ahead.
        (json!({ "nbf": now() + 2 }), Caller::Customer(customer())),
    ] {
        assert_eq!(caller(&keys, &with_secret(&hs256, &claims(&good))).await, Ok(who), "{good}");
    }
    for bad in [
        json!({ "iss": null }),
        json!({ "iss": "https://other.example" }),
        json!({ "iss": ["https://issuer.example"] }),
        json!({ "aud": null }),
        json!({ "aud": "others" }),
        json!({ "aud": [] }),
        json!({ "aud": [1, "millrace"] }),
        json!({ "aud": { "millrace": true } }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": "acc_07070707070707070707070707070707" }),
        json!({ "role": "admin" }),
        json!({ "role": "Operator" }),
        json!({ "role": ["operator"] }),
        json!({ "role": true }),
        json!({ "exp": null }),
        json!({ "exp": now() - 1 }),
        json!({ "exp": (now() + 600).to_string() }),
        json!({ "exp": u64::MAX }),
        json!({ "exp": -1 }),
        json!({ "nbf": null }),
        json!({ "nbf": now() + 60 }),
        json!({ "nbf": (now() - 1).to_string() }),
        json!({ "nbf": 1.5 }),
        json!({ "nbf": [0] }),
    ] {
        assert_eq!(caller(&keys, &with_secret(&hs256, &claims(&bad))).await, Err(AuthError), "{bad}");
    }
    // The same name twice: readers disagree on which one counts.
    let payload = claims(&json!({ "sub": null })).to_string();
    let twice = format!("{},\"sub\":\"{}\",\"sub\":\"{}\"}}", payload.trim_end_matches('}'), customer(), CustomerId::from_bytes([8; 16]));
    assert_eq!(caller(&keys, &raw(r#"{"alg":"HS256"}"#, &twice)).await, Err(AuthError));
}

/// A token from a header and a payload as they are, signed with the secret.
fn raw(header: &str, payload: &str) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET), Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_header_chooses_no_algorithm_and_brings_no_key() {
    let keys = Keys::from_secret(SECRET, expected());
    let payload = claims(&json!({})).to_string();
    assert!(caller(&keys, &raw(r#"{"alg":"HS256","typ":"JWT"}"#, &payload)).await.is_ok());
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"HS384"}"#, r#"{"alg":"RS256"}"#, r#"{"typ":"JWT"}"#] {
        assert_eq!(caller(&keys, &raw(header, &payload)).await, Err(AuthError), "{header}");
    }
    let unsigned = raw(r#"{"alg":"none"}"#, &payload);
    let unsigned = &unsigned[..=unsigned.rfind('.').expect("a dot")];
    assert_eq!(caller(&keys, unsigned).await, Err(AuthError));
    let must_be_understood = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    assert_eq!(caller(&keys, &raw(must_be_understood, &payload)).await, Err(AuthError));
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(caller(&keys, &with_secret(&Header::new(algorithm), &claims(&json!({})))).await, Err(AuthError), "{algorithm:?}");
    }
}

#[tokio::test]
async fn each_kind_of_key_checks_its_own_algorithm_and_nothing_else() {
    let signers = [(Algorithm::RS256, "r"), (Algorithm::ES256, "e"), (Algorithm::EdDSA, "d")].map(|(alg, kid)| Signer::new(alg, kid));
    let set = json!({ "keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>() });
    let keys = from_file(&set).await.expect("keys");
    let good = claims(&json!({}));
    for signer in &signers {
        let token = signer.sign(&good);
        assert_eq!(caller(&keys, &token).await, Ok(Caller::Customer(customer())), "{:?}", signer.algorithm);
        assert_eq!(caller(&keys, &signer.sign(&claims(&json!({ "nbf": (now() - 1).to_string() })))).await, Err(AuthError));
        // Under the kid of another key, and under none.
        for kid in signers.iter().map(|other| Some(other.kid.clone())).filter(|kid| *kid != Some(signer.kid.clone())).chain([None]) {
            let header = Header { kid, ..Header::new(signer.algorithm) };
            assert_eq!(caller(&keys, &signer.sign_with(header, &good)).await, Err(AuthError), "{:?}", signer.algorithm);
        }
        // The public key taken for a shared secret (RFC 8725 section 2.1).
        let public = signer.jwk();
        for member in ["n", "x"].iter().filter_map(|member| public[*member].as_str()) {
            let header = Header { kid: Some(signer.kid.clone()), ..Header::new(Algorithm::HS256) };
            let forged = jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(member.as_bytes())).expect("signed");
            assert_eq!(caller(&keys, &forged).await, Err(AuthError), "{:?}", signer.algorithm);
        }
    }
    let rs512 = Header { kid: Some("r".to_owned()), ..Header::new(Algorithm::RS512) };
    assert_eq!(caller(&keys, &signers[0].sign_with(rs512, &good)).await, Err(AuthError), "another hash with the same key");
    // A key that a header brings, or says where to find, is not used; nor does it harm a good token.
    let (owner, thief) = (&signers[1], Signer::new(Algorithm::ES256, "e"));
    let brings = |signer: &Signer| Header {
        kid: Some("e".to_owned()),
        jwk: serde_json::from_value(thief.jwk()).ok(),
        jku: Some("https://thief.example/jwks".to_owned()),
        x5u: Some("https://thief.example/certificate".to_owned()),
        ..Header::new(signer.algorithm)
    };
    assert_eq!(caller(&keys, &thief.sign_with(brings(&thief), &good)).await, Err(AuthError));
    assert!(caller(&keys, &owner.sign_with(brings(owner), &good)).await.is_ok());
}

#[tokio::test]
async fn a_set_gives_public_keys_for_signatures_or_a_reason() {
    let good = Signer::new(Algorithm::EdDSA, "good");
    let with = |changes: Value| {
        let mut jwk = Signer::new(Algorithm::ES256, "bad").jwk();
        for (name, value) in changes.as_object().expect("an object") {
            jwk[name] = value.clone();
        }
        jwk
    };
    let mut nameless = with(json!({}));
    nameless.as_object_mut().expect("an object").remove("kid");
    let short = "AQAB".repeat(32);
    for (bad, reason) in [
        (nameless, "without a kid"),
        (with(json!({ "kid": 7 })), "without a kid"),
        (with(json!({ "kid": "k".repeat(300) })), "without a kid"),
        (with(json!({ "use": "enc" })), "not for checking signatures"),
        (with(json!({ "key_ops": ["encrypt"] })), "not for checking signatures"),
        (with(json!({ "alg": "ES384" })), "its alg is not ES256"),
        (with(json!({ "alg": "HS256" })), "its alg is not ES256"),
        (with(json!({ "alg": "none" })), "its alg is not ES256"),
        (with(json!({ "crv": "P-384" })), "none of RSA"),
        (with(json!({ "x": "AQAB" })), "none of RSA"),
        (with(json!({ "d": "AQAB" })), "holds the private key"),
        (json!({ "kty": "oct", "kid": "bad", "k": "c2VjcmV0" }), "symmetric"),
        (json!({ "kty": "RSA", "kid": "bad", "n": short, "e": "AQAB" }), "none of RSA"),
        (json!({ "kty": "unheard of", "kid": "bad" }), "none of RSA"),
    ] {
        let error = from_file(&json!({ "keys": [bad] })).await.expect_err("no key").to_string();
        assert!(error.contains(reason), "{bad}: {error}");
        let keys = from_file(&json!({ "keys": [bad, good.jwk()] })).await.expect("the other key is good");
        assert!(caller(&keys, &good.sign(&claims(&json!({})))).await.is_ok());
    }
    let [first, second] = [Signer::new(Algorithm::ES256, "same"), Signer::new(Algorithm::EdDSA, "same")];
    let keys = from_file(&json!({ "keys": [first.jwk(), good.jwk(), second.jwk()] })).await.expect("a key");
    for signer in [&first, &second] {
        assert_eq!(caller(&keys, &signer.sign(&claims(&json!({})))).await, Err(AuthError), "a kid that two keys have names none");
    }
    let many: Vec<_> = (0..65)
        .map(|number| {
            let mut jwk = good.jwk();
            jwk["kid"] = json!(number.to_string());
            jwk
        })
        .collect();
    for none in [json!({ "keys": [] }), json!({ "keys": {} }), json!([]), json!({ "keys": many }), json!({ "keys": ["x".repeat(300_000)] })]
    {
        assert!(from_file(&none).await.is_err());
    }
    let allowed = [SigningAlgorithm::Es256];
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), json!({ "keys": [good.jwk()] }).to_string()).expect("written");
    let error = Keys::from_jwks(Location::File(file.path().to_owned()), &allowed, expected()).await.expect_err("not allowed").to_string();
    assert!(error.contains("EdDSA is not among the algorithms"), "{error}");
}

#[test]
fn a_set_comes_from_a_file_or_from_where_nobody_can_change_it_on_the_way() {
    for good in
        ["keys.json", "/etc/keys.json", "https://issuer.example/keys", "http://127.0.0.1:80/keys", "http://[::1]/", "http://localhost/"]
    {
        assert!(good.parse::<Location>().is_ok(), "{good}");
    }
    for bad in
        ["http://issuer.example/keys", "ftp://issuer.example", "https://me:secret@issuer.example/", "http://127.0.0.1.example/", "://"]
    {
        assert!(bad.parse::<Location>().is_err(), "{bad}");
    }
}
