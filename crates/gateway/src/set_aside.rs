//! Lists of inputs that lie beside their operation's variables. The library copies a variable whenever it looks at it: once for the
//! operation's complexity, once for the resolver. A bulk of a hundred payments has some thousand pieces of memory, and of a list that
//! was set aside as many nulls are copied (bench/README.md). This module must never read an input.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_graphql::{
    Name, Value, Variables,
    parser::types::{Field, OperationDefinition, Selection, SelectionSet},
    registry::MetaTypeName,
};
use async_graphql_value::Value as Argument;

/// In the data of a request: lists, by the variables that they are of.
pub(crate) struct SetAside(Mutex<HashMap<Name, Vec<Value>>>);

impl SetAside {
    /// Takes lists of inputs of this type out of the variables, which keep their lengths. The variables must be known to fit: nobody can
    /// tell from nulls. None, where there is no such list, or more than one field takes it.
    pub(crate) fn of(input_type: &str, operation: &OperationDefinition, variables: &mut Variables) -> Option<Self> {
        let is_of_type = |name: &&Name| {
            let mut declared = operation.variable_definitions.iter().map(|definition| &definition.node);
            let declared = declared.find(|declared| declared.name.node == **name);
            declared.is_some_and(|declared| MetaTypeName::concrete_typename(&declared.var_type.node.to_string()) == input_type)
        };
        let mut used = Vec::new();
        note_variables(&operation.selection_set.node, &mut used)?;
        let once = used.iter().filter(|name| used.iter().filter(|other| other == name).count() == 1);
        let lists: HashMap<Name, Vec<Value>> = once
            .copied()
            .filter(is_of_type)
            .filter_map(|name| {
                let Value::List(items) = variables.get_mut(name)? else { return None };
                let nulls = vec![Value::Null; items.len()];
                Some((name.clone(), std::mem::replace(items, nulls)))
            })
            .collect();
        (!lists.is_empty()).then(|| Self(Mutex::new(lists)))
    }

    /// The list that stands in an argument of a field, the first time.
    pub(crate) fn take(&self, field: &Field, argument: &str) -> Option<Vec<Value>> {
        let Argument::Variable(name) = &field.get_argument(argument)?.node else { return None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

/// Notes the variables that are whole arguments of root fields, each as often as it is; none, where some may stand elsewhere.
fn note_variables<'a>(selected: &'a SelectionSet, used: &mut Vec<&'a Name>) -> Option<()> {
    for selection in &selected.items {
        match &selection.node {
            Selection::Field(field) => used.extend(field.node.arguments.iter().filter_map(|(_, argument)| {
                let Argument::Variable(name) = &argument.node else { return None };
                Some(name)
            })),
            Selection::InlineFragment(fragment) => note_variables(&fragment.node.selection_set.node, used)?,
            Selection::FragmentSpread(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;
    use crate::operation::select;

    /// What the fields of a mutation find, one after the other, and what its variables are then.
    fn found(query: &str, variables: serde_json::Value) -> (Vec<Option<usize>>, serde_json::Value) {
        let document = parse_query(query).expect("a document");
        let operation = select(&document, None).expect("an operation");
        let mut variables = Variables::from_json(variables);
        let aside = SetAside::of("Input", operation, &mut variables);
        let fields = operation.selection_set.node.items.iter().map(|item| match &item.node {
            Selection::Field(field) => Some(aside.as_ref()?.take(&field.node, "inputs")?.len()),
            Selection::InlineFragment(_) | Selection::FragmentSpread(_) => None,
        });
        (fields.collect(), serde_json::to_value(&variables).expect("JSON"))
    }

    #[test]
    fn a_list_that_one_field_takes_is_set_aside_and_found_once() {
        let query = "mutation($a: [Input!]!, $b: [Input!]) { x: bulk(inputs: $a) y: bulk(inputs: $b) z: bulk(inputs: []) }";
        let (lists, variables) = found(query, json!({ "a": [1, 2], "b": [3] }));
        assert_eq!(lists, [Some(2), Some(1), None]);
        assert_eq!(variables, json!({ "a": [null, null], "b": [null] }), "they are as long as they were");
    }

    #[test]
    fn what_several_fields_take_or_is_no_list_of_inputs_stays() {
        for (query, variables) in [
            ("mutation($a: [Input!]!) { x: bulk(inputs: $a) y: bulk(inputs: $a) }", json!({ "a": [1] })),
            ("mutation($a: [Input!]!) { x: bulk(inputs: $a) ... on M @skip(if: true) { y: bulk(inputs: $a) } }", json!({ "a": [1] })),
            ("mutation($a: [Input!]!) { x: bulk(inputs: $a) ...F }", json!({ "a": [1] })),
            ("mutation($a: [ID!]!) { x: bulk(inputs: $a) }", json!({ "a": [1] })),
            ("mutation($a: Input!) { x: bulk(inputs: $a) }", json!({ "a": { "list": [1] } })),
            ("mutation($a: [Input!]) { x: bulk(inputs: $a) }", json!({ "a": null })),
            ("mutation($a: [Input!]) { x: bulk(inputs: [$a]) }", json!({ "a": [1] })),
            ("mutation($a: [Input!]) { x: bulk(inputs: []) }", json!({ "a": [1] })),
        ] {
            let (lists, after) = found(query, variables.clone());
            assert!(lists.iter().all(Option::is_none), "{query}: {lists:?}");
            assert_eq!(after, variables, "{query}");
        }
    }
}
