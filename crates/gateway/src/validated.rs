//! Documents that were validated once and need not be again, as a database prepares a statement. What depends on
//! variables is still checked each time; where that leaves a doubt, validation does it all and says what is wrong.
//! This module must never run one.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    Positioned, Value, Variables,
    parser::types::{ExecutableDocument, OperationDefinition},
    registry::{MetaType, MetaTypeName, Registry},
};
use lru::LruCache;

use crate::introspection::introspects;

/// Most documents that are remembered; the least used goes first. A client has a few dozen.
const DOCUMENTS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// Most letters of one that is, its fragments taken in wherever they are spread. A field of two letters takes some 200 bytes once it
/// is parsed, so all of them have 200 MiB at the very most.
const DOCUMENT_LETTERS: usize = 8 * 1024;

/// A document that is remembered, and selects no `__schema`, which some callers are not told.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(crate) document: ExecutableDocument,
    /// What its operation is known by.
    pub(crate) label: String,
    /// Whether fields of an object are to be merged, see [`Shape::merges`](crate::shape::Shape).
    pub(crate) merges: bool,
}

#[derive(Debug)]
struct Entry {
    validated: Arc<Validated>,
    /// Whether validation has found it good yet.
    is_good: bool,
}

/// Documents by their text.
#[derive(Debug)]
pub(crate) struct ValidatedDocuments(Mutex<LruCache<Arc<str>, Entry>>);

impl Default for ValidatedDocuments {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(DOCUMENTS)))
    }
}

impl ValidatedDocuments {
    /// The document of that text, where validation found it good before.
    pub(crate) fn get(&self, text: &str) -> Option<Arc<Validated>> {
        self.entries().get(text).filter(|entry| entry.is_good).map(|entry| Arc::clone(&entry.validated))
    }

    /// Keeps a document that is about to be validated, where it may be remembered: it is short, and has nothing in it that
    /// is not run and so not validated. Its text is what [`Self::settle`] asks for.
    pub(crate) fn keep(
        &self,
        text: Arc<str>,
        document: &ExecutableDocument,
        letters: usize,
        label: &str,
        merges: bool,
    ) -> Option<Arc<str>> {
        let may_be_remembered = letters <= DOCUMENT_LETTERS && !introspects(document);
        if !may_be_remembered {
            return None;
        }
        let mut entries = self.entries();
        if let Some((text, _)) = entries.get_key_value(&text) {
            return Some(Arc::clone(text));
        }
        let validated = Arc::new(Validated { document: document.clone(), label: label.to_owned(), merges });
        entries.put(Arc::clone(&text), Entry { validated, is_good: false });
        Some(text)
    }

    /// What validation made of a document that was kept.
    pub(crate) fn settle(&self, text: &str, is_good: bool) {
        let mut entries = self.entries();
        match entries.get_mut(text) {
            Some(entry) if is_good => entry.is_good = true,
            // Once good, it is refused for its variables only.
            Some(entry) if !entry.is_good => drop(entries.pop(text)),
            Some(_) | None => {}
        }
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<Arc<str>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the variables of an operation certainly are what it declares (GraphQL §6.1.2). What has to be made fit, such
/// as one value for a list, is for validation to judge.
pub(crate) fn variables_fit(registry: &Registry, operation: &OperationDefinition, variables: &Variables) -> bool {
    operation.variable_definitions.iter().all(|Positioned { node: definition, .. }| {
        let declared = &definition.var_type.node;
        match variables.get(&definition.name.node) {
            // It may stand where null must not, for the sake of its default.
            Some(Value::Null) => declared.nullable && definition.default_value.is_none(),
            Some(value) => Kind::of(registry, &declared.to_string(), MAX_NESTING).has(value),
            None => declared.nullable || definition.default_value.is_some(),
        }
    })
}

/// Deepest nesting of lists and input objects that is looked into; the schema's deepest is half of it.
const MAX_NESTING: usize = 8;

/// What a type takes, looked up once for all values of a list.
enum Kind<'a> {
    NonNull(Box<Self>),
    List(Box<Self>),
    Int,
    Scalar(&'a (dyn Fn(&Value) -> bool + Send + Sync)),
    Enum(&'a MetaType),
    Object(Vec<(&'a str, Self)>),
    /// Whether a value is of it is for validation to judge.
    Other,
}

impl<'a> Kind<'a> {
    fn of(registry: &'a Registry, ty: &str, nesting: usize) -> Self {
        let Some(nesting) = nesting.checked_sub(1) else { return Self::Other };
        match MetaTypeName::create(ty) {
            MetaTypeName::NonNull(inner) => Self::NonNull(Self::of(registry, inner, nesting + 1).into()),
            MetaTypeName::List(inner) => Self::List(Self::of(registry, inner, nesting).into()),
            MetaTypeName::Named("Int") => Self::Int,
            MetaTypeName::Named(name) => match registry.types.get(name) {
                Some(MetaType::Scalar { is_valid: Some(is_valid), .. }) => Self::Scalar(&**is_valid),
                Some(ty @ MetaType::Enum { .. }) => Self::Enum(ty),
                Some(MetaType::InputObject { input_fields, oneof: false, .. }) => {
                    Self::Object(input_fields.values().map(|field| (&*field.name, Self::of(registry, &field.ty, nesting))).collect())
                }
                _ => Self::Other,
            },
        }
    }

    fn has(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::NonNull(inner), value) => *value != Value::Null && inner.has(value),
            (Self::Other, _) => false,
            (_, Value::Null) => true,
            (Self::List(inner), Value::List(items)) => items.iter().all(|item| inner.has(item)),
            (Self::Int, Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            (Self::Scalar(is_valid), value) => is_valid(value),
            (Self::Enum(MetaType::Enum { enum_values, .. }), Value::String(name)) => enum_values.contains_key(name),
            (Self::Object(declared), Value::Object(fields)) => {
                let mut known = 0;
                let fits = declared.iter().all(|(name, kind)| match fields.get(*name) {
                    Some(value) => {
                        known += 1;
                        kind.has(value)
                    }
                    None => !matches!(kind, Self::NonNull(_) | Self::Other),
                });
                fits && known == fields.len()
            }
            (_, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use serde_json::json;

    use super::*;
    use crate::{
        Caller, Documents, Expected, Gateway, Keys, Limits, operation::Params, plain::NothingToMerge, schema::tests::without_bank,
    };

    const BULK: &str = "mutation($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { position } }";
    const WAIT: &str = "mutation($input: InitiatePaymentInput!, $wait: PaymentWait = FINAL) \
                        { initiatePayment(input: $input, waitFor: $wait) { position } }";
    const PAGE: &str = "query($first: Int = 2, $id: ID!) { account(id: $id) { payments(first: $first) { nodes { id } } } }";
    const PAIR: &str = "mutation($a: InitiatePaymentInput!, $b: InitiatePaymentInput!) { \
                        a: initiatePayment(input: $a) { position } b: initiatePayment(input: $b) { position } }";

    fn gateway() -> Gateway {
        let expected = Expected { issuer: "tests".to_owned(), audience: "tests".to_owned() };
        Gateway::new(without_bank(), Keys::from_secret(&[7; 32], expected), Limits::default(), Documents::default())
    }

    /// What an anonymous caller is answered, and whether the document was validated before.
    async fn answer(gateway: &Gateway, query: &str, variables: &serde_json::Value) -> (String, bool) {
        let params = Params { query: Some(query.to_owned()), variables: Variables::from_json(variables.clone()), ..Params::default() };
        match gateway.prepare(params, Caller::Anonymous) {
            Ok(operation) => {
                let was_validated = operation.validation.is_done();
                (serde_json::to_string(&gateway.execute(operation).await).expect("JSON"), was_validated)
            }
            Err(refused) => (serde_json::to_string(&refused).expect("JSON"), false),
        }
    }

    fn input(change: impl Fn(&mut serde_json::Value)) -> serde_json::Value {
        let mut input =
            json!({ "debtorAccountId": "acc_0", "creditorIban": "DE75999999991000000000", "amount": { "amount": "1", "currency": "EUR" } });
        change(&mut input);
        input
    }

    #[tokio::test]
    async fn a_document_is_validated_once() {
        let gateway = gateway();
        let good = json!({ "inputs": [input(|_| ())] });
        let (first, was_validated) = answer(&gateway, BULK, &good).await;
        assert!(!was_validated && first.contains("UNAUTHENTICATED"), "{first}");
        assert_eq!(answer(&gateway, BULK, &good).await, (first.clone(), true));
        let (refused, _) = answer(&gateway, BULK, &json!({ "inputs": 5 })).await;
        assert!(refused.contains("BAD_REQUEST"), "{refused}");
        assert_eq!(answer(&gateway, BULK, &good).await, (first, true), "it is still good");
    }

    #[tokio::test]
    async fn a_document_that_was_validated_is_answered_as_before_whatever_its_variables() {
        let bad = |name: &'static str, value: serde_json::Value| input(move |input| input[name] = value.clone());
        let inputs = [
            input(|_| ()),
            input(|input| input["reference"] = json!(null)),
            input(|input| drop(input.as_object_mut().and_then(|input| input.remove("amount")))),
            bad("creditorIban", json!("DE00")),
            bad("creditorIban", json!(null)),
            bad("unknown", json!("field")),
            bad("amount", json!("1")),
            bad("amount", json!({ "amount": 1, "currency": "EUR" })),
            bad("amount", json!({ "amount": "1", "currency": "nope" })),
            bad("reference", json!(["a", "list"])),
            json!(5),
            json!(null),
        ];
        let mut cases = vec![
            (BULK, json!({})),
            (BULK, json!({ "inputs": null })),
            (BULK, json!({ "inputs": input(|_| ()) })),
            (PAGE, json!({})),
            (PAGE, json!({ "id": "acc_0", "first": null })),
            (PAGE, json!({ "id": "acc_0", "first": 3_000_000_000_u32 })),
            (PAGE, json!({ "id": 5, "first": 1 })),
            (PAGE, json!({ "id": "acc_0", "first": "1" })),
            (PAGE, json!({ "id": true })),
        ];
        for input in inputs {
            cases.push((PAIR, json!({ "a": self::input(|_| ()), "b": input })));
            cases.push((BULK, json!({ "inputs": [input] })));
            cases.push((WAIT, json!({ "input": input })));
        }
        for wait in [json!("ACCEPTED"), json!(null), json!("NEVER"), json!(1)] {
            cases.push((WAIT, json!({ "input": input(|_| ()), "wait": wait })));
        }
        let known = gateway();
        for (query, good) in [
            (BULK, json!({ "inputs": [input(|_| ())] })),
            (WAIT, json!({ "input": input(|_| ()) })),
            (PAGE, json!({ "id": "acc_0" })),
            (PAIR, json!({ "a": input(|_| ()), "b": input(|_| ()) })),
        ] {
            answer(&known, query, &good).await;
            assert!(answer(&known, query, &good).await.1, "{query}");
        }
        for (query, variables) in cases {
            let (fresh, _) = answer(&gateway(), query, &variables).await;
            assert_eq!(answer(&known, query, &variables).await.0, fresh, "{query} {variables}");
        }
    }

    #[tokio::test]
    async fn objects_are_written_at_once_where_each_key_stands_once() {
        let gateway = gateway();
        let is_written = |query: &str| {
            let params = Params { query: Some(query.to_owned()), ..Params::default() };
            let operation = gateway.prepare(params, Caller::Anonymous).unwrap_or_else(|_| panic!("{query} may run"));
            operation.request.data.contains_key(&TypeId::of::<NothingToMerge>())
        };
        for (query, expected) in [
            ("{ a: __typename b: __typename }", true),
            ("{ a: __typename a: __typename }", true),
            ("{ a: __typename a: __typename @include(if: true) }", false),
        ] {
            assert!(!is_written(query), "{query}, before it was validated");
            answer(&gateway, query, &json!({})).await;
            assert_eq!(is_written(query), expected, "{query}");
        }
    }

    #[tokio::test]
    async fn what_was_refused_or_asks_for_the_schema_or_is_long_is_not_remembered() {
        let gateway = gateway();
        let long = format!("{{ __typename {} }}", " ".repeat(DOCUMENT_LETTERS));
        for query in ["{ nothing }", "{ __schema { description } }", "query A { __typename } query B { nothing }", &long] {
            for _ in 0..2 {
                assert!(!answer(&gateway, query, &json!({})).await.1, "{query}");
            }
        }
    }

    #[tokio::test]
    async fn variables_that_are_declared_nowhere_are_dropped() {
        let gateway = gateway();
        for _ in 0..2 {
            let variables = Variables::from_json(json!({ "id": "acc_0", "x": [1, 2, 3] }));
            let operation = gateway.prepare(Params { query: Some(PAGE.to_owned()), variables, ..Params::default() }, Caller::Anonymous);
            let request = operation.unwrap_or_else(|_| panic!("it may run")).request;
            assert_eq!(request.variables.keys().collect::<Vec<_>>(), ["first", "id"]);
            answer(&gateway, PAGE, &json!({ "id": "acc_0" })).await;
        }
    }

    #[tokio::test]
    async fn no_operation_of_several_is_remembered() {
        let gateway = gateway();
        let field =
            |fragment: &str| format!("fragment {fragment} on Subscription {{ balanceChanged(accountId: \"acc_0\") {{ version }} }}");
        let query = format!("subscription A {{ ...X }} subscription B {{ ...Y }} {} {}", field("X"), field("Y"));
        for name in ["A", "B"] {
            let params = Params { query: Some(query.clone()), operation_name: Some(name.to_owned()), ..Params::default() };
            assert!(gateway.prepare(params, Caller::Anonymous).is_ok(), "{name}");
            assert_eq!(gateway.validated.entries().len(), 0, "{name}");
        }
    }

    #[tokio::test]
    async fn no_more_documents_are_remembered_than_there_is_room_for() {
        let gateway = gateway();
        for number in 0..=DOCUMENTS.get() {
            answer(&gateway, &format!("{{ a{number}: __typename }}"), &json!({})).await;
        }
        assert_eq!(gateway.validated.entries().len(), DOCUMENTS.get());
        assert!(!answer(&gateway, "{ a0: __typename }", &json!({})).await.1, "the least used is forgotten");
        assert!(answer(&gateway, "{ a9: __typename }", &json!({})).await.1);
    }

    #[tokio::test]
    async fn limits_apply_to_what_was_validated() {
        let gateway = gateway();
        let repeated: String = (0..30).map(|n| format!("e{n}: errors {{ code message path }} ")).collect();
        let query = format!("mutation($inputs: [InitiatePaymentInput!]!) {{ initiatePayments(inputs: $inputs) {{ {repeated} }} }}");
        let inputs = |count: usize| json!({ "inputs": vec![input(|_| ()); count] });
        answer(&gateway, &query, &inputs(1)).await;
        assert!(answer(&gateway, &query, &inputs(1)).await.1);
        let (refused, was_validated) = answer(&gateway, &query, &inputs(1_000)).await;
        assert!(was_validated && refused.contains("LIMIT_EXCEEDED"), "{refused}");
    }
}
