//! The same bank on any number of shards.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use tests::{Dev, Nats, load::holders};

const STREAMS: &str = include_str!("../../../streams.yaml");
const HOLDERS: usize = 6;

/// Everybody pays everybody else; the auditor agrees.
async fn everybody_pays(shards: u16) {
    let nats = Nats::start().expect("a nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let streams = data.path().join("streams.yaml");
    std::fs::write(&streams, STREAMS.replace("shards: 2", &format!("shards: {shards}"))).expect("written");
    let serve = Dev::serve(&nats, data.path(), &["--streams", &streams.display().to_string()]).await.expect("up");
    let holders = holders(&serve.address, HOLDERS).await.expect("accounts with money");
    for from in &holders {
        for to in holders.iter().filter(|to| to.account != from.account) {
            let input = format!(
                "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"1.00\", currency: \"EUR\"}}}}",
                from.account, to.iban
            );
            let paid = format!("mutation {{ initiatePayment(input: {input}, waitFor: FINAL) {{ payment {{ status }} }} }}");
            assert_eq!(from.client.execute(&paid).await.expect("an answer")["initiatePayment"]["payment"]["status"], "BOOKED");
        }
    }
    let audit = Dev::output(&["audit", "--nats", &nats.url()]).await.expect("it runs");
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_shard() {
    everybody_pays(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_shards() {
    everybody_pays(16).await;
}
