//! What operators see of a bank: `/metrics` agrees with what was done, and `/health/ready` with how it stands.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::{collections::BTreeMap, path::Path};

use serde_json::json;
use tests::{Client, Dev, Nats, eventually, free_port, money};

/// What `/metrics` says: a value for each series, by its name with labels.
async fn scrape(address: &str) -> BTreeMap<String, String> {
    let answer = reqwest::get(format!("http://{address}/metrics")).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.expect("text");
    let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    series.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn value<'a>(metrics: &'a BTreeMap<String, String>, series: &str) -> &'a str {
    metrics.get(series).map_or("none", String::as_str)
}

/// The sum over all series of a metric whose labels have `part`.
fn sum(metrics: &BTreeMap<String, String>, name: &str, part: &str) -> u64 {
    let of = metrics.iter().filter(|(series, _)| series.starts_with(&format!("{name}{{")) && series.contains(part));
    of.map(|(_, value)| value.parse::<u64>().expect("a number")).sum()
}

struct Bank {
    dev: Dev,
    lisa: Client,
    account: String,
    david: Client,
    david_account: String,
    iban: String,
}

/// A bank in which Lisa has 100 euro.
async fn bank(data: &Path) -> Bank {
    let dev = Dev::start(data, &["--no-demo", "--hold-from", "5000"]).await.expect("dev is up");
    let token = Dev::output(&["token", "--role", "operator", "--data", &data.display().to_string()]).await.expect("a token");
    let operator = Client::new(&dev.address, Some(String::from_utf8_lossy(&token.stdout).trim()));
    let lisa = Client::new(&dev.address, None).register("Lisa").await.expect("registered");
    let david = Client::new(&dev.address, None).register("David").await.expect("registered");
    let (account, _) = lisa.open_account("EUR").await.expect("opened");
    let (david_account, iban) = david.open_account("EUR").await.expect("opened");
    operator.deposit(&account, "100.00", "EUR").await.expect("deposited");
    Bank { dev, lisa, account, david, david_account, iban }
}

impl Bank {
    /// Pays David, under an operation name, and waits for the end.
    async fn pay(&self, operation: &str, amount: &str) -> serde_json::Value {
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"{amount}\", currency: \"EUR\"}}}}",
            self.account, self.iban
        );
        let pay = format!(
            "mutation {operation} {{ initiatePayment(input: {input}, waitFor: FINAL) {{ payment {{ status }} errors {{ code }} }} }}"
        );
        self.lisa.execute(&pay).await.expect("an answer")["initiatePayment"].take()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_agree_with_what_was_done() {
    let data = tempfile::tempdir().expect("a folder");
    let bank = bank(data.path()).await;
    for _ in 0..3 {
        assert_eq!(bank.pay("Pay", "10.00").await["payment"]["status"], "BOOKED");
    }
    assert_eq!(bank.pay("", "80.00").await["payment"]["status"], "HELD");
    assert_eq!(bank.pay("Pay", "40.00").await["payment"]["status"], "BOOKED");
    assert_eq!(bank.pay("Pay", "45.00").await["payment"]["status"], "REJECTED");
    assert_eq!(bank.pay("Pay", "0.001").await["errors"][0]["code"], "INVALID_AMOUNT");
    let refused = bank.lisa.send(json!({ "query": "{ heldPayments { nodes { id } } }" })).await.expect("an answer");
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let plain = bank.lisa.post().body("{}").send().await.expect("an answer");
    assert!(plain.status().is_client_error());

    // A service counts once its append is acknowledged, which a read model does not wait for.
    let metrics = eventually("the last payment is counted", || async {
        let metrics = scrape(&bank.dev.address).await;
        Ok(metrics.contains_key("millrace_payments_total{status=\"REJECTED\"}").then_some(metrics))
    });
    let metrics = metrics.await.expect("counted");
    let payments = |status: &str| value(&metrics, &format!("millrace_payments_total{{status=\"{status}\"}}")).to_owned();
    // With the deposit.
    assert_eq!(payments("ACCEPTED"), "7");
    assert_eq!(payments("VALIDATED"), "7");
    assert_eq!(payments("CHECKED"), "6");
    assert_eq!((payments("BOOKED"), payments("HELD"), payments("REJECTED")), ("5".to_owned(), "1".to_owned(), "1".to_owned()));
    let rejects =
        |by: &str, reason: &str| value(&metrics, &format!("millrace_rejects_total{{by=\"{by}\",reason=\"{reason}\"}}")).to_owned();
    assert_eq!(rejects("service", "INSUFFICIENT_FUNDS"), "1");
    assert_eq!(rejects("input", "INVALID_AMOUNT"), "1");
    assert_eq!(rejects("operation", "FORBIDDEN"), "1");
    assert_eq!(rejects("transport", "BAD_REQUEST"), "1");
    assert_eq!(value(&metrics, "millrace_graphql_operation_seconds_count{operation=\"Pay\"}"), "6");
    assert_eq!(value(&metrics, "millrace_graphql_operation_seconds_count{operation=\"initiatePayment\"}"), "1");
    assert_eq!(sum(&metrics, "millrace_step_events_sum", "log=\"payment-commands-"), 7);
    assert_eq!(sum(&metrics, "millrace_step_events_sum", "log=\"fraud-"), 7);
    assert!(sum(&metrics, "millrace_append_seconds_count", "log=\"ledger-") >= 6);
    assert_eq!(value(&metrics, "millrace_log_reachable{log=\"ledger-1\"}"), "1");
    assert_eq!(metrics.keys().filter(|series| series.starts_with("millrace_read_model_lag_records{")).count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_counted_while_they_are_open() {
    let data = tempfile::tempdir().expect("a folder");
    let bank = bank(data.path()).await;
    let series = "millrace_subscriptions{subscription=\"balanceChanged\"}";
    let mut socket = bank.david.socket().await.expect("a socket");
    let balance = format!("subscription Watch {{ balanceChanged(accountId: \"{}\") {{ booked {{ amount }} }} }}", bank.david_account);
    socket.subscribe("1", &balance).await.expect("subscribed");
    let now = socket.next("balanceChanged").await.expect("the balance now");
    assert_eq!(money(&now["booked"]).expect("money"), 0);
    assert_eq!(value(&scrape(&bank.dev.address).await, series), "1");
    drop(socket);
    eventually("the subscription is closed", || async { Ok((value(&scrape(&bank.dev.address).await, series) == "0").then_some(())) })
        .await
        .expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_without_end_are_not_told_apart() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &["--no-demo"]).await.expect("dev is up");
    let client = Client::new(&dev.address, None);
    client.execute(&format!("query {} {{ __typename }}", "N".repeat(100))).await.expect("an answer");
    for number in 0..300 {
        client.execute(&format!("query Name{number} {{ __typename }}")).await.expect("an answer");
    }
    let metrics = scrape(&dev.address).await;
    let names = metrics.keys().filter(|series| series.starts_with("millrace_graphql_operation_seconds_count{")).count();
    assert!((100..=201).contains(&names), "{names}");
    let other = value(&metrics, "millrace_graphql_operation_seconds_count{operation=\"other\"}").parse::<u64>().expect("a number");
    assert!(other > 100, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_gateway_is_measured_where_its_health_is() {
    let nats = Nats::start().expect("nats-server");
    let (data, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let gateway = Dev::serve(&nats, data.path(), &["--roles", "gateway"]).await.expect("serve is up");
    let address = format!("127.0.0.1:{}", free_port().expect("a port"));
    let arguments = ["serve", "--roles", "customers,accounts", "--nats", &gateway.nats, "--listen", &address, "--data"];
    let mut command = tokio::process::Command::new(tests::millrace().expect("built"));
    let _services = command.args(arguments).arg(folder.path()).env("MILLRACE_LOG", "warn").kill_on_drop(true).spawn().expect("started");
    let lisa = Client::new(&gateway.address, None).register("Lisa").await.expect("registered");
    lisa.open_account("EUR").await.expect("opened");
    // The gateway may hear of the account before the service hears that it is stored.
    let said =
        || async { Ok(Some(scrape(&address).await).filter(|metrics| value(metrics, "millrace_step_events_sum{log=\"accounts\"}") == "1")) };
    let metrics = tests::eventually("a step is counted", said).await.expect("counted");
    assert_eq!(sum(&metrics, "millrace_read_model_lag_records", ""), 0);
    // The rest of the bank does not run, but its logs are there.
    let ready = reqwest::get(format!("http://{address}/health/ready")).await.expect("an answer");
    assert_eq!(ready.status(), 200);
    let ready: serde_json::Value = ready.json().await.expect("json");
    assert_eq!((&ready["logs"]["ledger-0"], &ready["lagRecords"]), (&json!("reachable"), &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_reach_a_log_is_not_ready_and_says_which() {
    let mut nats = Nats::start().expect("nats-server");
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::serve(&nats, data.path(), &[]).await.expect("serve is up");
    let look = || async {
        let answer = reqwest::get(format!("http://{}/health/ready", dev.address)).await?;
        anyhow::Ok((answer.status().as_u16(), answer.json::<serde_json::Value>().await?))
    };
    let is_level = |(status, answer): &(u16, serde_json::Value)| *status == 200 && answer["lagRecords"]["directory"] == 0;
    let ready = eventually("it is ready", || async { Ok(Some(look().await?).filter(is_level)) }).await.expect("ready");
    assert_eq!(ready.1["logs"]["customers"], "reachable");
    nats.kill().expect("killed");
    let is_out_of_reach =
        |answer: &serde_json::Value| answer["logs"]["customers"].as_str().is_some_and(|log| log.starts_with("out of reach"));
    let away =
        eventually("its logs are out of reach", || async { Ok(Some(look().await?).filter(|(_, answer)| is_out_of_reach(answer))) }).await;
    let (status, away) = away.expect("out of reach");
    assert_eq!((status, &away["ready"], &away["natsServer"]), (503, &json!(false), &json!("away")));
    let metrics = scrape(&dev.address).await;
    assert_eq!(value(&metrics, "millrace_log_reachable{log=\"customers\"}"), "0");
    assert_eq!(value(&metrics, "millrace_read_model_lag_records{model=\"directory\"}"), "NaN");
    nats.start_again().expect("started");
    eventually("it is ready again", || async { Ok(Some(look().await?).filter(|(status, _)| *status == 200)) }).await.expect("ready");
}
