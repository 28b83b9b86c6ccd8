//! `serve` as in production: whose tokens it takes, that it issues none, and to whom it shows the schema.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::sync::{Arc, Mutex};

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use axum::{Router, extract::State, routing::get};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tests::{
    Client, Dev, Nats,
    tokens::{self, SECRET},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};

/// A key of an issuer that is not the gateway.
struct Signer {
    key: EncodingKey,
    kid: &'static str,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).expect("a key");
        Self { key: EncodingKey::from_ed_der(key.as_ref()), kid }
    }

    fn set(&self) -> String {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, Algorithm::EdDSA).expect("a public half")).expect("JSON");
        jwk["kid"] = json!(self.kid);
        json!({ "keys": [jwk] }).to_string()
    }

    fn operator(&self) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &tokens::claims("anna", "operator"), &self.key).expect("signed")
    }
}

/// Whether a gateway takes a token for an operator's.
async fn is_operator(address: &str, token: &str) -> bool {
    let answer = Client::new(address, Some(token)).send(json!({ "query": "{ system { logs { name } } }" })).await.expect("an answer");
    match answer["errors"][0]["extensions"]["code"].as_str() {
        None => true,
        Some("UNAUTHENTICATED") => false,
        Some(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_issuer_change_while_the_gateway_runs() {
    let served = Arc::new(Mutex::new(String::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let answer = async |State(served): State<Arc<Mutex<String>>>| served.lock().expect("whole").clone();
    let routes = Router::new().route("/keys", get(answer)).with_state(Arc::clone(&served));
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });

    let (nats, data) = (Nats::start().expect("nats-server"), tempfile::tempdir().expect("a folder"));
    let file = data.path().join("keys.json");
    let [first, second] = [Signer::new("first"), Signer::new("second")];
    let publish = |signer: &Signer| {
        *served.lock().expect("whole") = signer.set();
        std::fs::write(&file, signer.set()).expect("written");
    };
    for (folder, location) in [("one", url.as_str()), ("two", &file.display().to_string())] {
        publish(&first);
        let arguments = ["--jwks", location, "--jwt-issuer", "millrace", "--jwt-audience", "millrace"];
        let serve = Dev::serve(&nats, &data.path().join(folder), &arguments).await.expect("up");
        assert!(is_operator(&serve.address, &first.operator()).await, "{location}");
        assert!(!is_operator(&serve.address, &tokens::of_operator().expect("a token")).await, "a secret that nobody chose");
        assert!(!is_operator(&serve.address, &second.operator()).await, "a key that is not there yet");
        publish(&second);
        let is_taken = || async { Ok(is_operator(&serve.address, &second.operator()).await.then_some(())) };
        tests::eventually("the new key is taken", is_taken).await.expect("taken");
        assert!(!is_operator(&serve.address, &first.operator()).await, "the old one is not");
        if folder == "one" {
            server.abort();
            assert!(!is_operator(&serve.address, &first.operator()).await && is_operator(&serve.address, &second.operator()).await);
        }
        serve.kill().await.expect("killed");
    }
}

/// Answers every request with `body` over HTTPS, with a certificate of its own making; says where, and the certificate.
async fn https(body: String) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/keys", listener.local_addr().expect("an address").port());
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // A client that does not trust the certificate goes away here.
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(connection.read_buf(&mut request).await.expect("a request") > 0, "its end");
            }
            connection.write_all(answer.as_bytes()).await.expect("sent");
            connection.shutdown().await.expect("an end");
        }
    });
    (url, made.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_https_need_a_certificate_that_is_trusted_and_serve_says_so() {
    let (nats, data) = (Nats::start().expect("nats-server"), tempfile::tempdir().expect("a folder"));
    let signer = Signer::new("first");
    let (url, certificate) = https(signer.set()).await;
    let trusted = data.path().join("certificate.pem");
    std::fs::write(&trusted, certificate).expect("written");
    let names = ["--jwt-issuer", "millrace", "--jwt-audience", "millrace"];

    let folder = data.path().join("refused").display().to_string();
    let nobody = format!("https://localhost:{}/keys", tests::free_port().expect("a port"));
    for (location, says) in [(&url, "certificate"), (&nobody, "refused")] {
        let output = Dev::output(&[&["serve", "--jwks", location, "--data", &folder], &names[..]].concat()).await.expect("it ends");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && !said.contains("panicked"), "{said}");
        for part in [location.as_str(), says, "gives no keys", "start again", "SSL_CERT_FILE"] {
            assert!(said.contains(part), "{part} is not said: {said}");
        }
    }

    let environment = [("SSL_CERT_FILE", trusted.to_str().expect("text"))];
    let arguments = [&["--jwks", &url], &names[..]].concat();
    let serve = Dev::serve_with(&nats.url(), &data.path().join("taken"), &arguments, &environment).await.expect("up");
    assert!(is_operator(&serve.address, &signer.operator()).await);
    assert!(!is_operator(&serve.address, &Signer::new("first").operator()).await, "another key of that name");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_issues_no_tokens_and_takes_those_of_the_operators_tool() {
    let (nats, data) = (Nats::start().expect("nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &["--jwt-issuer", "the bank", "--jwt-audience", "its gateway"]).await.expect("up");
    let register = "mutation { registerCustomer(input: { name: \"Lisa\", email: \"lisa@example.org\" }) { customer { id } token } }";
    let registered = Client::new(&serve.address, None).execute(register).await.expect("an answer");
    let registered = &registered["registerCustomer"];
    assert_eq!(registered["token"], Value::Null);
    assert!(!data.path().join("secret").exists(), "nor has it anything to issue them with");
    let token = async |arguments: &[&str]| {
        let output = Dev::output(&[&["token", "--jwt-secret", SECRET], arguments].concat()).await.expect("it ends");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let names = ["--jwt-issuer", "the bank", "--jwt-audience", "its gateway"];
    assert!(is_operator(&serve.address, &token(&[&["--role", "operator", "--hours", "1"], &names[..]].concat()).await).await);
    assert!(!is_operator(&serve.address, &token(&["--role", "operator"]).await).await, "another issuer's, for others");
    let customer = registered["customer"]["id"].as_str().expect("an id");
    let lisa = Client::new(&serve.address, Some(&token(&[&["--customer", customer], &names[..]].concat()).await));
    assert_eq!(lisa.execute("{ viewer { name } }").await.expect("an answer")["viewer"]["name"], "Lisa");
    let refused =
        Client::new(&serve.address, Some("x.y.z")).post().json(&json!({ "query": "{ __typename }" })).send().await.expect("an answer");
    assert_eq!(refused.status(), 401, "a bad token is not an anonymous caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_shown_to_whoever_signed_in_unless_configured() {
    let (nats, data) = (Nats::start().expect("nats-server"), tempfile::tempdir().expect("a folder"));
    let closed = Dev::serve(&nats, &data.path().join("closed"), &[]).await.expect("up");
    let open = Dev::serve(&nats, &data.path().join("open"), &["--introspection"]).await.expect("up");
    let looks = [
        "{ __schema { types { name } } }",
        "{ viewer { id } a: __schema { queryType { name } } }",
        "{ ... on Query { ... { __schema { queryType { name } } } } }",
        "query { ...F } fragment F on Query { __schema { queryType { name } } }",
    ];
    for look in looks {
        let nobody = Client::new(&closed.address, None);
        let answer = nobody.send(json!({ "query": look })).await.expect("an answer");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{answer}");
        assert!(answer["data"].is_null(), "{answer}");
        let mut socket = nobody.socket().await.expect("a socket");
        socket.subscribe("1", look).await.expect("sent");
        let answer = socket.hear().await.expect("an answer").to_string();
        assert!(answer.contains("UNAUTHENTICATED") && !answer.contains("\"name\""), "{answer}");
        let operator = tests::load::operator(&closed.address).expect("a token");
        operator.execute(look).await.expect("signed in");
        let mut socket = operator.socket().await.expect("a socket");
        socket.subscribe("1", look).await.expect("sent");
        assert_eq!(socket.hear().await.expect("an answer")["type"], "next");
        Client::new(&open.address, None).execute(look).await.expect("configured");
    }
    let types =
        Client::new(&closed.address, None).send(json!({ "query": "{ __type(name: \"Account\") { name } }" })).await.expect("an answer");
    assert_eq!(types, json!({ "data": { "__type": null } }), "to nobody there is a type of any name");
    let typo = Client::new(&closed.address, None).send(json!({ "query": "{ vewer { id } }" })).await.expect("an answer");
    assert!(!typo.to_string().contains("viewer"), "{typo}");
    assert!(
        Client::new(&closed.address, None).execute("{ __typename viewer { __typename } }").await.is_ok(),
        "a name of what is asked for"
    );
}
