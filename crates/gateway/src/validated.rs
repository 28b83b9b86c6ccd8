//! Documents that were validated once and need not be again, as a database prepares a statement. What depends on
//! variables is still checked each time; where that leaves a doubt, validation does it all and says what is wrong.
//! This module must never run one.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
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
/// Longest text of one that is. Parsed, it takes up to some hundred times as much, so all of them 100 MiB at the very most.
const DOCUMENT_BYTES: usize = 4 * 1024;

/// A document that validation found to be good, and that asks for nothing about the schema.
#[derive(Debug, Clone)]
pub(crate) struct Validated {
    pub(crate) document: ExecutableDocument,
    /// What its operation is known by.
    pub(crate) label: String,
}

/// Documents by their text.
#[derive(Debug)]
pub(crate) struct ValidatedDocuments(Mutex<LruCache<Arc<str>, Arc<Validated>>>);

impl Default for ValidatedDocuments {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(DOCUMENTS)))
    }
}

impl ValidatedDocuments {
    pub(crate) fn get(&self, text: &str) -> Option<Arc<Validated>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned()
    }

    pub(crate) fn remember(&self, text: Arc<str>, validated: Validated) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(text, Arc::new(validated));
    }

    /// Whether a document may be remembered: it is short, has nothing in it that is not run and so not validated, and
    /// nothing that some callers are not told.
    pub(crate) fn takes(text: &str, document: &ExecutableDocument) -> bool {
        text.len() <= DOCUMENT_BYTES && document.operations.iter().count() == 1 && !introspects(document)
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
            Some(value) => fits(registry, &declared.to_string(), value),
            None => declared.nullable || definition.default_value.is_some(),
        }
    })
}

fn fits(registry: &Registry, ty: &str, value: &Value) -> bool {
    match (MetaTypeName::create(ty), value) {
        (MetaTypeName::NonNull(_), Value::Null) => false,
        (MetaTypeName::NonNull(inner), value) => fits(registry, inner, value),
        (MetaTypeName::List(_) | MetaTypeName::Named(_), Value::Null) => true,
        (MetaTypeName::List(inner), Value::List(items)) => items.iter().all(|item| fits(registry, inner, item)),
        (MetaTypeName::List(_), _) => false,
        (MetaTypeName::Named("Int"), Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        (MetaTypeName::Named(name), value) => match (registry.types.get(name), value) {
            (Some(MetaType::Scalar { is_valid: Some(is_valid), .. }), value) => is_valid(value),
            (Some(MetaType::Enum { enum_values, .. }), Value::String(name)) => enum_values.contains_key(name),
            (Some(MetaType::InputObject { input_fields, oneof: false, .. }), Value::Object(fields)) => {
                let is_there = |name: &str| fields.get(name).is_some_and(|value| *value != Value::Null);
                fields.iter().all(|(name, value)| input_fields.get(name.as_str()).is_some_and(|field| fits(registry, &field.ty, value)))
                    && input_fields.values().all(|field| is_there(&field.name) || !MetaTypeName::create(&field.ty).is_non_null())
            }
            (_, _) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Caller, Documents, Expected, Gateway, Keys, Limits, operation::Params, schema::tests::without_bank};

    const BULK: &str = "mutation($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { position } }";
    const WAIT: &str = "mutation($input: InitiatePaymentInput!, $wait: PaymentWait = FINAL) \
                        { initiatePayment(input: $input, waitFor: $wait) { position } }";
    const PAGE: &str = "query($first: Int = 2, $id: ID!) { account(id: $id) { payments(first: $first) { nodes { id } } } }";

    fn gateway() -> Gateway {
        let expected = Expected { issuer: "tests".to_owned(), audience: "tests".to_owned() };
        Gateway::new(without_bank(), Keys::from_secret(&[7; 32], expected), Limits::default(), Documents::default())
    }

    /// What an anonymous caller is answered, and whether the document was validated for it.
    async fn answer(gateway: &Gateway, query: &str, variables: &serde_json::Value) -> (String, bool) {
        let params = Params { query: Some(query.to_owned()), variables: Variables::from_json(variables.clone()), ..Params::default() };
        match gateway.prepare(params, Caller::Anonymous) {
            Ok(operation) => {
                let is_validated = !operation.validation.is_done();
                (serde_json::to_string(&gateway.execute(operation).await).expect("JSON"), is_validated)
            }
            Err(refused) => (serde_json::to_string(&refused).expect("JSON"), true),
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
        let (first, is_validated) = answer(&gateway, BULK, &good).await;
        assert!(is_validated && first.contains("UNAUTHENTICATED"), "{first}");
        assert_eq!(answer(&gateway, BULK, &good).await, (first, false));
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
            cases.push((BULK, json!({ "inputs": [input] })));
            cases.push((WAIT, json!({ "input": input })));
        }
        for wait in [json!("ACCEPTED"), json!(null), json!("NEVER"), json!(1)] {
            cases.push((WAIT, json!({ "input": input(|_| ()), "wait": wait })));
        }
        let known = gateway();
        for (query, good) in
            [(BULK, json!({ "inputs": [input(|_| ())] })), (WAIT, json!({ "input": input(|_| ()) })), (PAGE, json!({ "id": "acc_0" }))]
        {
            answer(&known, query, &good).await;
            assert!(!answer(&known, query, &good).await.1, "{query}");
        }
        for (query, variables) in cases {
            let (fresh, _) = answer(&gateway(), query, &variables).await;
            assert_eq!(answer(&known, query, &variables).await.0, fresh, "{query} {variables}");
        }
    }

    #[tokio::test]
    async fn what_was_refused_or_asks_for_the_schema_is_not_remembered() {
        let gateway = gateway();
        for query in ["{ nothing }", "{ __schema { description } }", "query A { __typename } query B { nothing }"] {
            for _ in 0..2 {
                assert!(answer(&gateway, query, &json!({})).await.1, "{query}");
            }
        }
    }
}
