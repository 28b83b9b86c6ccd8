//! Demo data: two customers with money, made by way of the gateway like anybody's. Ids and keys are
//! fixed, so doing it again changes nothing.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use domain::{AccountId, Currency, CustomerId, Email, IdempotencyKey, Money, PersonName};
use gateway::{Bank, Caller};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::DEMO_LIFETIME;

/// How long the services have to come up and answer.
const SEED_WAIT: Duration = Duration::from_secs(30);

struct Person {
    name: &'static str,
    email: &'static str,
    id: Uuid,
    minor: i64,
}

const LISA: Person = Person { name: "Lisa", email: "lisa@example.org", id: Uuid::from_u128(0x11), minor: 100_000 };
const DAVID: Person = Person { name: "David", email: "david@example.org", id: Uuid::from_u128(0x44), minor: 30_000 };

/// A demo customer.
pub(crate) struct Seeded {
    name: &'static str,
    customer: CustomerId,
    account: AccountId,
    iban: String,
    balance: String,
    token: String,
}

/// All of them.
pub(crate) struct Demo {
    lisa: Seeded,
    david: Seeded,
    operator: String,
}

/// Makes the demo data, or finds it made.
pub(crate) async fn seed(bank: &Bank) -> anyhow::Result<Demo> {
    let seed = async {
        let (lisa, david) = (person(bank, &LISA).await?, person(bank, &DAVID).await?);
        anyhow::Ok(Demo { lisa, david, operator: token(bank, Caller::Operator) })
    };
    tokio::time::timeout(SEED_WAIT, seed).await.context("the demo data could not be made: the services do not answer")?
}

/// A bank without demo data is one all the same, and says by `/health/ready` what is wrong with it.
pub(crate) fn warn_of(error: anyhow::Error) {
    tracing::warn!(error = format!("{error:#}"), "There is no demo data: start with --no-demo, or with another --data folder");
}

async fn person(bank: &Bank, person: &Person) -> anyhow::Result<Seeded> {
    let euro = Currency::parse("EUR")?;
    let customer = CustomerId::from_uuid(person.id);
    let account = AccountId::of(customer, Uuid::new_v5(&person.id, b"account"));
    bank.seed_customer(customer, PersonName::parse(person.name)?, Email::parse(person.email)?).await.map_err(|why| anyhow!(why))?;
    let iban = bank.seed_account(account, customer, euro).await.map_err(|why| anyhow!(why))?;
    let key = IdempotencyKey::parse(&format!("demo-{}", person.name))?;
    let amount = Money::from_minor(person.minor, euro);
    let balance = bank.seed_deposit(account, amount, &key).await.map_err(|why| anyhow!(why))?;
    let token = token(bank, Caller::Customer(customer));
    Ok(Seeded { name: person.name, customer, account, iban: iban.to_string(), balance, token })
}

fn token(bank: &Bank, caller: Caller) -> String {
    let token = bank.issuer.as_ref().and_then(|issuer| issuer.issue(caller, DEMO_LIFETIME));
    token.unwrap_or_else(|| "(from the issuer whose keys --jwks names)".to_owned())
}

impl Demo {
    /// What the playground opens its tabs with.
    pub(crate) fn for_playground(&self) -> Value {
        let Self { lisa, david, operator } = self;
        json!({ "lisa": lisa.for_playground(), "david": david.for_playground(), "operator": { "token": operator } })
    }

    /// What to do with it, to paste.
    pub(crate) fn describe(&self, url: &str) -> String {
        let Self { lisa, david, operator } = self;
        let people: String = [lisa, david].map(Seeded::describe).concat();
        let query = format!(
            "mutation {{ initiatePayment(input: {{debtorAccountId: \\\"{}\\\", creditorIban: \\\"{}\\\", \
             amount: {{amount: \\\"20.00\\\", currency: \\\"EUR\\\"}}, reference: \\\"Lunch\\\"}}) \
             {{ payment {{ id status }} errors {{ code message }} }} }}",
            lisa.account, david.iban
        );
        format!(
            "\n  Demo customers\n{people}\n  Operator\n    token    {operator}\n\n\
             \x20 Lisa pays David 20 euro:\n\n\
             curl -s {url}/graphql -H 'content-type: application/json' \\\n  -H 'authorization: Bearer {}' \\\n  -d '{{\"query\": \"{query}\"}}'\n\n\
             \x20 David watches, in the playground's tab WatchBalance:\n\n\
             subscription {{ balanceChanged(accountId: \"{}\") {{ booked {{ amount currency }} version }} }}",
            lisa.token, david.account
        )
    }
}

impl Seeded {
    fn for_playground(&self) -> Value {
        json!({ "account": self.account.to_string(), "iban": self.iban, "token": self.token })
    }

    fn describe(&self) -> String {
        let Self { name, customer, account, iban, balance, token } = self;
        format!("    {name:<8} {customer}\n    account  {account}   {iban}   {balance}\n    token    {token}\n")
    }
}
