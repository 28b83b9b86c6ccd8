//! The roots of operations: which one is run, on what type, and subscriptions whose root field stands in a fragment, which the library passes over: it would say that all is told, and
//! tell nothing. This module must never know what is subscribed to.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType, Selection,
    },
    registry::Registry,
};

/// Puts the one root field of the operation of that name, if it subscribes, in the place of the fragment that has it
/// (GraphQL §6.2.3.1). Operations that are not run are left out of the document then, and so are fragments on the root's type,
/// which can stand nowhere else. What is no such fragment is left to be refused.
pub(crate) fn inline(document: &mut ExecutableDocument, name: Option<&str>, root: &str) {
    let operation = operation_mut(&mut document.operations, name);
    let Some(OperationDefinition { ty: OperationType::Subscription, selection_set, .. }) = operation else { return };
    let [item] = &*selection_set.node.items else { return };
    if matches!(item.node, Selection::Field(_)) {
        return;
    }
    let mut directives = Vec::new();
    let Some(field) = field(item, &document.fragments, root, &mut directives) else { return };
    let mut field = field.clone();
    field.node.directives.extend(directives.into_iter().cloned());
    selection_set.node.items = vec![Positioned::new(Selection::Field(field), item.pos)];
    if let (DocumentOperations::Multiple(operations), Some(name)) = (&mut document.operations, name) {
        operations.retain(|other, _| other.as_str() == name);
    }
    document.fragments.retain(|_, fragment| fragment.node.type_condition.node.on.node != root);
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

/// The only field in a selection, and the directives of the fragments that it is in. There are at most as many of these in each
/// other as a document has levels: one that spreads itself has no field.
fn field<'a>(
    item: &'a Positioned<Selection>,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    root: &str,
    directives: &mut Vec<&'a Positioned<Directive>>,
) -> Option<&'a Positioned<Field>> {
    let (items, of_fragment) = match &item.node {
        Selection::Field(field) => return Some(field),
        Selection::InlineFragment(Positioned { node: fragment, .. }) => {
            fragment.type_condition.as_ref().is_none_or(|on| on.node.on.node == root).then_some(())?;
            (&fragment.selection_set.node.items, &fragment.directives)
        }
        Selection::FragmentSpread(Positioned { node: spread, .. }) => {
            let Positioned { node: fragment, .. } = fragments.get(&spread.fragment_name.node)?;
            (fragment.type_condition.node.on.node == root).then_some(())?;
            (&fragment.selection_set.node.items, &spread.directives)
        }
    };
    directives.extend(of_fragment);
    let [item] = &**items else { return None };
    field(item, fragments, root, directives)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_graphql::parser::parse_query;
    use futures_util::StreamExt as _;

    use super::*;
    use crate::{
        Caller, Documents, Expected, Gateway, Keys, Limits, operation::Params, schema::tests::without_bank, shape::MOST_SUBSCRIBED,
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
        for query in [
            "subscription { a { b } }",
            "subscription { ... { a { b } } }",
            "subscription { ... on Subscription @include(if: true) { a { b } } }",
            "subscription { ...A } fragment A on Subscription { ...B } fragment B on Subscription { a { b } }",
            "subscription { ... { ...A } } fragment A on Subscription { ... { a { b } } }",
            "subscription { ...A } fragment A on Subscription { a { ...B } } fragment B on C { b }",
        ] {
            let mut document = parse_query(query).expect("a document");
            inline(&mut document, None, "Subscription");
            let (_, operation) = document.operations.iter().next().expect("an operation");
            let [root] = &*operation.node.selection_set.node.items else { panic!("{query}: {operation:?}") };
            assert!(matches!(&root.node, Selection::Field(field) if field.node.name.node == "a"), "{query}");
            assert!(document.fragments.values().all(|fragment| fragment.node.type_condition.node.on.node == "C"), "{query}");
        }
    }

    #[test]
    fn nothing_is_copied_for_an_operation_that_is_not_run() {
        let query = "query Q { c } subscription S { ...A ...A } fragment A on Subscription { a(b: \"long\") { b } }";
        for name in ["Q", "S"] {
            let mut document = parse_query(query).expect("a document");
            let before = format!("{document:?}").len();
            inline(&mut document, Some(name), "Subscription");
            assert_eq!(format!("{document:?}").len(), before, "{name}");
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
