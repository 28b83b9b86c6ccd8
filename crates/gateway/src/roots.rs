//! The roots of operations: which one is run, on what type, and subscriptions whose root field stands in a fragment, which the library
//! passes over: it would say that all is told, and tell nothing. This module must never know what is subscribed to.

use async_graphql::{
    Positioned,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection},
    registry::Registry,
};

/// Puts the one root field of the operation of that name, if it subscribes, in the place of the fragments that it is in (GraphQL
/// §6.2.3.1), which have no names by then (`merged.rs`). What is no such fragment is left to be refused.
pub(crate) fn inline(document: &mut ExecutableDocument, name: Option<&str>, root: &str) {
    let operation = operation_mut(&mut document.operations, name);
    let Some(OperationDefinition { ty: OperationType::Subscription, selection_set, .. }) = operation else { return };
    let (items, mut directives) = (&mut selection_set.node.items, Vec::new());
    while let [Positioned { node: Selection::InlineFragment(fragment), .. }] = items.as_mut_slice() {
        if fragment.node.type_condition.as_ref().is_some_and(|on| on.node.on.node != root) {
            return;
        }
        directives.append(&mut fragment.node.directives);
        *items = std::mem::take(&mut fragment.node.selection_set.node.items);
    }
    if let [Positioned { node: Selection::Field(field), .. }] = items.as_mut_slice() {
        field.node.directives.append(&mut directives);
    }
}

/// The operation of that name, or the only one, to be changed.
pub(crate) fn operation_mut<'a>(operations: &'a mut DocumentOperations, name: Option<&str>) -> Option<&'a mut OperationDefinition> {
    let operation = match (operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get_mut(name),
        (DocumentOperations::Multiple(operations), None) => operations.values_mut().next(),
    };
    operation.map(|operation| &mut operation.node)
}

/// The type of an operation's root, where the schema has such operations.
pub(crate) fn root_of(registry: &Registry, kind: OperationType) -> Option<&str> {
    match kind {
        OperationType::Query => Some(&registry.query_type),
        OperationType::Mutation => registry.mutation_type.as_deref(),
        OperationType::Subscription => registry.subscription_type.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_graphql::parser::parse_query;
    use futures_util::StreamExt as _;

    use super::*;
    use crate::{
        Caller, Documents, Expected, Gateway, Keys, Limits, merged::merge, operation::Params, schema::tests::without_bank,
        shape::MOST_SUBSCRIBED,
    };

    /// What an anonymous caller is told.
    async fn told(query: &str) -> String {
        let expected = Expected { issuer: "tests".to_owned(), audience: "tests".to_owned() };
        let keys = Keys::from_secret(&[7; 32], expected);
        let gateway = Arc::new(Gateway::new(without_bank(), keys, Limits::default(), Documents::default()));
        let params = Params { query: Some(query.to_owned()), ..Params::default() };
        let answers = match gateway.prepare(params, Caller::Anonymous) {
            Ok(operation) => gateway.stream(operation).collect().await,
            Err(refused) => vec![*refused],
        };
        serde_json::to_string(&answers).expect("JSON")
    }

    #[test]
    fn a_root_field_is_found_wherever_it_stands() {
        let schema = without_bank();
        for query in [
            "subscription { a { b } }",
            "subscription { ... { a { b } } }",
            "subscription { ... on Subscription @include(if: true) { a { b } } }",
            "subscription { ...A } fragment A on Subscription { ...B } fragment B on Subscription { a { b } }",
            "subscription { ... { ...A } } fragment A on Subscription { ... { a { b } } }",
            "subscription { ...A } fragment A on Subscription { a { ...B } } fragment B on C { b }",
        ] {
            let mut document = parse_query(query).expect("a document");
            merge(&mut document, None, schema.registry()).expect("fields that can be one");
            inline(&mut document, None, "Subscription");
            let (_, operation) = document.operations.iter().next().expect("an operation");
            let [root] = &*operation.node.selection_set.node.items else { panic!("{query}: {operation:?}") };
            assert!(matches!(&root.node, Selection::Field(field) if field.node.name.node == "a"), "{query}");
        }
    }

    #[tokio::test]
    async fn a_subscription_keeps_no_more_than_there_is_to_tell() {
        let fields = "version ".repeat(MOST_SUBSCRIBED + Limits::default().aliases);
        let told = told(&format!("subscription {{ balanceChanged(accountId: \"acc_0\") {{ {fields} }} }}")).await;
        assert!(told.contains("LIMIT_EXCEEDED"), "{told}");
    }

    #[tokio::test]
    async fn what_is_no_fragment_on_the_root_is_refused() {
        let field = "balanceChanged(accountId: \"acc_0\") { version }";
        for query in [
            format!("subscription {{ ...A }} fragment A on Query {{ {field} }}"),
            format!("subscription {{ ... on Query {{ {field} }} }}"),
            "subscription { ...A } fragment A on Subscription { ...A }".to_owned(),
            format!("subscription {{ {field} }} fragment A on Subscription {{ {field} }}"),
            format!("subscription {{ {field} ...A }} fragment A on Subscription {{ b: {field} }}"),
        ] {
            let told = told(&query).await;
            assert!(told.contains("BAD_REQUEST"), "{query}: {told}");
        }
    }
}
