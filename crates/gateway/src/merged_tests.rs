use async_graphql::parser::parse_query;

use super::*;
use crate::schema::tests::without_bank;

/// What is left of a document.
fn merged(text: &str, name: Option<&str>) -> ServerResult<String> {
    let mut document = parse_query(text).expect("a document");
    merge(&mut document, name, without_bank().registry())?;
    let operations = document.operations.iter().map(|(_, operation)| shown(&operation.node.selection_set.node));
    let fragments = document.fragments.iter().map(|(name, fragment)| format!("{name}{}", shown(&fragment.node.selection_set.node)));
    Ok(operations.chain(fragments).collect::<Vec<_>>().join(" "))
}

fn shown(set: &SelectionSet) -> String {
    if set.items.is_empty() {
        return String::new();
    }
    let of = |item: &Positioned<Selection>| match &item.node {
        Selection::Field(Positioned { node: field, .. }) => {
            let alias = field.alias.as_ref().map_or_else(String::new, |alias| format!("{alias}:"));
            format!("{alias}{}{}{}", field.name, "@".repeat(field.directives.len()), shown(&field.selection_set.node))
        }
        Selection::InlineFragment(Positioned { node: fragment, .. }) => {
            let on = fragment.type_condition.as_ref().map_or_else(String::new, |on| on.node.on.to_string());
            format!("...{on}{}{}", "@".repeat(fragment.directives.len()), shown(&fragment.selection_set.node))
        }
        Selection::FragmentSpread(spread) => format!("...{}", spread.node.fragment_name),
    };
    format!("{{{}}}", set.items.iter().map(of).collect::<Vec<_>>().join(" "))
}

#[test]
fn fields_under_one_key_become_one_with_all_that_is_selected() {
    for (text, expected) in [
        ("{ viewer { name } viewer { email } }", "{viewer{name email}}"),
        ("{ viewer { id id } a: viewer { id } viewer { id name } }", "{viewer{id name} a:viewer{id}}"),
        (
            "{ viewer { id } ...F } fragment F on Query { viewer { name ...G } } fragment G on Customer { id email }",
            "{viewer{id name email}}",
        ),
        ("{ viewer { ... { id } ... on Customer { id } ... on Node { id } } }", "{viewer{id}}"),
        (
            "mutation { m: deposit(input: {}) { errors { code } } ... on Mutation { m: deposit(input: {}) { errors { path code } } } }",
            "{m:deposit{errors{code path}}}",
        ),
        ("query($a: ID!) { account(id: $a) { id } account(id: $a) { iban } }", "{account{id iban}}"),
        (
            "subscription { balanceChanged(accountId: 1) { version } balanceChanged(accountId: 1) { asOf } }",
            "{balanceChanged{version asOf}}",
        ),
    ] {
        assert_eq!(merged(text, None).expect(text), expected, "{text}");
    }
}

#[test]
fn what_holds_for_some_only_stays_apart() {
    for (text, expected) in [
        (
            "{ node(id: 1) { id ...C ...C } } fragment C on Customer { id name name }",
            "{node{id ...Customer{id name} ...Customer{id name}}}",
        ),
        ("query($v: Boolean!) { viewer { id } viewer @skip(if: $v) { name } }", "{viewer{id} viewer@{name}}"),
        ("query($v: Boolean!) { viewer @skip(if: $v) { id } viewer @skip(if: $v) { name } }", "{viewer@{id name}}"),
        ("query($v: Boolean!) { viewer { id id ...C @include(if: $v) } } fragment C on Customer { id }", "{viewer{id ...Customer@{id}}}"),
    ] {
        assert_eq!(merged(text, None).expect(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_one_field_is_refused() {
    for text in [
        "{ viewer { x: name } viewer { x: email } }",
        "{ a: viewer { id } ... on Query { a: operators { id } } }",
        "{ account(id: 1) { id } ...F } fragment F on Query { account(id: 2) { id } }",
        "mutation { p: deposit(input: {a: 1}) { errors { code } } ... { p: deposit(input: {a: 2}) { errors { code } } } }",
        "mutation($v: Boolean!) { deposit(input: {}) { errors { code } } deposit(input: {}) @skip(if: $v) { errors { code } } }",
        "mutation($v: Boolean!) { deposit(input: {}) { errors { code } } ... @skip(if: $v) { deposit(input: {}) { errors { code } } } }",
    ] {
        assert!(merged(text, None).is_err(), "{text}");
    }
}

#[test]
fn an_operation_that_is_not_run_is_left_out_with_its_fragments() {
    let other = "query A { viewer { id } viewer { name } } query B { viewer { ...C } } fragment C on Customer { id }";
    assert_eq!(merged(other, Some("A")).as_deref(), Ok("{viewer{id name}}"));
    assert_eq!(merged(other, Some("B")).as_deref(), Ok("{viewer{id}}"));
    let unused = "query A { viewer { id } } query B { viewer { name } } fragment C on Customer { id }";
    assert_eq!(merged(unused, Some("A")).as_deref(), Ok("{viewer{id}} C{id}"), "validation refuses what nobody spreads");
}

#[test]
fn a_type_under_a_condition_stands_in_a_fragment() {
    let text = "query($v: Boolean!) { viewer { id __typename @include(if: $v) } }";
    assert_eq!(merged(text, None).as_deref(), Ok("{viewer{id ...@{__typename}}}"));
}

#[test]
fn fragments_are_copied_only_so_often() {
    let text = |letters: usize, spreads: usize| {
        let spreads = "...F @include(if: true) ".repeat(spreads);
        format!("{{ {spreads} }} fragment F on Query {{ account(id: \"{}\") {{ id }} }}", "a".repeat(letters))
    };
    assert!(merged(&text(1_000, 1_000), None).is_ok());
    assert!(merged(&text(100_000, 1_000), None).expect_err("too much").message.contains("letters"));
    assert!(merged("{ ...F } fragment F on Query @skip(if: true) { viewer { id } }", None).is_err(), "nothing is conditional there");
}

#[test]
fn nothing_else_of_a_document_is_touched() {
    let unused = "{ viewer { id id } } fragment C on Customer { id }";
    assert_eq!(merged(unused, None).as_deref(), Ok("{viewer{id}} C{id}"), "validation refuses it");
    let round = "{ viewer { id id ...C } } fragment C on Customer { accounts { nodes { holder { ...C } } } }";
    assert_eq!(merged(round, None).as_deref(), Ok("{viewer{id id ...C}} C{accounts{nodes{holder{...C}}}}"), "so is this");
}
