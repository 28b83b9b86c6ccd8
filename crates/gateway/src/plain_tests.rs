use async_graphql::{EmptyMutation, EmptySubscription, Object, Request, Schema};
use domain::{
    AccountId, Currency, CustomerId, Debtor, Initiator, Money, PaymentId, PaymentOrder, Reference, RejectionCode, Timestamp, account_iban,
    accounts::AccountStatus,
};
use projections::{AccountRow, BalanceRow, PaymentRow, PaymentStatus};
use serde_json::json;
use streams::LogName;
use uuid::Uuid;

use super::*;
use crate::{
    account::{Account, Balance},
    cursors::List,
    inputs::{UserError, UserErrorCode},
    page::{Page, page},
    payment_mutation::InitiatePaymentPayload,
    query::Node,
    transaction::Transaction,
};

struct Query;

fn account(currency: &str) -> AccountRow {
    let holder = CustomerId::from_uuid(Uuid::from_u128(1));
    AccountRow {
        id: AccountId::of(holder, Uuid::from_u128(2)),
        holder,
        iban: account_iban(3).expect("an IBAN"),
        currency: Currency::parse(currency).expect("a currency"),
        overdraft_limit_minor: 5_000,
        status: AccountStatus::Open,
        opened_at: Timestamp::from_micros(1_700_000_000_000_000),
        ordinal: 0,
    }
}

fn entry(currency: &str, amount_minor: i64, reference: Option<&str>) -> AtOnce<Transaction> {
    let account = account(currency);
    let entry = json!({
        "version": 27,
        "payment": PaymentId::from_uuid(Uuid::from_u128(4)),
        "amount_minor": amount_minor,
        "balance_after_minor": 5 - amount_minor.saturating_abs(),
        "counterparty": Debtor::Account(account.id),
        "reference": reference,
        "at": Timestamp::from_micros(1_764_162_000_000_001),
        "previous": 0,
        "anchor": 0,
    });
    AtOnce(Transaction { account, entry: serde_json::from_value(entry).expect("an entry") })
}

fn payment(reference: Option<&str>) -> PaymentRow {
    let order = PaymentOrder {
        id: PaymentId::from_uuid(Uuid::from_u128(4)),
        by: Initiator::Bank,
        debtor: Debtor::Account(account("EUR").id),
        creditor: account_iban(3).expect("an IBAN"),
        amount: Money::from_minor(1_250, Currency::parse("EUR").expect("a currency")),
        reference: reference.map(|text| Reference::parse(text).expect("a reference")),
        at: Timestamp::from_micros(1_764_162_000_000_000),
    };
    PaymentRow::accepted(order, LogName::new("payment-commands", Some(1)), 27)
}

#[Object]
impl Query {
    async fn balance(&self) -> AtOnce<Balance> {
        let row = json!({
            "booked_minor": -5, "pending_minor": 7, "version": 3, "as_of": Timestamp::from_micros(0),
            "last_entry": 0, "anchor": 0, "far_anchor": 0,
        });
        let row: BalanceRow = serde_json::from_value(row).expect("a balance");
        AtOnce(Balance::new(&account("EUR"), &row))
    }

    async fn entries(&self) -> Vec<AtOnce<Transaction>> {
        let lunch = "for \"lunch\" \\ tea, ü";
        vec![entry("EUR", 123_456, None), entry("KWD", -1, Some(lunch)), entry("JPY", i64::MIN, Some("5"))]
    }

    async fn page(&self) -> AtOnce<Page<Transaction>> {
        let list = List::of("transactions", "acc_1");
        let row = |version, minor| (list.cursor(&[version]), entry("EUR", minor, None).0);
        AtOnce(page([row(3, 1), row(2, -1), row(1, 7)].into_iter(), 2, true))
    }

    async fn empty(&self) -> AtOnce<Page<Transaction>> {
        AtOnce(page(std::iter::empty(), 2, false))
    }

    async fn payloads(&self) -> AtOnce<Vec<InitiatePaymentPayload>> {
        let errors = vec![
            UserError::unknown_account(&["input", "debtorAccountId"]),
            UserError::new(UserErrorCode::InvalidReference, &[], "Not \"so\"."),
        ];
        let mut rejected = payment(None);
        rejected.history.push((PaymentStatus::Rejected, Timestamp::from_micros(1_764_162_000_000_001)));
        rejected.rejection = Some(RejectionCode::InsufficientFunds);
        let made = [payment(Some("for \"lunch\"")), rejected].map(InitiatePaymentPayload::of);
        AtOnce(made.into_iter().chain([InitiatePaymentPayload::refused(errors)]).collect())
    }

    async fn payload(&self) -> AtOnce<InitiatePaymentPayload> {
        AtOnce(InitiatePaymentPayload::of(payment(None)))
    }

    async fn none(&self) -> AtOnce<Vec<InitiatePaymentPayload>> {
        AtOnce(Vec::new())
    }

    async fn account(&self) -> Account {
        Account { row: account("EUR") }
    }
}

async fn answer(query: &str, is_plain: bool) -> (String, bool) {
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription).register_output_type::<Node>().finish();
    let request = Request::new(query);
    let response = schema.execute(if is_plain { request.data(NothingToMerge) } else { request }).await;
    assert!(response.errors.is_empty(), "{query}: {:?}", response.errors);
    let mut json = Vec::new();
    write_value(&response.data, &mut json);
    let is_written = format!("{:?}", response.data).contains("Binary");
    (String::from_utf8(json).expect("text"), is_written)
}

const PAYMENT: &str =
    "id status amount { amount currency } reference rejection { code message } history { status at } initiatedAt position";
const ENTRY: &str = "id direction amount { amount currency } balanceAfter { currency amount } version reference bookedAt";

#[tokio::test]
async fn what_is_written_is_what_resolvers_answer() {
    for query in [
        format!("{{ entries {{ {ENTRY} }} }}"),
        format!("{{ entries {{ __typename {ENTRY} again: amount {{ __typename a: amount }} }} account {{ id }} }}"),
        format!("{{ entries {{ ...E }} }} fragment E on Transaction {{ version ... on Transaction {{ v: version ... {{ {ENTRY} }} }} }}")
            .replace(" version reference", " reference"),
        "{ balance { booked { amount } available { currency amount } version asOf } }".to_owned(),
        format!("{{ page {{ nodes {{ {ENTRY} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"),
        format!("{{ page {{ edges {{ cursor __typename node {{ {ENTRY} }} }} __typename pageInfo {{ endCursor }} }} }}"),
        "{ empty { nodes { id } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }".to_owned(),
        format!("{{ payloads {{ payment {{ __typename {PAYMENT} }} position errors {{ code path message }} }} none {{ position }} }}"),
        format!(
            "{{ payload {{ errors {{ code }} payment {{ {PAYMENT} }} }} payloads {{ ...P }} }} fragment P on InitiatePaymentPayload {{ position }}"
        ),
        "{ entries { id @include(if: true) version @skip(if: true) direction } }".to_owned(),
        "{ entries { version @skip(if: true) } balance { __typename } }".to_owned(),
    ] {
        let (resolved, was_written) = answer(&query, false).await;
        assert!(!was_written, "{query}");
        let (written, was_written) = answer(&query, true).await;
        assert!(was_written, "{query}");
        assert_eq!(written, resolved, "{query}");
        serde_json::from_str::<serde_json::Value>(&written).expect("JSON");
    }
}

#[tokio::test]
async fn what_needs_more_than_the_object_is_resolved() {
    for query in [
        "{ entries { ... on Node { id } } }",
        "{ entries { ...N } } fragment N on Node { id }",
        "{ page { nodes { id } edges { node { version ... on Node { id } } } } }",
        "{ payloads { position payment { id ... on Node { id } } } }",
    ] {
        let resolved = answer(query, true).await;
        assert!(!resolved.1, "{query}");
        assert_eq!(resolved.0, answer(query, false).await.0, "{query}");
    }
}
