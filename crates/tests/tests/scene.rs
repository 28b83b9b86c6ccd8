//! The scene through HTTP and websocket: Lisa pays David 20 euro, and David sees it live.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use tests::{Client, Dev, code, money};

struct Bank {
    dev: Dev,
    operator: Client,
    lisa: Client,
    lisa_account: String,
    david: Client,
    david_account: String,
    david_iban: String,
    _data: tempfile::TempDir,
}

/// A bank in which Lisa has 100 euro and David 300.
async fn bank(arguments: &[&str]) -> Bank {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path(), &[&["--no-demo"], arguments].concat()).await.expect("dev is up");
    let token = Dev::output(&["token", "--role", "operator", "--data", &data.path().display().to_string()]).await.expect("a token");
    let token = String::from_utf8(token.stdout).expect("text");
    let operator = Client::new(&dev.address, Some(token.trim()));
    let anonymous = Client::new(&dev.address, None);
    let lisa = anonymous.register("Lisa").await.expect("registered");
    let david = anonymous.register("David").await.expect("registered");
    let (lisa_account, _) = lisa.open_account("EUR").await.expect("opened");
    let (david_account, david_iban) = david.open_account("EUR").await.expect("opened");
    operator.deposit(&lisa_account, "100.00", "EUR").await.expect("deposited");
    operator.deposit(&david_account, "300.00", "EUR").await.expect("deposited");
    Bank { dev, operator, lisa, lisa_account, david, david_account, david_iban, _data: data }
}

impl Bank {
    /// The payload of a payment from Lisa to `iban`.
    async fn pay(&self, iban: &str, amount: &str, currency: &str, more: &str, arguments: &str) -> Value {
        let input = format!(
            "{{debtorAccountId: \"{}\", creditorIban: \"{iban}\", amount: {{amount: \"{amount}\", currency: \"{currency}\"}} {more}}}",
            self.lisa_account
        );
        let fields = "{ payment { id status rejection { code } history { status } } position errors { code path } }";
        let data = self.lisa.execute(&format!("mutation {{ initiatePayment(input: {input} {arguments}) {fields} }}")).await;
        data.expect("an answer")["initiatePayment"].take()
    }

    async fn pay_david(&self, amount: &str) -> Value {
        self.pay(&self.david_iban, amount, "EUR", "", ", waitFor: FINAL").await
    }

    async fn balance(&self, client: &Client, account: &str) -> i64 {
        let data = client.execute(&format!("{{ account(id: \"{account}\") {{ balance {{ booked {{ amount }} }} }} }}")).await;
        money(&data.expect("an answer")["account"]["balance"]["booked"]).expect("money")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lisa_pays_david_and_david_sees_it_live() {
    let bank = bank(&[]).await;
    let mut socket = bank.david.socket().await.expect("a socket");
    let balance = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ booked {{ amount }} version }} }}", bank.david_account);
    socket.subscribe("balance", &balance).await.expect("subscribed");
    let now = socket.next("balanceChanged").await.expect("the balance now");
    assert_eq!(now, json!({ "booked": { "amount": "300.00" }, "version": 1 }));

    let paid = bank.pay(&bank.david_iban, "20", "EUR", ", reference: \"Lunch\"", "").await;
    assert_eq!(paid["payment"]["status"], "ACCEPTED");
    let then = socket.next("balanceChanged").await.expect("the balance then");
    assert_eq!(then, json!({ "booked": { "amount": "320.00" }, "version": 2 }));

    let id = paid["payment"]["id"].as_str().expect("an id");
    assert_eq!(bank.lisa.final_status(id).await.expect("final"), "BOOKED");
    let query = format!("{{ payment(id: \"{id}\") {{ history {{ status }} debtor {{ name }} creditor {{ name iban }} reference }} }}");
    let payment = bank.lisa.execute(&query).await.expect("an answer")["payment"].take();
    let statuses: Vec<_> = payment["history"].as_array().expect("a list").iter().map(|step| step["status"].clone()).collect();
    assert_eq!(statuses, ["ACCEPTED", "VALIDATED", "CHECKED", "BOOKED"]);
    assert_eq!((&payment["debtor"]["name"], &payment["creditor"]["name"]), (&json!("Lisa"), &json!("David")));

    let booked = format!(
        "subscription {{ transactionBooked(accountId: \"{}\", afterVersion: 0) {{ version direction counterparty {{ name }} reference }} }}",
        bank.david_account
    );
    socket.subscribe("entries", &booked).await.expect("subscribed");
    let first = socket.next("transactionBooked").await.expect("the deposit");
    assert_eq!((&first["version"], &first["counterparty"]["name"]), (&json!(1), &json!("Millrace Bank")));
    let second = socket.next("transactionBooked").await.expect("the payment");
    let expected = json!({ "version": 2, "direction": "CREDIT", "counterparty": { "name": "Lisa" }, "reference": "Lunch" });
    assert_eq!(second, expected);
    assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 8_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_watched_to_its_end() {
    let bank = bank(&["--hold-from", "5000"]).await;
    let held = bank.pay(&bank.david_iban, "60.00", "EUR", "", ", waitFor: FINAL").await;
    assert_eq!(held["payment"]["status"], "HELD");
    let id = held["payment"]["id"].as_str().expect("an id");
    let available = format!("{{ account(id: \"{}\") {{ balance {{ booked {{ amount }} available {{ amount }} }} }} }}", bank.lisa_account);
    let balance = bank.lisa.execute(&available).await.expect("an answer")["account"]["balance"].take();
    assert_eq!(balance, json!({ "booked": { "amount": "100.00" }, "available": { "amount": "40.00" } }));

    let mut socket = bank.lisa.socket().await.expect("a socket");
    socket.subscribe("1", &format!("subscription {{ paymentChanged(id: \"{id}\") {{ status }} }}")).await.expect("subscribed");
    assert_eq!(socket.next("paymentChanged").await.expect("now")["status"], "HELD");
    let held = bank.operator.execute("{ heldPayments { nodes { id } } }").await.expect("an answer");
    assert_eq!(held["heldPayments"]["nodes"], json!([{ "id": id }]));
    let review =
        format!("mutation {{ reviewPayment(input: {{paymentId: \"{id}\", decision: RELEASE}}) {{ payment {{ id }} errors {{ code }} }} }}");
    let reviewed = bank.operator.execute(&review).await.expect("an answer");
    assert_eq!(reviewed["reviewPayment"]["errors"], json!([]));
    assert_eq!(socket.next("paymentChanged").await.expect("then")["status"], "CHECKED");
    assert_eq!(socket.next("paymentChanged").await.expect("then")["status"], "BOOKED");
    assert_eq!(socket.hear().await.expect("the end")["type"], "complete");
    let again = bank.operator.execute(&review).await.expect("an answer");
    assert_eq!(code(&again["reviewPayment"]), Some("NOT_HELD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_at_its_position_on_any_shard() {
    let bank = bank(&[]).await;
    // Customers enough that some are not on Lisa's shard.
    for name in ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn"] {
        let payee = Client::new(&bank.dev.address, None).register(name).await.expect("registered");
        let (account, iban) = payee.open_account("EUR").await.expect("opened");
        let paid = bank.pay(&iban, "1.00", "EUR", "", ", waitFor: FINAL").await;
        assert_eq!(paid["payment"]["status"], "BOOKED", "{paid}");
        let query = format!("{{ account(id: \"{account}\", atLeast: {}) {{ balance {{ booked {{ amount }} }} }} }}", paid["position"]);
        let data = payee.execute(&query).await.expect("an answer");
        assert_eq!(data["account"]["balance"]["booked"]["amount"], "1.00", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_money_and_bad_ibans_are_refused() {
    let bank = bank(&[]).await;
    let thirty_digits = format!("1{}", "0".repeat(30));
    for amount in ["20.001", "-1", "1e3", "NaN", "0", "", "1,00", &thirty_digits] {
        let refused = bank.pay(&bank.david_iban, amount, "EUR", "", "").await;
        assert_eq!((code(&refused), &refused["payment"]), (Some("INVALID_AMOUNT"), &Value::Null), "{amount:?}");
        assert_eq!(refused["errors"][0]["path"], json!(["input", "amount", "amount"]));
    }
    assert_eq!(code(&bank.pay(&bank.david_iban, "1.5", "JPY", "", "").await), Some("INVALID_AMOUNT"));
    for iban in ["DE00123", "DE88370400440532013000", "de89370400440532013000"] {
        let query = format!("{{ payee(iban: \"{iban}\") {{ name }} }}");
        let answer = bank.lisa.send(json!({ "query": query })).await.expect("an answer");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{iban}: {answer}");
    }
    assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_may_not_be_end_with_their_reason() {
    let bank = bank(&["--payment-limit", "900000"]).await;
    let rejection = |payload: &Value| payload["payment"]["rejection"]["code"].as_str().map(str::to_owned);
    assert_eq!(rejection(&bank.pay_david("100.01").await).as_deref(), Some("INSUFFICIENT_FUNDS"));
    assert_eq!(rejection(&bank.pay_david("9000.01").await).as_deref(), Some("LIMIT_EXCEEDED"));
    let elsewhere = bank.pay("DE89370400440532013000", "1", "EUR", "", ", waitFor: FINAL").await;
    assert_eq!(rejection(&elsewhere).as_deref(), Some("UNKNOWN_CREDITOR"));
    let wrong_currency = bank.pay(&bank.david_iban, "1", "USD", "", ", waitFor: FINAL").await;
    assert_eq!(rejection(&wrong_currency).as_deref(), Some("CURRENCY_MISMATCH"));
    let freeze = format!(
        "mutation {{ setAccountStatus(input: {{accountId: \"{}\", status: FROZEN}}) {{ account {{ status }} }} }}",
        bank.david_account
    );
    bank.operator.execute(&freeze).await.expect("frozen");
    assert_eq!(rejection(&bank.pay_david("1").await).as_deref(), Some("ACCOUNT_FROZEN"));
    assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_payment_for_ever() {
    let bank = bank(&[]).await;
    let key = ", idempotencyKey: \"rent\"";
    let repeats = futures_util::future::join_all((0..20).map(|_| bank.pay(&bank.david_iban, "5.00", "EUR", key, ""))).await;
    let first = &repeats[0];
    assert_eq!(first["payment"]["status"], "ACCEPTED");
    assert!(repeats.iter().all(|repeat| repeat["payment"] == first["payment"]), "{repeats:?}");
    bank.lisa.final_status(first["payment"]["id"].as_str().expect("an id")).await.expect("final");
    assert_eq!(bank.pay(&bank.david_iban, "5.00", "EUR", key, "").await["payment"], first["payment"]);
    assert_eq!(code(&bank.pay(&bank.david_iban, "6.00", "EUR", key, "").await), Some("IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 9_500);
    for wrong in ["", &"k".repeat(65), "ключ"] {
        let refused = bank.pay(&bank.david_iban, "5.00", "EUR", &format!(", idempotencyKey: \"{wrong}\""), "").await;
        assert_eq!(code(&refused), Some("INVALID_IDEMPOTENCY_KEY"), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_money_does_not_exist() {
    let bank = bank(&[]).await;
    let paid = bank.pay_david("1.00").await;
    let id = paid["payment"]["id"].as_str().expect("an id");
    let stranger = Client::new(&bank.dev.address, None).register("Mallory").await.expect("registered");
    let nobody = Client::new(&bank.dev.address, None);
    for (client, code) in [(&stranger, "UNKNOWN_ACCOUNT"), (&nobody, "UNAUTHENTICATED")] {
        let query = format!(
            "{{ account(id: \"{0}\") {{ iban }} payment(id: \"{id}\") {{ id }} a: node(id: \"{0}\") {{ id }} p: node(id: \"{id}\") {{ id }} }}",
            bank.lisa_account
        );
        let data = client.execute(&query).await.expect("an answer");
        assert_eq!(data, json!({ "account": null, "payment": null, "a": null, "p": null }));
        let mut socket = client.socket().await.expect("a socket");
        let subscription = format!("subscription {{ balanceChanged(accountId: \"{}\") {{ version }} }}", bank.lisa_account);
        socket.subscribe("1", &subscription).await.expect("sent");
        let answer = socket.hear().await.expect("an answer").to_string();
        assert!(answer.contains(code), "{answer}");
    }
    let input = format!(
        "{{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"1\", currency: \"EUR\"}}}}",
        bank.lisa_account, bank.david_iban
    );
    let steal = format!("mutation {{ initiatePayment(input: {input}) {{ payment {{ id }} errors {{ code }} }} }}");
    assert_eq!(code(&stranger.execute(&steal).await.expect("an answer")["initiatePayment"]), Some("UNKNOWN_ACCOUNT"));
    let unsigned = nobody.send(json!({ "query": steal })).await.expect("an answer");
    assert_eq!(unsigned["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    let deposit = format!(
        "mutation {{ deposit(input: {{accountId: \"{}\", amount: {{amount: \"1\", currency: \"EUR\"}}}}) {{ errors {{ code }} }} }}",
        bank.lisa_account
    );
    let forbidden = stranger.send(json!({ "query": deposit })).await.expect("an answer");
    assert_eq!(forbidden["errors"][0]["extensions"]["code"], "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let bank = bank(&[]).await;
    let payments = (0..150).map(|_| bank.pay(&bank.david_iban, "0.01", "EUR", "", ", waitFor: FINAL"));
    futures_util::future::join_all(payments).await;
    let (mut versions, mut after) = (Vec::new(), "null".to_owned());
    loop {
        let page = format!("transactions(first: 40, after: {after}) {{ nodes {{ version }} pageInfo {{ hasNextPage endCursor }} }}");
        let data = bank.lisa.execute(&format!("{{ account(id: \"{}\") {{ {page} }} }}", bank.lisa_account)).await.expect("an answer");
        let page = &data["account"]["transactions"];
        versions.extend(page["nodes"].as_array().expect("a list").iter().map(|node| node["version"].as_i64().expect("a number")));
        bank.pay_david("0.01").await;
        after = page["pageInfo"]["endCursor"].to_string();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(versions, (1..=151).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_status_is_never_taken_back() {
    let bank = bank(&[]).await;
    let (mut booked, mut returned) = (0, 0);
    // Whether a credit meets an account that was frozen after the check is a matter of luck, so there are some more tries.
    for number in 0..60 {
        if number >= 6 && returned > 0 {
            break;
        }
        let payee = Client::new(&bank.dev.address, None).register(&format!("Ada{number}")).await.expect("registered");
        let (account, iban) = payee.open_account("EUR").await.expect("opened");
        let payments = futures_util::future::join_all((0..10).map(|_| bank.pay(&iban, "0.10", "EUR", "", ", waitFor: FINAL")));
        let freeze =
            format!("mutation {{ setAccountStatus(input: {{accountId: \"{account}\", status: FROZEN}}) {{ errors {{ code }} }} }}");
        let (payments, _) = tokio::join!(payments, bank.operator.execute(&freeze));
        let last = bank.pay(&iban, "0.10", "EUR", "", ", waitFor: FINAL").await;
        assert_eq!(last["payment"]["rejection"]["code"], "ACCOUNT_FROZEN");
        for told in &payments {
            let id = told["payment"]["id"].as_str().expect("an id");
            let query = format!(
                "{{ payment(id: \"{id}\", atLeast: {}) {{ id status rejection {{ code }} history {{ status }} }} }}",
                last["position"]
            );
            assert_eq!(bank.lisa.execute(&query).await.expect("an answer")["payment"], told["payment"]);
            let finals = ["BOOKED", "REJECTED", "RETURNED"];
            let history = told["payment"]["history"].as_array().expect("a list");
            assert_eq!(history.iter().filter(|step| finals.iter().any(|status| step["status"] == *status)).count(), 1, "{told}");
            booked += i64::from(told["payment"]["status"] == "BOOKED");
            returned += u32::from(told["payment"]["status"] == "RETURNED");
        }
    }
    assert!(returned > 0, "one comes back, which is where a status could be taken back");
    assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 10_000 - 10 * booked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_can_be_found_and_watched_the_moment_it_is_accepted() {
    let bank = bank(&[]).await;
    let mut socket = bank.lisa.socket().await.expect("a socket");
    for number in 0..50 {
        let paid = bank.pay(&bank.david_iban, "0.01", "EUR", "", "").await;
        let query = format!("{{ payment(id: {}) {{ id }} }}", paid["payment"]["id"]);
        assert_eq!(bank.lisa.execute(&query).await.expect("an answer")["payment"]["id"], paid["payment"]["id"]);
        let watch = format!("subscription {{ paymentChanged(id: {}) {{ status }} }}", paid["payment"]["id"]);
        socket.subscribe(&number.to_string(), &watch).await.expect("subscribed");
        let mut last = String::new();
        loop {
            let message = socket.hear().await.expect("a message");
            if message["type"] == "complete" {
                break;
            }
            last = message["payload"]["data"]["paymentChanged"]["status"].as_str().unwrap_or_else(|| panic!("{message}")).to_owned();
        }
        assert_eq!(last, "BOOKED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_a_payment_booked_sees_it_in_both_balances() {
    let bank = bank(&[]).await;
    for number in 1..=200 {
        let paid = bank.pay(&bank.david_iban, "0.01", "EUR", "", "").await;
        let query = format!("{{ payment(id: {}) {{ status }} }}", paid["payment"]["id"]);
        // Asked without a pause, so that the balances are read as soon as can be.
        let booked = async { while bank.lisa.execute(&query).await.expect("an answer")["payment"]["status"] != "BOOKED" {} };
        tokio::time::timeout(tests::PATIENCE, booked).await.expect("booked");
        assert_eq!(bank.balance(&bank.david, &bank.david_account).await, 30_000 + number);
        assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 10_000 - number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_read_by_people() {
    let bank = bank(&[]).await;
    bank.pay(&bank.david_iban, "20.00", "EUR", ", reference: \"Lunch\"", ", waitFor: FINAL").await;
    let data = bank.operator.execute("{ system { logs { name lastSequence } } }").await.expect("an answer");
    let mut text = String::new();
    for log in data["system"]["logs"].as_array().expect("a list") {
        let output = Dev::output(&["cat", log["name"].as_str().expect("a name"), "--nats", &bank.dev.nats]).await.expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("text");
        assert_eq!(lines.lines().count().to_string(), log["lastSequence"].as_str().expect("a number"), "{log}");
        text.push_str(&lines);
    }
    assert!(text.contains("Booked") && text.contains("Lunch"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_written_twice_is_made_once() {
    let bank = bank(&[]).await;
    let input = |amount: &str| {
        format!(
            "initiatePayment(waitFor: FINAL, input: {{debtorAccountId: \"{}\", creditorIban: \"{}\", amount: {{amount: \"{amount}\", currency: \"EUR\"}}}})",
            bank.lisa_account, bank.david_iban
        )
    };
    let (ten, twenty) = (input("10"), input("20"));
    let again = format!("fragment F on Mutation {{ {ten} {{ payment {{ status }} errors {{ code }} }} }}");
    let written_twice = format!("mutation {{ {ten} {{ payment {{ id }} }} ...F }} {again}");
    let paid = bank.lisa.execute(&written_twice).await.expect("an answer")["initiatePayment"].take();
    assert_eq!((&paid["payment"]["status"], &paid["errors"]), (&json!("BOOKED"), &json!([])), "{paid}");
    assert!(paid["payment"]["id"].is_string(), "{paid}");
    for refused in [
        format!("mutation {{ p: {ten} {{ payment {{ id }} }} ... on Mutation {{ p: {twenty} {{ payment {{ id }} }} }} }}"),
        format!("mutation {{ {ten} {{ payment {{ id }} }} {ten} @include(if: true) {{ errors {{ code }} }} }}"),
        "{ viewer { x: name } viewer { x: email } }".to_owned(),
    ] {
        let answer = bank.lisa.send(json!({ "query": refused })).await.expect("an answer");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{refused}: {answer}");
    }
    assert_eq!(bank.balance(&bank.lisa, &bank.lisa_account).await, 90_00);
    let mut socket = bank.david.socket().await.expect("a socket");
    let field = format!("balanceChanged(accountId: \"{}\")", bank.david_account);
    socket
        .subscribe("1", &format!("subscription {{ {field} {{ version }} {field} {{ booked {{ amount }} }} }}"))
        .await
        .expect("subscribed");
    assert_eq!(socket.next("balanceChanged").await.expect("the balance"), json!({ "version": 2, "booked": { "amount": "310.00" } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_is_asked_for_again_is_answered_alike() {
    let bank = bank(&[]).await;
    for amount in ["0.10", "0.20"] {
        bank.pay(&bank.david_iban, amount, "EUR", ", reference: \"\\\"tea\\\"\"", ", waitFor: FINAL").await;
    }
    let page = "nodes { version amount { amount } balanceAfter { amount currency } reference } pageInfo { hasNextPage }";
    let counterparties = "edges { cursor node { id counterparty { name } } }";
    let account = |selected: String| format!("{{ account(id: \"{}\") {{ balance {{ version }} {selected} }} }}", bank.lisa_account);
    for query in [
        account(format!("transactions(first: 2) {{ {page} }}")),
        account(format!("transactions(first: 2) {{ {page} {counterparties} }}")),
        // Fields under one key are merged (GraphQL §6.3.3), whichever of them is written at once.
        account(format!("transactions(first: 2) {{ {page} }} transactions(first: 2) {{ {counterparties} }} balance {{ asOf }}")),
        account(format!("transactions(first: 2) {{ {page} nodes {{ id }} ...P }}"))
            + " fragment P on TransactionConnection { nodes { direction } }",
    ] {
        let first = bank.lisa.execute(&query).await.expect("an answer");
        assert_eq!(first["account"]["transactions"]["nodes"][0]["reference"], "\"tea\"", "{query}");
        assert_eq!(first["account"]["transactions"]["nodes"][1]["amount"]["amount"], "0.10", "{query}");
        assert_eq!(bank.lisa.execute(&query).await.expect("an answer"), first, "{query}");
        let (request, answer) = (json!({ "query": query }), json!({ "data": first }));
        assert_eq!(bank.lisa.send(json!([request, request])).await.expect("answers"), json!([answer, answer]), "in an array");
        let stream = bank.lisa.post().header("accept", "text/event-stream").json(&request).send().await.expect("an answer");
        let event = stream.text().await.expect("text");
        let told = event.strip_prefix("event: next\ndata: ").and_then(|rest| rest.split('\n').next()).expect("an event");
        assert_eq!(serde_json::from_str::<Value>(told).expect("JSON"), answer, "as an event");
        let mut socket = bank.lisa.socket().await.expect("open");
        socket.subscribe("\"1\"", &query).await.expect("sent");
        let told = socket.hear().await.expect("an answer");
        assert_eq!(told, json!({ "type": "next", "id": "\"1\"", "payload": answer }), "over a websocket");
    }
}
