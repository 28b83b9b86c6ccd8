//! What can be said of a document by its shape alone. This module must never know the schema.

use std::collections::HashSet;

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    parser::{
        self, parse_query,
        types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet},
    },
};

use crate::errors::Failure;

/// What an operation asks for, its fragments taken in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub root_fields: usize,
    pub aliases: usize,
    /// Fields and fragments, as far as they were looked at.
    pub selections: usize,
}

impl Shape {
    /// The shape of an operation. A fragment counts wherever it is spread; one that spreads itself is
    /// not followed, and is refused by validation.
    pub(crate) fn of(document: &ExecutableDocument, operation: &OperationDefinition) -> Self {
        let mut shape = Self::default();
        let mut walk = Walk { document, within: HashSet::new() };
        walk.count(&operation.selection_set.node, true, &mut shape);
        shape
    }
}

/// Selections that an operation may have, and that are looked at: fragments that spread each other
/// make exponentially many of few lines.
pub(crate) const MOST_SELECTIONS: usize = 20_000;

struct Walk<'a> {
    document: &'a ExecutableDocument,
    within: HashSet<&'a Name>,
}

impl<'a> Walk<'a> {
    fn count(&mut self, selections: &'a SelectionSet, is_root: bool, shape: &mut Shape) {
        for selection in &selections.items {
            if shape.selections > MOST_SELECTIONS {
                return;
            }
            shape.selections += 1;
            match &selection.node {
                Selection::Field(field) => {
                    shape.root_fields += usize::from(is_root);
                    shape.aliases += usize::from(field.node.alias.is_some());
                    self.count(&field.node.selection_set.node, false, shape);
                }
                Selection::InlineFragment(fragment) => self.count(&fragment.node.selection_set.node, is_root, shape),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some((name, fragment)) = self.document.fragments.get_key_value(name)
                        && self.within.insert(name)
                    {
                        self.count(&fragment.node.selection_set.node, is_root, shape);
                        self.within.remove(name);
                    }
                }
            }
        }
    }
}

/// Parses a document; what is wrong with it is said without the parser's rules.
pub(crate) fn parse(text: &str) -> Result<ExecutableDocument, ServerError> {
    parse_query(text).map_err(|error| {
        let place = error.positions().next();
        // A syntax error's own text lists the parser's rules.
        if let parser::Error::Syntax { .. } = error {
            return bad_request("The query is not a GraphQL document.", place);
        }
        bad_request(&format!("The query cannot be taken: {error}."), place)
    })
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

    fn shape(text: &str) -> Shape {
        let document = parse(text).expect("a document");
        let operation = document.operations.iter().next().expect("an operation").1;
        Shape::of(&document, &operation.node)
    }

    #[test]
    fn fragments_count_wherever_they_are_spread() {
        assert_eq!(shape("{ a b: c { d: e f } }"), Shape { root_fields: 2, aliases: 2, selections: 4 });
        assert_eq!(shape("{ a ...F ... { g } } fragment F on Query { b: c d }"), Shape { root_fields: 4, aliases: 1, selections: 6 });
        assert_eq!(shape("{ ...F } fragment F on Query { a: b ...F }"), Shape { root_fields: 1, aliases: 1, selections: 3 });
    }

    #[test]
    fn fragments_that_explode_are_looked_at_only_so_far() {
        let mut text = "{ ...F0 }".to_owned();
        for n in 0..64 {
            let next = n + 1;
            text += &format!(" fragment F{n} on Query {{ ...F{next} ...F{next} }}");
        }
        text += " fragment F64 on Query { a }";
        assert_eq!(shape(&text).selections, MOST_SELECTIONS + 1);
    }

    #[test]
    fn a_syntax_error_says_where_and_not_how_the_parser_is_made() {
        let error = parse("{ a(").expect_err("no document");
        assert_eq!(error.message, "The query is not a GraphQL document.");
        assert_eq!(error.locations.len(), 1);
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
