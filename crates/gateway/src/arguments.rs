//! What variables and arguments must be before anything runs (GraphQL §5.6.1, §5.8.5, §6.1.2), as far as the library
//! leaves it: it looks at scalars, enums and what an input object has, but not where a variable stands, and not
//! whether an input object is one. A mutation whose second field cannot run must not have run its first. This
//! module must never know a field.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Number, Positioned, ServerError, ServerResult, Value as ConstValue, Variables,
    parser::types::{Directive, ExecutableDocument, OperationDefinition, Selection, SelectionSet, VariableDefinition},
    registry::{MetaInputValue, MetaType, MetaTypeName, Registry},
};
use async_graphql_value::Value;

use crate::{roots::root_of, shape::bad_request};

/// Completes the variables of an operation, and refuses it where its arguments do not have their types.
pub(crate) fn check(
    registry: &Registry,
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &mut Variables,
) -> ServerResult<()> {
    complete(operation, variables);
    let declared = operation.variable_definitions.iter().map(|definition| (&definition.node.name.node, &definition.node)).collect();
    Walk { registry, document, operation, declared, variables, seen: HashSet::new() }.check()
}

/// Gives each variable that was left out its default, or null, which every argument here takes for "left out".
/// Without a value, the library would not look at the argument that it stands in. What is declared nowhere is dropped: a
/// subscription would keep it as long as it is open.
pub(crate) fn complete(operation: &OperationDefinition, variables: &mut Variables) {
    let declared: HashSet<&Name> = operation.variable_definitions.iter().map(|definition| &definition.node.name.node).collect();
    variables.retain(|name, _| declared.contains(name));
    for Positioned { node: definition, .. } in &operation.variable_definitions {
        let default = || definition.default_value.as_ref().map_or(ConstValue::Null, |default| default.node.clone());
        variables.entry(definition.name.node.clone()).or_insert_with(default);
    }
}

struct Walk<'a> {
    registry: &'a Registry,
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    declared: HashMap<&'a Name, &'a VariableDefinition>,
    variables: &'a Variables,
    /// A fragment is the same wherever it is spread.
    seen: HashSet<&'a Name>,
}

impl<'a> Walk<'a> {
    fn check(mut self) -> ServerResult<()> {
        for Positioned { pos, node: definition } in &self.operation.variable_definitions {
            let (name, ty) = (&definition.name.node, definition.var_type.node.to_string());
            let of = MetaTypeName::concrete_typename(&ty);
            if !self.registry.types.contains_key(of) {
                return Err(bad_request(&format!("The variable ${name} is of the type {of}, which is not there."), Some(*pos)));
            }
            // The default as well where it is not needed: it belongs to the document, which is validated once.
            let default = definition.default_value.as_ref().map(|default| default.node.clone().into_value());
            let given = self.variables.get(name).map_or(Ok(()), |value| self.given(&ty, value));
            let is_good = given.and_then(|()| default.map_or(Ok(()), |default| self.value(&ty, &default)));
            is_good.map_err(|why| bad_request(&format!("The variable ${name} cannot be taken: {why}."), Some(*pos)))?;
        }
        self.selections(&self.operation.selection_set.node, self.type_named(root_of(self.registry, self.operation.ty)))
    }

    fn type_named(&self, name: Option<&str>) -> Option<&'a MetaType> {
        self.registry.types.get(name?)
    }

    /// What the schema does not have is passed over: validation refuses it, and says so.
    fn selections(&mut self, selections: &'a SelectionSet, on: Option<&'a MetaType>) -> ServerResult<()> {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(Positioned { node: field, pos }) => {
                    self.directives(&field.directives)?;
                    if field.name.node == "__typename" && !(field.arguments.is_empty() && field.selection_set.node.items.is_empty()) {
                        return Err(bad_request("__typename has neither arguments nor fields.", Some(*pos)));
                    }
                    let meta = on.and_then(|on| on.field_by_name(&field.name.node));
                    self.arguments(&field.arguments, |name| meta?.args.get(name))?;
                    let inner = meta.and_then(|meta| self.registry.concrete_type_by_name(&meta.ty));
                    self.selections(&field.selection_set.node, inner)?;
                }
                Selection::InlineFragment(Positioned { node: fragment, .. }) => {
                    self.directives(&fragment.directives)?;
                    let on = fragment.type_condition.as_ref().map_or(on, |on| self.type_named(Some(&on.node.on.node)));
                    self.selections(&fragment.selection_set.node, on)?;
                }
                Selection::FragmentSpread(Positioned { node: spread, .. }) => {
                    self.directives(&spread.directives)?;
                    if let Some((name, fragment)) = self.document.fragments.get_key_value(&spread.fragment_name.node)
                        && self.seen.insert(name)
                    {
                        let on = self.type_named(Some(&fragment.node.type_condition.node.on.node));
                        self.selections(&fragment.node.selection_set.node, on)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> ServerResult<()> {
        directives.iter().try_for_each(|Positioned { node: directive, .. }| {
            let meta = self.registry.directives.get(directive.name.node.as_str());
            self.arguments(&directive.arguments, |name| meta?.args.get(name))
        })
    }

    fn arguments<'m>(
        &self,
        arguments: &[(Positioned<Name>, Positioned<Value>)],
        meta: impl Fn(&str) -> Option<&'m MetaInputValue>,
    ) -> ServerResult<()> {
        arguments.iter().try_for_each(|(name, value)| match meta(&name.node) {
            Some(meta) => self.value(place(meta), &value.node).map_err(|why| refused(&name.node, &why, value)),
            None => Ok(()),
        })
    }

    /// A variable's value, by its declared type.
    fn given(&self, ty: &str, value: &ConstValue) -> Result<(), String> {
        match (MetaTypeName::create(ty), value) {
            (MetaTypeName::NonNull(inner), value) => self.given(inner, value),
            (MetaTypeName::List(inner), ConstValue::List(items)) => items.iter().try_for_each(|item| self.given(inner, item)),
            (MetaTypeName::List(inner), value) => self.given(inner, value),
            (MetaTypeName::Named(name), value) => match (self.registry.types.get(name), value) {
                (_, ConstValue::Null) => Ok(()),
                (Some(MetaType::InputObject { input_fields, .. }), ConstValue::Object(fields)) => fields
                    .iter()
                    .filter_map(|(name, value)| Some((input_fields.get(name.as_str())?, value)))
                    .try_for_each(|(meta, value)| self.given(&meta.ty, value)),
                (Some(MetaType::InputObject { .. }), _) => Err(no_object(name)),
                (_, ConstValue::Number(number)) => int(name, number),
                (_, _) => Ok(()),
            },
        }
    }

    /// What is written in the document, by the type of the place where it stands.
    fn value(&self, ty: &str, value: &Value) -> Result<(), String> {
        match (MetaTypeName::create(ty), value) {
            (_, Value::Variable(name)) => self.variable(ty, name),
            (MetaTypeName::NonNull(inner), value) => self.value(inner, value),
            (MetaTypeName::List(inner), Value::List(items)) => items.iter().try_for_each(|item| self.value(inner, item)),
            // One that stands for a list of one.
            (MetaTypeName::List(inner), value) => self.value(inner, value),
            (MetaTypeName::Named(name), value) => self.named(name, value),
        }
    }

    fn variable(&self, ty: &str, name: &Name) -> Result<(), String> {
        let Some(definition) = self.declared.get(name) else { return Ok(()) };
        let mut declared = definition.var_type.node.to_string();
        if definition.default_value.as_ref().is_some_and(|default| default.node != ConstValue::Null) {
            declared.push('!');
        }
        if !fits(&declared, ty) {
            return Err(format!("${name} is declared as {}, and stands where {ty} is expected", definition.var_type.node));
        }
        Ok(())
    }

    fn named(&self, name: &str, value: &Value) -> Result<(), String> {
        match (self.registry.types.get(name), value) {
            (_, Value::Null) => Ok(()),
            (Some(MetaType::InputObject { input_fields, .. }), Value::Object(fields)) => fields
                .iter()
                .filter_map(|(name, value)| Some((input_fields.get(name.as_str())?, value)))
                .try_for_each(|(meta, value)| self.value(place(meta), value)),
            (Some(MetaType::InputObject { .. }), _) => Err(no_object(name)),
            // In JSON it is one, in a document never (GraphQL §3.9).
            (Some(MetaType::Enum { .. }), Value::String(text)) => {
                Err(format!("expected a value of {name}, without quotation marks, not \"{text}\""))
            }
            (_, Value::Number(number)) => int(name, number),
            (_, _) => Ok(()),
        }
    }
}

fn no_object(ty: &str) -> String {
    format!("expected an object, of type {ty}")
}

fn int(ty: &str, number: &Number) -> Result<(), String> {
    let is_too_large = ty == "Int" && number.as_i64().is_some_and(|number| i32::try_from(number).is_err());
    if is_too_large { Err("an Int has 32 bits".to_owned()) } else { Ok(()) }
}

/// The type that is expected of what stands there: where there is a default, a variable that may be null is good enough.
fn place(meta: &MetaInputValue) -> &str {
    if meta.default_value.is_some() { meta.ty.trim_end_matches('!') } else { &meta.ty }
}

/// Whether a variable of a type may stand where another is expected (GraphQL §5.8.5).
fn fits(declared: &str, expected: &str) -> bool {
    match (MetaTypeName::create(declared), MetaTypeName::create(expected)) {
        (MetaTypeName::NonNull(declared), MetaTypeName::NonNull(expected))
        | (MetaTypeName::List(declared), MetaTypeName::List(expected)) => fits(declared, expected),
        (MetaTypeName::NonNull(declared), MetaTypeName::List(_) | MetaTypeName::Named(_)) => fits(declared, expected),
        (MetaTypeName::Named(declared), MetaTypeName::Named(expected)) => declared == expected,
        (MetaTypeName::List(_) | MetaTypeName::Named(_), MetaTypeName::NonNull(_))
        | (MetaTypeName::List(_), MetaTypeName::Named(_))
        | (MetaTypeName::Named(_), MetaTypeName::List(_)) => false,
    }
}

fn refused(argument: &Name, why: &str, value: &Positioned<Value>) -> ServerError {
    bad_request(&format!("The argument {argument} cannot be taken: {why}."), Some(value.pos))
}

#[cfg(test)]
mod tests {
    use async_graphql::Response;
    use serde_json::json;

    use super::*;
    use crate::{operation::is_refused, schema::tests::answer_to};

    const PAY: &str = "mutation($a: InitiatePaymentInput!, $b: InitiatePaymentInput!) { \
                       a: initiatePayment(input: $a) { payment { id } } b: initiatePayment(input: $b) { payment { id } } }";

    async fn answer(query: &str, variables: serde_json::Value) -> Response {
        answer_to(query, Variables::from_json(variables)).await
    }

    #[tokio::test]
    async fn a_variable_that_is_left_out_leaves_its_argument_to_the_default() {
        let page = "{ nodes { id } }";
        for list in [
            format!("viewer {{ accounts(first: $f, after: $a) {page} }}"),
            format!("account(id: 1) {{ transactions(first: $f, after: $a) {page} }}"),
            format!("account(id: 1) {{ payments(first: $f, after: $a) {page} }}"),
        ] {
            let query = format!("query($f: Int, $a: String) {{ {list} }}");
            let answer = answer(&query, json!({})).await;
            assert!(answer.errors.is_empty(), "{list}: {:?}", answer.errors);
        }
        let held = answer("query($f: Int) { heldPayments(first: $f) { nodes { id } } }", json!({})).await;
        assert!(!is_refused(&held), "it was run, and is for operators: {:?}", held.errors);
    }

    #[tokio::test]
    async fn nothing_is_run_where_a_later_argument_is_bad() {
        let good =
            json!({ "debtorAccountId": "acc_0", "creditorIban": "DE75999999991000000000", "amount": { "amount": "1", "currency": "EUR" } });
        let with = |field: &str, value: serde_json::Value| {
            let mut input = good.clone();
            input[field] = value;
            input
        };
        let bad = [
            json!(5),
            json!("text"),
            json!([]),
            with("creditorIban", json!("DE99")),
            with("creditorIban", json!(5)),
            with("amount", json!(5)),
            with("amount", json!({ "amount": "1", "currency": "nope" })),
            with("amount", json!({ "amount": 1, "currency": "EUR" })),
            with("amount", json!({ "amount": "1" })),
            with("unknown", json!("field")),
            with("debtorAccountId", json!(null)),
        ];
        for b in bad {
            let answer = answer(PAY, json!({ "a": good, "b": b })).await;
            assert!(is_refused(&answer), "{b}: {answer:?}");
        }
        let run = answer(PAY, json!({ "a": good, "b": good })).await;
        assert!(!is_refused(&run), "it was run, and needs somebody who signed in: {run:?}");
        let literal = |b: &str| {
            let good = "{debtorAccountId: 1, creditorIban: \"DE75999999991000000000\", amount: {amount: \"1\", currency: \"EUR\"}}";
            format!("mutation {{ a: initiatePayment(input: {good}) {{ position }} b: initiatePayment(input: {b}) {{ position }} }}")
        };
        for b in ["5", "{debtorAccountId: 1, creditorIban: \"nope\", amount: {amount: \"1\", currency: \"EUR\"}}"] {
            let answer = answer(&literal(b), json!({})).await;
            assert!(is_refused(&answer), "{b}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_default_is_held_against_its_type_also_where_it_is_not_needed() {
        let good =
            json!({ "debtorAccountId": "acc_0", "creditorIban": "DE75999999991000000000", "amount": { "amount": "1", "currency": "EUR" } });
        let within = |default: &str| {
            format!(
                "mutation($a: InitiatePaymentInput!, $b: InitiatePaymentInput = {default}) {{ \
                 a: initiatePayment(input: $a) {{ position }} b: initiatePayment(input: $b) {{ position }} }}"
            )
        };
        let literal = "{debtorAccountId: 1, creditorIban: \"DE75999999991000000000\", amount: {amount: \"1\", currency: \"EUR\"}}";
        for (default, is_good) in [(literal, true), ("5", false), (&literal.replace("{amount: \"1\", currency: \"EUR\"}", "5"), false)] {
            let answer = answer(&within(default), json!({ "a": good, "b": good })).await;
            assert_eq!(is_refused(&answer), !is_good, "{default}: {answer:?}");
        }
        let page = "query($f: Int = 3000000000) { viewer { accounts(first: $f) { nodes { id } } } }";
        assert!(is_refused(&answer(page, json!({ "f": 1 })).await));
    }

    #[tokio::test]
    async fn a_value_of_an_enum_has_quotation_marks_in_json_only() {
        let status = |status: &str| format!("setAccountStatus(input: {{accountId: 1, status: {status}}}) {{ position }}");
        for (query, is_good) in [
            (format!("mutation {{ {} }}", status("FROZEN")), true),
            (format!("mutation {{ {} }}", status("\"FROZEN\"")), false),
            (format!("mutation($s: AccountStatus! = FROZEN) {{ {} }}", status("$s")), true),
            (format!("mutation($s: AccountStatus! = \"FROZEN\") {{ {} }}", status("$s")), false),
        ] {
            assert_eq!(is_refused(&answer(&query, json!({})).await), !is_good, "{query}");
        }
        let query = format!("mutation($s: AccountStatus!) {{ {} }}", status("$s"));
        assert!(!is_refused(&answer(&query, json!({ "s": "FROZEN" })).await));
    }

    #[tokio::test]
    async fn a_variable_stands_only_where_its_type_is_expected() {
        let is_taken = async |declared: &str, field: &str, value: serde_json::Value| {
            let answer = answer(&format!("query($x: {declared}) {{ {field} }}"), json!({ "x": value })).await;
            !is_refused(&answer)
        };
        let node = "node(id: $x) { id }";
        assert!(is_taken("ID!", node, json!("1")).await);
        assert!(is_taken("ID = \"1\"", node, json!("1")).await);
        for declared in ["ID", "Int!", "String!", "[ID!]!"] {
            assert!(!is_taken(declared, node, json!(1)).await, "{declared}");
        }
        let page = "viewer { accounts(first: $x) { nodes { id } } }";
        assert!(is_taken("Int!", page, json!(1)).await);
        assert!(!is_taken("Int", page, json!(2_147_483_648_u32)).await);
        assert!(!is_taken("String", "node(id: \"1\") { id @include(if: $x) }", json!("true")).await, "in a directive");
        let within = answer("query($x: ID) { ...F } fragment F on Query { node(id: $x) { id } }", json!({ "x": "1" })).await;
        assert!(is_refused(&within), "in a fragment: {within:?}");
    }

    #[test]
    fn lists_fit_by_what_they_hold() {
        for (declared, expected, is_good) in [
            ("[A!]!", "[A]", true),
            ("[A!]", "[A!]!", false),
            ("[A]", "[A!]", false),
            ("A", "[A]", false),
            ("[A]!", "[A]", true),
            ("[A]", "A", false),
        ] {
            assert_eq!(fits(declared, expected), is_good, "{declared} for {expected}");
        }
    }
}
