//! Subscriptions whose root field stands in a fragment, which the library passes over: it would say that all is told, and
//! tell nothing. This module must never know what is subscribed to.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned,
    parser::types::{Directive, DocumentOperations, ExecutableDocument, FragmentDefinition, OperationDefinition, OperationType, Selection},
};

/// Puts what the root fragments of a document's subscriptions select in their place (GraphQL §6.2.3.1). What is no fragment on
/// the root's type is left to be refused.
pub(crate) fn inline(document: &mut ExecutableDocument, root: &str) {
    let operations: Vec<&mut OperationDefinition> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![&mut operation.node],
        DocumentOperations::Multiple(operations) => operations.values_mut().map(|operation| &mut operation.node).collect(),
    };
    let mut walk = Walk { root, fragments: &document.fragments, within: HashSet::new(), fields: Vec::new() };
    let mut used = false;
    for operation in operations.into_iter().filter(|operation| operation.ty == OperationType::Subscription) {
        let items = &mut operation.selection_set.node.items;
        used |= items.iter().any(|item| matches!(item.node, Selection::FragmentSpread(_)));
        walk.take(items, &[]);
        *items = std::mem::take(&mut walk.fields);
    }
    if used {
        // They can be used nowhere else, and nobody may have one that is not used.
        document.fragments.retain(|_, fragment| fragment.node.type_condition.node.on.node != root);
    }
}

struct Walk<'a> {
    root: &'a str,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    within: HashSet<Name>,
    fields: Vec<Positioned<Selection>>,
}

impl Walk<'_> {
    /// Takes each field, with the directives of the fragments that it is in.
    fn take(&mut self, items: &[Positioned<Selection>], directives: &[Positioned<Directive>]) {
        for item in items {
            match &item.node {
                Selection::Field(field) => {
                    let mut field = field.clone();
                    field.node.directives.extend_from_slice(directives);
                    self.fields.push(Positioned::new(Selection::Field(field), item.pos));
                }
                Selection::InlineFragment(Positioned { node: fragment, .. })
                    if fragment.type_condition.as_ref().is_none_or(|on| on.node.on.node == self.root) =>
                {
                    self.take(&fragment.selection_set.node.items, &[directives, &fragment.directives].concat());
                }
                Selection::FragmentSpread(Positioned { node: spread, .. })
                    if let Some(Positioned { node: fragment, .. }) = self.fragments.get(&spread.fragment_name.node)
                        && fragment.type_condition.node.on.node == self.root
                        && self.within.insert(spread.fragment_name.node.clone()) =>
                {
                    self.take(&fragment.selection_set.node.items, &[directives, &spread.directives].concat());
                    self.within.remove(&spread.fragment_name.node);
                }
                Selection::InlineFragment(_) | Selection::FragmentSpread(_) => self.fields.push(item.clone()),
            }
        }
    }
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
            "subscription { ...A } fragment A on Subscription { a { ...B } } fragment B on C { b }",
        ] {
            let mut document = parse_query(query).expect("a document");
            inline(&mut document, "Subscription");
            let (_, operation) = document.operations.iter().next().expect("an operation");
            let [root] = &*operation.node.selection_set.node.items else { panic!("{query}: {operation:?}") };
            assert!(matches!(&root.node, Selection::Field(field) if field.node.name.node == "a"), "{query}");
            assert!(document.fragments.keys().all(|name| name == "B"), "{query}");
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
