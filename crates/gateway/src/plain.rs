//! Objects that are written as JSON at once. A resolver a field is a future, and a value that waits in a map under its
//! name: a page of twenty entries has 260 of these, which were half of what such a query took (bench/README.md). This module
//! must never know what an object means.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::{self, Display, Write as _},
};

use async_graphql::{
    ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value,
    parser::types::{Field, FragmentDefinition, Selection, SelectionSet},
    registry::Registry,
};
use serde::Serialize;

/// An object of which most fields can be written with nothing but itself at hand.
pub(crate) trait Plain: OutputType {
    /// Writes the value of a field; none, where that needs more than the object.
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()>;
}

/// In the data of a request: no object of its document has two selections under one key, which the library would merge.
/// What is written cannot be merged.
pub(crate) struct NothingToMerge;

/// An object that is written where all that is asked of it can be, and resolved field by field where not, though some of it may
/// have been written by then. What is written is a [`Value::Binary`], which nobody but [`write_value`] knows to send.
pub(crate) struct AtOnce<T>(pub T);

impl<T: Plain> OutputType for AtOnce<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        if ctx.data_opt::<NothingToMerge>().is_some() {
            let mut json = Json { fragments: &ctx.query_env.fragments, text: Vec::with_capacity(ROOM) };
            if json.object(&self.0, &ctx.item.node).is_some() {
                return Ok(Value::Binary(json.text.into()));
            }
        }
        // In a box, since whoever waits for many has room for each.
        Box::pin(self.0.resolve(ctx, field)).await
    }
}

/// Bytes that a balance with all of its fields fits into; a page's text grows to thirty times that.
const ROOM: usize = 256;

/// JSON that is being written.
pub(crate) struct Json<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    text: Vec<u8>,
}

impl Json<'_> {
    /// Writes an object.
    pub(crate) fn object<T: Plain>(&mut self, object: &T, selections: &SelectionSet) -> Option<()> {
        self.text.push(b'{');
        self.fields(object, selections)?;
        self.text.push(b'}');
        Some(())
    }

    fn fields<T: Plain>(&mut self, object: &T, selections: &SelectionSet) -> Option<()> {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) => {
                    let is_first = self.text.last() == Some(&b'{');
                    self.text.extend_from_slice(if is_first { b"\"" } else { b",\"" });
                    self.text.extend_from_slice(field.node.response_key().node.as_bytes());
                    self.text.extend_from_slice(b"\":");
                    match field.node.name.node.as_str() {
                        "__typename" => self.word(&T::type_name()),
                        _ => object.write(&field.node, self)?,
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    condition.is_none_or(|condition| *condition.node.on.node == *T::type_name()).then_some(())?;
                    self.fields(object, &fragment.node.selection_set.node)?;
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.fragments.get(&spread.node.fragment_name.node)?;
                    (*fragment.node.type_condition.node.on.node == *T::type_name()).then_some(())?;
                    self.fields(object, &fragment.node.selection_set.node)?;
                }
            }
        }
        Some(())
    }

    /// Writes a list, item by item.
    pub(crate) fn list<T>(&mut self, items: &[T], write: impl Fn(&T, &mut Self) -> Option<()>) -> Option<()> {
        self.text.push(b'[');
        let start = self.text.len();
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.text.push(b',');
            }
            write(item, self)?;
            if number == 0 {
                // The others are about as long; there is room for one more, as some are longer.
                self.text.reserve((self.text.len() - start) * items.len());
            }
        }
        self.text.push(b']');
        Some(())
    }

    /// Writes a text without a sign that JSON escapes, such as a name.
    pub(crate) fn word(&mut self, word: &str) {
        self.text.push(b'"');
        self.text.extend_from_slice(word.as_bytes());
        self.text.push(b'"');
    }

    /// The same of what is shown so, such as an id or a time.
    pub(crate) fn shown(&mut self, shown: impl Display) {
        self.text.push(b'"');
        // Memory takes whatever is written.
        let _ = write!(self, "{shown}");
        self.text.push(b'"');
    }

    /// Writes a number.
    pub(crate) fn number(&mut self, number: i32) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes a truth value.
    pub(crate) fn truth(&mut self, truth: bool) {
        self.text.extend_from_slice(if truth { b"true" } else { b"false" });
    }

    /// Writes any text, or `null` for none.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        write_json(&text, &mut self.text);
    }
}

impl fmt::Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes a value whose objects may have been written already.
pub(crate) fn write_value(value: &Value, json: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            json.push(b'{');
            write_each(fields, json, |(key, value), json| {
                write_json(key, json);
                json.push(b':');
                write_value(value, json);
            });
            json.push(b'}');
        }
        Value::List(items) => {
            json.push(b'[');
            write_each(items, json, write_value);
            json.push(b']');
        }
        Value::Binary(written) => json.extend_from_slice(written),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Boolean(_) | Value::Enum(_) => write_json(value, json),
    }
}

/// Writes items with a comma between them.
pub(crate) fn write_each<T>(items: impl IntoIterator<Item = T>, json: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            json.push(b',');
        }
        write(item, json);
    }
}

/// Writes what are strings, numbers and maps of them, in memory: neither can fail.
pub(crate) fn write_json(value: &impl Serialize, json: &mut Vec<u8>) {
    let _ = serde_json::to_writer(json, value);
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Request, Schema};
    use domain::{AccountId, Currency, CustomerId, Debtor, PaymentId, Timestamp, account_iban, accounts::AccountStatus};
    use projections::{AccountRow, BalanceRow};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{
        account::{Account, Balance},
        cursors::List,
        page::{Page, page},
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

    const ENTRY: &str = "id direction amount { amount currency } balanceAfter { currency amount } version reference bookedAt";

    #[tokio::test]
    async fn what_is_written_is_what_resolvers_answer() {
        for query in [
            format!("{{ entries {{ {ENTRY} }} }}"),
            format!("{{ entries {{ __typename {ENTRY} again: amount {{ __typename a: amount }} }} account {{ id }} }}"),
            format!(
                "{{ entries {{ ...E }} }} fragment E on Transaction {{ version ... on Transaction {{ v: version ... {{ {ENTRY} }} }} }}"
            )
            .replace(" version reference", " reference"),
            "{ balance { booked { amount } available { currency amount } version asOf } }".to_owned(),
            format!("{{ page {{ nodes {{ {ENTRY} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"),
            format!("{{ page {{ edges {{ cursor __typename node {{ {ENTRY} }} }} __typename pageInfo {{ endCursor }} }} }}"),
            "{ empty { nodes { id } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }".to_owned(),
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
        ] {
            let resolved = answer(query, true).await;
            assert!(!resolved.1, "{query}");
            assert_eq!(resolved.0, answer(query, false).await.0, "{query}");
        }
    }
}
