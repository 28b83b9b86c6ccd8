//! What can be said of a document by its shape alone. This module must never know the schema.

use std::collections::HashSet;

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet},
};

use crate::{errors::Failure, merged::has_conditional_type};

/// What an operation asks for, its fragments taken in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub root_fields: usize,
    pub aliases: usize,
    /// The most that a field or a fragment has, as far as they were looked at.
    pub directives: usize,
    /// Fields and fragments, as far as they were looked at.
    pub selections: usize,
    /// How deep they lie in each other, as far as they were looked at.
    pub levels: usize,
    /// Whether an object is asked for two fields under one key, which are to be merged (GraphQL §6.3.3), or for its type under a
    /// condition, as far as they were looked at.
    pub merges: bool,
}

impl Shape {
    /// The shape of an operation. A fragment counts wherever it is spread; one that spreads itself is
    /// not followed, and is refused by validation.
    pub(crate) fn of(document: &ExecutableDocument, operation: &OperationDefinition) -> Self {
        let mut shape = Self::default();
        let mut walk = Walk { document, within: HashSet::new() };
        walk.count(&operation.selection_set.node, 1, true, &mut HashSet::new(), &mut shape);
        shape
    }

    /// The shape of all operations together: those that are not run are checked as well.
    pub(crate) fn of_all(document: &ExecutableDocument) -> Self {
        let mut shape = Self::default();
        let mut walk = Walk { document, within: HashSet::new() };
        for (_, operation) in document.operations.iter() {
            walk.count(&operation.node.selection_set.node, 1, true, &mut HashSet::new(), &mut shape);
        }
        shape
    }
}

/// Selections that an operation may have, and that are looked at: fragments that spread each other
/// make exponentially many of few lines.
pub(crate) const MOST_SELECTIONS: usize = 20_000;

/// Selections that a subscription may have besides its aliases, which keeps them as long as it is open: more than thrice what
/// there is to tell.
pub(crate) const MOST_SUBSCRIBED: usize = 200;

/// Brackets, or selections, that may lie in each other: what parses, counts and checks a document calls
/// itself for each, and a stack that overflows ends the process. The parser follows selections so far.
pub(crate) const MOST_LEVELS: usize = 64;

/// Fragments of a document: checks call themselves along fragments that spread each other, used or not.
pub(crate) const MOST_FRAGMENTS: usize = 256;

struct Walk<'a> {
    document: &'a ExecutableDocument,
    within: HashSet<&'a Name>,
}

impl<'a> Walk<'a> {
    /// `keys` are those that the object has so far.
    fn count(&mut self, selections: &'a SelectionSet, level: usize, is_root: bool, keys: &mut HashSet<&'a str>, shape: &mut Shape) {
        for selection in &selections.items {
            shape.levels = shape.levels.max(level);
            if shape.selections > MOST_SELECTIONS || level > MOST_LEVELS {
                return;
            }
            shape.selections += 1;
            shape.directives = shape.directives.max(selection.node.directives().len());
            match &selection.node {
                Selection::Field(field) => {
                    shape.root_fields += usize::from(is_root);
                    shape.aliases += usize::from(field.node.alias.is_some());
                    shape.merges = !keys.insert(&field.node.response_key().node) || shape.merges || has_conditional_type(&field.node);
                    self.count(&field.node.selection_set.node, level + 1, false, &mut HashSet::new(), shape);
                }
                Selection::InlineFragment(fragment) => self.count(&fragment.node.selection_set.node, level + 1, is_root, keys, shape),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some((name, fragment)) = self.document.fragments.get_key_value(name)
                        && self.within.insert(name)
                    {
                        self.count(&fragment.node.selection_set.node, level + 1, is_root, keys, shape);
                        self.within.remove(name);
                    }
                }
            }
        }
    }
}

/// Makes sure that each variable which must not be null is given (GraphQL §6.1.2), used or not.
pub(crate) fn required_variables(operation: &OperationDefinition, variables: &Variables) -> Result<(), ServerError> {
    for Positioned { pos, node: variable } in &operation.variable_definitions {
        let name = &variable.name.node;
        let is_given = variables.get(name).is_some_and(|value| *value != Value::Null)
            || (variables.get(name).is_none() && variable.default_value.is_some());
        if !variable.var_type.node.nullable && !is_given {
            let message = format!("The variable ${name} of type {} is not given.", variable.var_type.node);
            return Err(bad_request(&message, Some(*pos)));
        }
    }
    Ok(())
}

/// An error about the request itself.
pub(crate) fn bad_request(message: &str, place: Option<Pos>) -> ServerError {
    let mut error = ServerError::from(Failure::BadRequest(message.to_owned()));
    error.locations.extend(place);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parsing::parse;

    fn shape(text: &str) -> Shape {
        let document = parse(text).expect("a document");
        let operation = document.operations.iter().next().expect("an operation").1;
        Shape::of(&document, &operation.node)
    }

    #[test]
    fn fragments_count_wherever_they_are_spread() {
        assert_eq!(shape("{ a b: c { d: e f } }"), Shape { root_fields: 2, aliases: 2, selections: 4, levels: 2, ..Shape::default() });
        assert_eq!(
            shape("{ a ...F ... { g } } fragment F on Query { b: c d }"),
            Shape { root_fields: 4, aliases: 1, selections: 6, levels: 2, ..Shape::default() }
        );
        assert_eq!(
            shape("{ ...F } fragment F on Query { a: b ...F }"),
            Shape { root_fields: 1, aliases: 1, selections: 3, levels: 2, ..Shape::default() }
        );
    }

    #[test]
    fn what_is_to_be_merged_is_seen_through_fragments() {
        for merges in [
            "{ a a }",
            "{ a b: a a: c }",
            "{ a { b } ...F } fragment F on Q { a { c } }",
            "{ a { b { c } } a { b { d } } }",
            "{ a ... { a } }",
        ] {
            assert!(shape(merges).merges, "{merges}");
        }
        for none in ["{ a b }", "{ a { b } c { b } }", "{ a { ...F } b { ...F } } fragment F on Q { c { d } }", "{ a: b b: a }"] {
            assert!(!shape(none).merges, "{none}");
        }
    }

    #[test]
    fn fragments_that_explode_are_looked_at_only_so_far() {
        let mut text = "{ ...F0 }".to_owned();
        for n in 0..MOST_LEVELS - 1 {
            let next = n + 1;
            text += &format!(" fragment F{n} on Query {{ ...F{next} ...F{next} }}");
        }
        text += &format!(" fragment F{} on Query {{ a }}", MOST_LEVELS - 1);
        assert_eq!(shape(&text).selections, MOST_SELECTIONS + 1);
        let beside = parse(&format!("query A {{ a }} query B {text}")).expect("a document");
        assert_eq!(Shape::of_all(&beside).selections, MOST_SELECTIONS + 1, "nor where another operation is run");
    }

    #[test]
    fn fragments_that_go_deep_are_followed_only_so_far() {
        let mut text = "{ ...F0 }".to_owned();
        for n in 0..10_000 {
            let next = n + 1;
            text += &format!(" fragment F{n} on Query {{ ...F{next} }}");
        }
        text += " fragment F10000 on Query { a }";
        assert_eq!(shape(&text).levels, MOST_LEVELS + 1);
    }

    #[test]
    fn variables_that_must_not_be_null_must_be_given() {
        let check = |text: &str, variables: serde_json::Value| {
            let document = parse(text).expect("a document");
            let operation = document.operations.iter().next().expect("an operation").1;
            required_variables(&operation.node, &Variables::from_json(variables)).is_ok()
        };
        assert!(check("query($a: ID!) { x }", serde_json::json!({"a": "1"})));
        assert!(!check("query($a: ID!) { x }", serde_json::json!({"a": null})));
        assert!(!check("query($a: ID!) { x }", serde_json::json!({})));
        assert!(check("query($a: ID! = \"1\") { x }", serde_json::json!({})));
        assert!(!check("query($a: ID! = \"1\") { x }", serde_json::json!({"a": null})));
        assert!(check("query($a: ID) { x }", serde_json::json!({})));
    }
}
