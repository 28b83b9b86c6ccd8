//! Who sees and does what: every field and every id argument of the schema, asked by nobody, by another
//! customer, by the owner and by an operator. A field that is added to the schema fails here until it has
//! a row. What is not theirs must look to a caller, to the byte, as what does not exist.

#![expect(clippy::expect_used, reason = "a test may fail loudly")]

mod rows;

use std::collections::{BTreeSet, HashMap};

use rows::{CALLERS, Caller, Handle, ROWS, Row};
use serde_json::{Value, json};
use tests::{Client, Dev, Nats, load::operator};

/// What everybody asks about: what belongs to the owner.
struct World {
    _serve: Dev,
    _nats: Nats,
    _data: tempfile::TempDir,
    clients: HashMap<Caller, Client>,
    /// A payment's creditor.
    payee: Client,
    handles: HashMap<Handle, String>,
    /// What operations are about besides the id: IBANs and accounts.
    variables: Value,
}

impl World {
    async fn new() -> Self {
        let (nats, data) = (Nats::start().expect("nats-server"), tempfile::tempdir().expect("a folder"));
        let serve = Dev::serve(&nats, data.path(), &["--hold-from", "5000"]).await.expect("up");
        let (nobody, operator) = (Client::new(&serve.address, None), operator(&serve.address).expect("a token"));
        let [owner, other, payee] = [nobody.register("Owner").await, nobody.register("Other").await, nobody.register("Payee").await]
            .map(|client| client.expect("registered"));
        let (account, iban) = owner.open_account("EUR").await.expect("opened");
        other.open_account("EUR").await.expect("opened");
        let (_, payee_iban) = payee.open_account("EUR").await.expect("opened");
        operator.deposit(&account, "500.00", "EUR").await.expect("deposited");
        let variables = json!({ "account": account, "iban": iban, "payee": payee_iban });
        let payment = pay(&owner, &account, &payee_iban, "1.00", "first").await;
        assert_eq!(owner.final_status(&payment).await.expect("final"), "BOOKED");
        let rejected = pay(&owner, &account, &iban, "1.00", "to oneself").await;
        assert_eq!(owner.final_status(&rejected).await.expect("final"), "REJECTED");
        let held = pay(&owner, &account, &payee_iban, "60.00", "held").await;
        let is_held = || async { Ok((status(&owner, &held).await == "HELD").then_some(())) };
        tests::eventually("a payment is held", is_held).await.expect("held");
        let viewer = owner.execute("{ viewer { id accounts { nodes { transactions { nodes { id } } } } } }").await.expect("an answer");
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        let transaction = text(&viewer["viewer"]["accounts"]["nodes"][0]["transactions"]["nodes"][0]["id"]);
        let handles = [
            (Handle::Customer, text(&viewer["viewer"]["id"])),
            (Handle::Account, account),
            (Handle::Transaction, transaction),
            (Handle::Payment, payment),
            (Handle::HeldPayment, held),
            (Handle::RejectedPayment, rejected),
        ];
        let clients = [(Caller::Anonymous, nobody), (Caller::Other, other), (Caller::Owner, owner), (Caller::Operator, operator)];
        Self { _serve: serve, _nats: nats, _data: data, clients: clients.into(), payee, handles: handles.into(), variables }
    }

    /// How a caller's operation with this id ends, as one word, and the whole answer without the id.
    async fn ask(&self, row: &Row, caller: Caller, id: &str) -> (String, String) {
        let mut variables = json!({ "email": format!("{caller:?}-{}@example.org", row.field.len()) });
        let used = self.variables.as_object().expect("an object").iter().filter(|(name, _)| row.operation.contains(&format!("${name}:")));
        used.for_each(|(name, value)| variables[name] = value.clone());
        if row.operation.contains("$id:") {
            variables["id"] = json!(id);
        }
        let request = json!({ "query": row.operation, "variables": variables });
        let client = &self.clients[&caller];
        let (status, answer) = if row.operation.starts_with("subscription") {
            (200, first_message(client, request).await)
        } else {
            let response = client.post().json(&request).send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("text"))
        };
        (outcome(&answer), format!("{status} {}", answer.replace(id, "ID")))
    }
}

async fn pay(from: &Client, account: &str, iban: &str, amount: &str, key: &str) -> String {
    let input = json!({ "debtorAccountId": account, "creditorIban": iban, "amount": { "amount": amount, "currency": "EUR" }, "idempotencyKey": key });
    let mutation = "mutation($input: InitiatePaymentInput!) { initiatePayment(input: $input) { payment { id } errors { code } } }";
    let answer = from.send(json!({ "query": mutation, "variables": { "input": input } })).await.expect("an answer");
    answer["data"]["initiatePayment"]["payment"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn status(client: &Client, payment: &str) -> String {
    let data = client.execute(&format!("{{ payment(id: \"{payment}\") {{ status }} }}")).await.expect("an answer");
    data["payment"]["status"].as_str().unwrap_or_default().to_owned()
}

async fn first_message(client: &Client, request: Value) -> String {
    let mut socket = client.socket().await.expect("a socket");
    socket.subscribe_with("1", request).await.expect("sent");
    socket.hear().await.expect("a message").to_string()
}

/// `shown`, `null`, or the code of the error.
fn outcome(answer: &str) -> String {
    let value: Value = serde_json::from_str(answer).expect("JSON");
    let payload = if value["type"].is_string() { &value["payload"] } else { &value };
    let errors = payload.get("errors").or_else(|| payload.is_array().then_some(payload));
    let field = payload["data"].as_object().and_then(|data| data.values().next()).unwrap_or(&Value::Null);
    // A bulk answers with a list of payloads.
    let field = field.as_array().and_then(|list| list.first()).unwrap_or(field);
    let code = errors.map(|errors| &errors[0]["extensions"]["code"]).or_else(|| field["errors"].get(0).map(|error| &error["code"]));
    match code.map(|code| code.as_str().unwrap_or_else(|| panic!("an error without a code: {answer}"))) {
        Some(code) => code.to_owned(),
        None if field.is_null() => "null".to_owned(),
        None => {
            assert!(!answer.contains("null"), "what is shown is shown whole: {answer}");
            "shown".to_owned()
        }
    }
}

/// Ids of the same type that nothing has, and texts that are none.
fn ids_of_nothing(handle: Handle, id: &str) -> Vec<String> {
    let digits = "0123456789abcdef0123456789abcdef";
    let unknown = match handle {
        Handle::Transaction => format!("txn_{digits}{}", &id[36..]),
        Handle::Customer | Handle::Account | Handle::Payment | Handle::HeldPayment | Handle::RejectedPayment => {
            format!("{}{digits}", &id[..4])
        }
    };
    vec![unknown, id.to_uppercase(), id[..id.len() - 1].to_owned(), "nothing".to_owned(), "?".to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_and_does_what_is_theirs_and_nothing_else_exists_for_them() {
    let world = World::new().await;
    let required = handles_of_the_schema(&world.clients[&Caller::Operator]).await;
    let tested: BTreeSet<String> = ROWS.iter().map(|row| row.field.to_owned()).collect();
    let without_row: Vec<_> = required.difference(&tested).collect();
    assert!(without_row.is_empty(), "these have no row in tests/rows/mod.rs: {without_row:?}");
    let gone: Vec<_> = tested.difference(&required).filter(|field| !required.iter().any(|known| known.starts_with(*field))).collect();
    assert!(gone.is_empty(), "these rows are of nothing in the schema: {gone:?}");

    let owner = &world.clients[&Caller::Owner];
    let everything = "{ viewer { name email accounts { nodes { status balance { version booked { amount } } transactions { nodes { id } }
                     payments { nodes { id status } } } } } }";
    let before = owner.execute(everything).await.expect("an answer");
    let mut table = String::from("| | anonymous | another customer | the owner | an operator |\n|---|---|---|---|---|\n");
    let mut wrong = Vec::new();
    let mut seen: HashMap<(usize, Caller), String> = HashMap::new();
    // Whoever must not change anything comes first.
    for (index, caller) in CALLERS.iter().flat_map(|caller| (0..ROWS.len()).map(move |index| (index, *caller))) {
        if caller == Caller::Owner && index == 0 {
            assert_eq!(owner.execute(everything).await.expect("an answer"), before, "others changed what is not theirs");
        }
        let row = &ROWS[index];
        let id = row.handle.map(|handle| world.handles[&handle].clone()).unwrap_or_default();
        let (outcome, answer) = world.ask(row, caller, &id).await;
        if outcome != row.expected(caller) {
            wrong.push(format!("{} as {caller:?}: {outcome} where {} is expected: {answer}", row.field, row.expected(caller)));
        }
        for nothing in row.handle.iter().flat_map(|handle| ids_of_nothing(*handle, &id)) {
            let (of_nothing, unknown) = world.ask(row, caller, &nothing).await;
            if (outcome == "shown" && of_nothing == "shown") || (outcome != "shown" && unknown != answer) {
                wrong.push(format!("{} as {caller:?}: {answer} for what is there, {unknown} for {nothing:?}", row.field));
            }
        }
        seen.insert((index, caller), outcome);
    }
    for (index, row) in ROWS.iter().enumerate() {
        let cells = CALLERS.map(|caller| seen[&(index, caller)].clone()).join(" | ");
        table.push_str(&format!("| `{}`{} | {cells} |\n", row.field, row.of()));
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md")).expect("a document");
    assert!(document.contains(&table), "the table in ARCHITECTURE.md is not this one:\n{table}");
}

/// What must have a row: every root field, with each id among its arguments, and every field that leads
/// from one object to another.
async fn handles_of_the_schema(operator: &Client) -> BTreeSet<String> {
    let of_type = "kind name ofType { kind name ofType { kind name ofType { kind name } } }";
    let argument = format!("name type {{ {of_type} }}");
    let query = format!(
        "{{ __schema {{ types {{ kind name inputFields {{ {argument} }} fields {{ name type {{ {of_type} }} args {{ {argument} }} }} }} }} }}"
    );
    let data = operator.execute(&query).await.expect("operators may see the schema");
    let types: HashMap<_, _> = data["__schema"]["types"].as_array().expect("a list").iter().map(|of| (name(of), of)).collect();
    let mut required = BTreeSet::new();
    for (owner, of) in types.iter().filter(|(name, _)| !name.starts_with("__")) {
        let is_plumbing = ["Connection", "Edge", "Payload", "UserError"].iter().any(|end| owner.ends_with(end));
        for field in of["fields"].as_array().into_iter().flatten().filter(|_| !is_plumbing && of["kind"] == "OBJECT") {
            let path = format!("{owner}.{}", name(field));
            let ids: Vec<_> = list(&field["args"]).flat_map(|argument| ids_in(argument, &types)).collect();
            if ["Query", "Mutation", "Subscription"].contains(owner) && ids.is_empty() {
                required.insert(path);
            } else if ["Query", "Mutation", "Subscription"].contains(owner) {
                required.extend(ids.into_iter().map(|id| format!("{path}({id})")));
            } else if ["OBJECT", "INTERFACE"].contains(&innermost(&field["type"])["kind"].as_str().expect("a kind"))
                && name(innermost(&field["type"])) != "Money"
            {
                required.insert(path);
            }
        }
    }
    required
}

fn name(of: &Value) -> &str {
    of["name"].as_str().expect("a name")
}

fn list(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn innermost(mut of: &Value) -> &Value {
    while of["ofType"].is_object() {
        of = &of["ofType"];
    }
    of
}

/// Paths of the ids in an argument.
fn ids_in(argument: &Value, types: &HashMap<&str, &Value>) -> Vec<String> {
    let of = innermost(&argument["type"]);
    match of["kind"].as_str() {
        Some("SCALAR") if of["name"] == "ID" => vec![name(argument).to_owned()],
        Some("INPUT_OBJECT") => {
            let inner = list(&types[name(of)]["inputFields"]).flat_map(|field| ids_in(field, types));
            inner.map(|path| format!("{}.{path}", name(argument))).collect()
        }
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_paid_sees_the_payment_once_it_pays_and_of_the_payer_name_and_iban() {
    let world = World::new().await;
    let (booked, held) = (&world.handles[&Handle::Payment], &world.handles[&Handle::HeldPayment]);
    let query = "query($id: ID!) { payment(id: $id) { id status debtor { name iban currency } creditor { name } reference } }";
    let ask = async |id: &str| {
        let answer = world.payee.send(json!({ "query": query, "variables": { "id": id } })).await.expect("an answer");
        answer.to_string().replace(id, "ID")
    };
    let seen: Value = serde_json::from_str(&ask(booked).await).expect("JSON");
    let debtor = json!({ "name": "Owner", "iban": world.variables["iban"], "currency": "EUR" });
    assert_eq!((&seen["data"]["payment"]["status"], &seen["data"]["payment"]["debtor"]), (&json!("BOOKED"), &debtor));
    assert_eq!(ask(held).await, ask("pay_0123456789abcdef0123456789abcdef").await, "until then it does not exist");
    let counterparty = "{ viewer { accounts { nodes { transactions { nodes { counterparty { name iban currency } payment { id } account { holder { name } } } } } } } }";
    let own = world.payee.execute(counterparty).await.expect("an answer");
    let entry = &own["viewer"]["accounts"]["nodes"][0]["transactions"]["nodes"][0];
    assert_eq!((&entry["counterparty"], &entry["payment"]["id"]), (&debtor, &json!(booked)));
    assert_eq!(entry["account"]["holder"]["name"], "Payee");
    // A payee is a name, an IBAN and a currency, so no way leads from there to the account.
    let schema = world.payee.execute("{ __type(name: \"Payee\") { fields { name } } }").await.expect("signed in");
    assert_eq!(schema["__type"]["fields"], json!([{ "name": "name" }, { "name": "iban" }, { "name": "currency" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_keys_and_positions_of_others_open_nothing() {
    let world = World::new().await;
    let (owner, other) = (&world.clients[&Caller::Owner], &world.clients[&Caller::Other]);
    let page = |after: &str| {
        format!(
            "{{ viewer {{ accounts {{ nodes {{ id transactions(after: {after}) {{ nodes {{ id }} pageInfo {{ endCursor }} }}
             payments(after: {after}) {{ nodes {{ id }} edges {{ cursor }} }} }} }} }} }}"
        )
    };
    let own = owner.execute(&page("null")).await.expect("an answer")["viewer"]["accounts"]["nodes"][0].take();
    for cursor in
        [&own["payments"]["edges"][0]["cursor"], &own["payments"]["edges"][1]["cursor"], &own["transactions"]["pageInfo"]["endCursor"]]
    {
        assert!(cursor.is_string(), "{own}");
        let theirs = other.send(json!({ "query": page(&cursor.to_string()) })).await.expect("an answer");
        assert_eq!(theirs["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{theirs}");
        let own = owner.send(json!({ "query": page(&cursor.to_string()) })).await.expect("an answer");
        assert_eq!(own["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "of one list, it is none of the other: {own}");
    }
    // The same key is another payment with another customer, and nothing shows that somebody has used it.
    let account = other.execute("{ viewer { accounts { nodes { id } } } }").await.expect("an answer");
    let account = account["viewer"]["accounts"]["nodes"][0]["id"].as_str().expect("an id").to_owned();
    let payee = world.variables["payee"].as_str().expect("an IBAN");
    let mine = pay(other, &account, payee, "7.00", "first").await;
    assert_ne!(mine, world.handles[&Handle::Payment]);
    assert_eq!(status(owner, &mine).await, "", "nor is it theirs");
    // A position says nothing to whoever has not signed in: it is not even waited for.
    let query = "query($id: ID!, $at: Position) { account(id: $id, atLeast: $at) { id } payment(id: $id, atLeast: $at) { id } viewer(atLeast: $at) { id } }";
    let beyond = "bGVkZ2VyLTA9OTk5OTk5OTk5"; // ledger-0=999999999
    let request = json!({ "query": query, "variables": { "id": world.handles[&Handle::Account], "at": beyond } });
    let nobody = world.clients[&Caller::Anonymous].send(request.clone()).await.expect("an answer");
    assert_eq!(nobody, json!({ "data": { "account": null, "payment": null, "viewer": null } }));
    let stale = other.send(request).await.expect("an answer");
    assert_eq!(stale["errors"][0]["extensions"]["code"], "STALE_READ");
}
