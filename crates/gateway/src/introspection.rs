//! Who may ask what the schema holds, and how much of it at once. In production that is whoever signed in: what is
//! there to be asked is the first thing that somebody who looks for a way in wants to know. This module must never
//! know a field of the schema.

use std::collections::HashSet;

use async_graphql::{
    Name, ServerResult,
    parser::types::{ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet},
    registry::{MetaType, Registry},
};

use crate::{Caller, errors::Failure};

/// Fields of an answer about the schema, each of its lists taken for as long as the longest of its kind: the query
/// that GraphiQL and code generators send comes to a hundred thousand with every option, of which 3,500 are real.
const MOST_FIELDS: usize = 150_000;
/// Lists of types or fields in each other: types lead to each other by them, so few lines of many make megabytes.
/// Tools have one, as also graphql-js' MaxIntrospectionDepthRule takes two.
const MOST_LISTS: usize = 2;

/// To whom the schema describes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introspection {
    /// To anonymous callers too.
    Everybody,
    /// To whoever signed in.
    SignedIn,
}

impl Introspection {
    /// Whether the schema describes itself to this caller.
    pub(crate) fn is_open_to(self, caller: Caller) -> bool {
        self == Self::Everybody || caller != Caller::Anonymous
    }

    /// Refuses to say too much about the schema at once, whoever asks; and anything, to whom it is closed. The library
    /// would answer those with null, also where the schema promises something. With `__type` it may: to an anonymous
    /// caller there is no type of any name.
    pub(crate) fn check(
        self,
        registry: &Registry,
        document: &ExecutableDocument,
        operation: &OperationDefinition,
        caller: Caller,
    ) -> ServerResult<()> {
        let mut size = Size { registry, document, within: HashSet::new(), lists: 0 };
        if size.of_root(&operation.selection_set.node) > MOST_FIELDS {
            let message = format!(
                "Introspection has at most {MOST_LISTS} lists of types or fields in each other, and answers with at most {MOST_FIELDS} fields, \
                 its lists taken at their longest; this asks for more."
            );
            return Err(Failure::LimitExceeded(message).into());
        }
        if !self.is_open_to(caller) && introspects(document) {
            return Err(Failure::Unauthenticated.into());
        }
        Ok(())
    }
}

/// How much an operation asks about the schema. How many selections it has, and how deep they nest, was checked before.
struct Size<'a> {
    registry: &'a Registry,
    document: &'a ExecutableDocument,
    within: HashSet<&'a Name>,
    /// Lists that lead to types and lie around what is looked at.
    lists: usize,
}

impl<'a> Size<'a> {
    /// Only the root has fields about the schema.
    fn of_root(&mut self, selections: &'a SelectionSet) -> usize {
        self.sum(selections, |size, field| match field.name.node.as_str() {
            "__schema" | "__type" => size.of(&field.selection_set.node),
            _ => 0,
        })
    }

    fn of(&mut self, selections: &'a SelectionSet) -> usize {
        self.sum(selections, |size, field| {
            let name = field.name.node.as_str();
            let lists = usize::from(matches!(name, "fields" | "inputFields" | "interfaces" | "possibleTypes"));
            if size.lists + lists > MOST_LISTS {
                return usize::MAX;
            }
            size.lists += lists;
            let one = size.of(&field.selection_set.node).saturating_add(1);
            size.lists -= lists;
            one.saturating_mul(longest(size.registry, name))
        })
    }

    fn sum(&mut self, selections: &'a SelectionSet, of: fn(&mut Self, &'a Field) -> usize) -> usize {
        let mut sum = 0_usize;
        for selection in &selections.items {
            sum = sum.saturating_add(match &selection.node {
                Selection::Field(field) => of(self, &field.node),
                Selection::InlineFragment(fragment) => self.sum(&fragment.node.selection_set.node, of),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, of),
            });
        }
        sum
    }

    /// One that spreads itself is not followed, and is refused by validation.
    fn fragment(&mut self, name: &Name, of: fn(&mut Self, &'a Field) -> usize) -> usize {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else { return 0 };
        if !self.within.insert(name) {
            return 0;
        }
        let sum = self.sum(&fragment.node.selection_set.node, of);
        self.within.remove(name);
        sum
    }
}

/// How many a field of introspection has at most, in this schema.
fn longest(registry: &Registry, field: &str) -> usize {
    let types = || registry.types.values();
    let fields = || types().filter_map(MetaType::fields).flat_map(|fields| fields.values());
    let most = match field {
        "types" => Some(registry.types.len()),
        "directives" => Some(registry.directives.len()),
        "fields" => types().filter_map(MetaType::fields).map(|fields| fields.len()).max(),
        "args" => fields().map(|field| field.args.len()).chain(registry.directives.values().map(|directive| directive.args.len())).max(),
        "locations" => registry.directives.values().map(|directive| directive.locations.len()).max(),
        "interfaces" => registry.implements.values().map(|interfaces| interfaces.len()).max(),
        "inputFields" | "enumValues" | "possibleTypes" => types().map(|ty| members(ty, field)).max(),
        _ => Some(1),
    };
    most.unwrap_or(1)
}

fn members(ty: &MetaType, field: &str) -> usize {
    match (ty, field) {
        (MetaType::InputObject { input_fields, .. }, "inputFields") => input_fields.len(),
        (MetaType::Enum { enum_values, .. }, "enumValues") => enum_values.len(),
        (MetaType::Interface { possible_types, .. } | MetaType::Union { possible_types, .. }, "possibleTypes") => possible_types.len(),
        (_, _) => 0,
    }
}

/// Whether a document selects `__schema` anywhere; how deep it nests was checked before.
pub(crate) fn introspects(document: &ExecutableDocument) -> bool {
    let in_operations = document.operations.iter().any(|(_, operation)| selects(&operation.node.selection_set.node));
    in_operations || document.fragments.values().any(|fragment| selects(&fragment.node.selection_set.node))
}

fn selects(set: &SelectionSet) -> bool {
    set.items.iter().any(|selection| match &selection.node {
        Selection::Field(field) => field.node.name.node == "__schema" || selects(&field.node.selection_set.node),
        Selection::InlineFragment(fragment) => selects(&fragment.node.selection_set.node),
        Selection::FragmentSpread(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use crate::{operation::is_refused, schema::tests::answer_to};

    /// What graphql-js' `getIntrospectionQuery` sends with every option, and nine levels of `ofType`.
    const FULL: &str = include_str!("introspection_full.graphql");

    async fn is_answered(query: &str) -> bool {
        let answer = answer_to(query, async_graphql::Variables::default()).await;
        let is_too_much = answer.errors.iter().any(|error| error.message.starts_with("Introspection"));
        assert_eq!(is_refused(&answer), is_too_much, "{:?}", answer.errors);
        !is_too_much
    }

    #[tokio::test]
    async fn what_tools_ask_is_answered_and_what_explodes_is_not() {
        assert!(parse_query(FULL).is_ok());
        assert!(is_answered(FULL).await);
        let lists = |deep: usize| {
            let inner = (0..deep).fold("name".to_owned(), |inner, _| format!("possibleTypes {{ interfaces {{ {inner} }} }}"));
            format!("{{ __type(name: \"Node\") {{ {inner} }} }}")
        };
        assert!(is_answered(&lists(1)).await);
        assert!(!is_answered(&lists(2)).await);
        let aliases = (0..30).map(|n| format!("a{n}: fields {{ type {{ fields {{ description }} }} }}")).collect::<Vec<_>>().join(" ");
        assert!(!is_answered(&format!("{{ __schema {{ types {{ {aliases} }} }} }}")).await);
    }

    #[tokio::test]
    async fn fragments_hide_nothing_of_it() {
        let of = |inner: &str| {
            format!(
                "{{ ...R }} fragment R on Query {{ __schema {{ types {{ ...T }} }} }} \
                 fragment T on __Type {{ ... {{ fields {{ ...A type {{ fields {{ name }} }} }} }} }} \
                 fragment A on __Field {{ args {{ type {{ inputFields {{ type {{ {inner} }} }} }} }} }}"
            )
        };
        assert!(is_answered(&of("name")).await);
        let spread = of("possibleTypes { name }");
        assert!(!is_answered(&spread).await);
    }
}
