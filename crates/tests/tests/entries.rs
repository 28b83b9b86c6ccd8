//! An account with many entries, which lie in files: their pages, a subscriber who asks for all of it, and the links between
//! them, which the audit compares.

use tests::{
    Dev, Nats, PATIENCE, audit_passes,
    load::{holders, store_payments, until_entries},
};

/// Each is an entry of both accounts, of which every 4,096th is a far anchor: there are two.
const PAYMENTS: u64 = 8_300;
/// Of so many, some are on either shard, so that the audit has rows of both: all are on one once in eight million times.
const HOLDERS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn many_entries_are_read_to_the_first() {
    let (nats, data) = (Nats::start().expect("nats-server"), tempfile::tempdir().expect("a folder"));
    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up");
    let all = holders(&serve.address, HOLDERS).await.expect("accounts");
    let pair = &all[..2];
    store_payments(&nats, pair, PAYMENTS).await.expect("stored");
    until_entries(&all, all.len() as u64 + 2 * PAYMENTS, PATIENCE).await.expect("booked");
    assert!(serve.interrupt().await.expect("it ends").1);
    audit_passes(&nats.url(), &[data.path()], PATIENCE).await.expect("the audit passes");

    let serve = Dev::serve(&nats, data.path(), &[]).await.expect("up again");
    let (client, account) = (pair[0].client.at(&serve.address), pair[0].account);
    let (mut versions, mut after) = (Vec::new(), "null".to_owned());
    loop {
        let selected = "{ nodes { version } pageInfo { hasNextPage endCursor } }";
        let query = format!("{{ account(id: \"{account}\") {{ transactions(first: 100, after: {after}) {selected} }} }}");
        let page = client.execute(&query).await.expect("a page")["account"]["transactions"].take();
        versions.extend(page["nodes"].as_array().expect("entries").iter().map(|entry| entry["version"].as_u64().expect("a version")));
        after = page["pageInfo"]["endCursor"].to_string();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    // The first is the deposit.
    assert!(versions.iter().copied().eq((1..=PAYMENTS + 1).rev()), "{versions:?}");

    let mut socket = client.socket().await.expect("a socket");
    let query = format!("subscription {{ transactionBooked(accountId: \"{account}\", afterVersion: 0) {{ version }} }}");
    socket.subscribe("all", &query).await.expect("subscribed");
    for version in 1..=PAYMENTS + 1 {
        assert_eq!(socket.next("transactionBooked").await.expect("an entry")["version"], version);
    }
}
