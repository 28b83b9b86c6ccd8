//! Clients that others wrote: the audit of `graphql-http`, and the clients of `graphql-ws` and `graphql-sse`.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tests::{Dev, Nats, PATIENCE, load::holders, tokens};

/// The checks of `graphql-http` in the version that `web/package.json` pins.
const AUDITS: u64 = 61;

/// What the peers say of a gateway.
async fn ask_peers(serve: &Dev, account: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/peers.js");
    assert!(script.with_file_name("node_modules").exists(), "web/node_modules is missing: run './just web'");
    let token = tokens::of_operator().expect("a token");
    let mut node = tokio::process::Command::new("node");
    node.arg(script).arg(format!("http://{}/graphql", serve.address)).arg(token).arg(account);
    let output = node.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("in time").expect("node runs: install Node 20.19 or newer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("what they say")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_others_find_everything_by_the_book() {
    let (nats, data) = (Nats::start().expect("a nats-server"), tempfile::tempdir().expect("a folder"));
    // As it is in production: to whom has not signed in there are no types.
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let account = holders(&serve.address, 1).await.expect("an account")[0].account.to_string();
    let said = ask_peers(&serve, &account).await;
    assert_eq!((&said["audits"], &said["failed"]), (&json!(AUDITS), &json!([])));
    for client in ["ws", "sse"] {
        let said = &said[client];
        assert_eq!(said["query"], json!([{ "data": { "account": { "id": account } } }]), "{client}");
        assert_eq!(said["watch"], json!([{ "data": { "balanceChanged": { "version": 1 } } }]), "{client}");
        let refused = &said["refused"][0]["errors"][0];
        assert_eq!(refused["extensions"]["code"], "BAD_REQUEST", "{client}: {said}");
    }
}
