//! An operation by itself, as the library is to see it: with its fragments taken in, since it counts what stands in a named one
//! as if rows had no length, and without the operations that are not run, whose variables nobody gave. Fields that an object is asked
//! for more than once under one key are one field then, with all that is selected of it (GraphQL §6.3.2), where the library would run
//! each: a payment that is written twice would be made twice, and two reads of one page may differ. This module must never know
//! what a field does.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
};

use async_graphql::{
    Name, Positioned, ServerError, ServerResult,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, InlineFragment, OperationDefinition, OperationType,
        Selection, SelectionSet,
    },
    registry::{MetaType, MetaTypeName, Registry},
};
use async_graphql_value::Value;

use crate::{
    errors::Failure,
    roots::{operation_mut, root_of},
    shape::bad_request,
};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;
type Selections = Vec<Positioned<Selection>>;

/// Letters that copies of fragments may have, all that are spread in an operation together: as many as the largest request has by
/// default. A long text in one that is spread a thousand times would be there a thousand times.
const MOST_COPIED: usize = 2 * 1024 * 1024;

/// Leaves the operation of that name alone in its document, makes one field of those that stand under one key, and refuses those that
/// cannot be one (§5.3.2). Fragments stand where they are spread then; those that nobody spreads are left, and what is wrong with a
/// document otherwise, to be refused. Says how many letters were copied.
pub(crate) fn merge(document: &mut ExecutableDocument, name: Option<&str>, registry: &Registry) -> ServerResult<usize> {
    let fragments = std::mem::take(&mut document.fragments);
    let before = spread_anywhere(document, &fragments);
    if let (DocumentOperations::Multiple(operations), Some(name)) = (&mut document.operations, name) {
        operations.retain(|other, _| other.as_str() == name);
    }
    if before.iter().any(|name| spreads_itself(name, &fragments)) {
        document.fragments = fragments;
        return Ok(0);
    }
    let merge = Merge { registry, fragments: &fragments, copied: Cell::new(0) };
    if let Some(operation) = operation_mut(&mut document.operations, name) {
        let items = std::mem::take(&mut operation.selection_set.node.items);
        operation.selection_set.node.items = merge.merged(root_of(registry, operation.ty), items)?;
        has_each_once(operation)?;
    }
    let copied = merge.copied.get();
    let after = spread_anywhere(document, &fragments);
    document.fragments = fragments.into_iter().filter(|(name, _)| after.contains(name) || !before.contains(name)).collect();
    Ok(copied)
}

/// A mutation's fields have effects, so none may be left that stands twice.
fn has_each_once(operation: &OperationDefinition) -> ServerResult<()> {
    let mut keys = HashSet::new();
    let twice = fields(&operation.selection_set.node.items).into_iter().find(|field| !keys.insert(&field.node.response_key().node));
    match twice.filter(|_| operation.ty == OperationType::Mutation) {
        Some(Positioned { pos, node: field }) => {
            let message = format!("A mutation has {} twice, under different conditions: write it once.", field.response_key());
            Err(bad_request(&message, Some(*pos)))
        }
        None => Ok(()),
    }
}

/// The fields of a selection, and those of fragments that were left in it.
fn fields(items: &[Positioned<Selection>]) -> Vec<&Positioned<Field>> {
    let mut found = Vec::new();
    for item in items {
        match &item.node {
            Selection::Field(field) => found.push(field),
            Selection::InlineFragment(fragment) => found.extend(fields(&fragment.node.selection_set.node.items)),
            Selection::FragmentSpread(_) => {}
        }
    }
    found
}

struct Merge<'a> {
    registry: &'a Registry,
    fragments: &'a Fragments,
    /// Letters of fragments that were copied so far.
    copied: Cell<usize>,
}

/// What an object is asked for, as far as it was looked through.
#[derive(Default)]
struct Gathered {
    items: Selections,
    /// Where the first field of each key stands.
    places: HashMap<Name, usize>,
}

impl Merge<'_> {
    /// What is asked for of an object of the type `on`, each key once; none of what has another condition.
    fn merged(&self, on: Option<&str>, items: Selections) -> ServerResult<Selections> {
        let mut gathered = Gathered::default();
        self.gather(on, items, &mut gathered)?;
        for item in &mut gathered.items {
            let (of, set) = match &mut item.node {
                Selection::Field(field) => {
                    let of = on.and_then(|on| self.registry.types.get(on)?.field_by_name(&field.node.name.node));
                    (of.map(|of| MetaTypeName::concrete_typename(&of.ty)), &mut field.node.selection_set.node)
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref().map(|condition| condition.node.on.node.as_str());
                    (condition.or(on), &mut fragment.node.selection_set.node)
                }
                Selection::FragmentSpread(_) => continue,
            };
            set.items = self.merged(of, std::mem::take(&mut set.items))?;
        }
        Ok(gathered.items)
    }

    fn gather(&self, on: Option<&str>, items: Selections, gathered: &mut Gathered) -> ServerResult<()> {
        for Positioned { pos, node: item } in items {
            match item {
                Selection::Field(field) => gathered.take(field)?,
                Selection::InlineFragment(fragment) => self.gather_fragment(on, fragment, gathered)?,
                Selection::FragmentSpread(Positioned { node: spread, .. }) => match self.fragments.get(&spread.fragment_name.node) {
                    Some(fragment) => {
                        let FragmentDefinition { type_condition, selection_set, .. } = self.copy(fragment)?;
                        let inline = InlineFragment { type_condition: Some(type_condition), directives: spread.directives, selection_set };
                        self.gather_fragment(on, Positioned::new(inline, pos), gathered)?;
                    }
                    None => gathered.items.push(Positioned::new(Selection::FragmentSpread(Positioned::new(spread, pos)), pos)),
                },
            }
        }
        Ok(())
    }

    /// What is selected in a fragment, as the object's own where that holds for all objects of the type `on`.
    fn gather_fragment(&self, on: Option<&str>, fragment: Positioned<InlineFragment>, gathered: &mut Gathered) -> ServerResult<()> {
        let condition = fragment.node.type_condition.as_ref().map(|condition| condition.node.on.node.as_str());
        if fragment.node.directives.is_empty() && condition.is_none_or(|condition| self.is_any(on, condition)) {
            return self.gather(on, fragment.node.selection_set.node.items, gathered);
        }
        let pos = fragment.pos;
        gathered.items.push(Positioned::new(Selection::InlineFragment(fragment), pos));
        Ok(())
    }

    fn copy(&self, Positioned { pos, node: fragment }: &Positioned<FragmentDefinition>) -> ServerResult<FragmentDefinition> {
        if !fragment.directives.is_empty() {
            return Err(bad_request("Directives stand where a fragment is spread, not where it is defined.", Some(*pos)));
        }
        let copied = self.copied.get() + letters(&fragment.selection_set.node);
        if copied > MOST_COPIED {
            let message = format!("Fragments have at most {MOST_COPIED} letters wherever they are spread; these have more.");
            return Err(Failure::LimitExceeded(message).into());
        }
        self.copied.set(copied);
        Ok(fragment.clone())
    }

    /// Whether all objects of the type `on` are of the type `condition`.
    fn is_any(&self, on: Option<&str>, condition: &str) -> bool {
        let implements = |on| self.registry.implements.get(on).is_some_and(|interfaces| interfaces.contains(condition));
        on.is_some_and(|on| on == condition || (implements(on) && matches!(self.registry.types.get(on), Some(MetaType::Object { .. }))))
    }
}

impl Gathered {
    /// One more field. Under other conditions than the first of its key it stays beside that.
    fn take(&mut self, field: Positioned<Field>) -> ServerResult<()> {
        if has_conditional_type(&field.node) {
            self.items.push(under_conditions(field));
            return Ok(());
        }
        let key = &field.node.response_key().node;
        let Some(Selection::Field(first)) = self.places.get(key).and_then(|place| self.items.get_mut(*place)).map(|item| &mut item.node)
        else {
            self.places.insert(key.clone(), self.items.len());
            self.push(field);
            return Ok(());
        };
        if first.node.name != field.node.name || !are_alike(&first.node.arguments, &field.node.arguments) {
            return Err(conflict(key, first, &field));
        }
        if have_same_conditions(&first.node.directives, &field.node.directives) {
            first.node.selection_set.node.items.extend(field.node.selection_set.node.items);
        } else {
            self.push(field);
        }
        Ok(())
    }

    fn push(&mut self, field: Positioned<Field>) {
        let pos = field.pos;
        self.items.push(Positioned::new(Selection::Field(field), pos));
    }
}

/// Whether it is an object's type under a condition, of which the library knows nothing when it validates.
pub(crate) fn has_conditional_type(field: &Field) -> bool {
    field.name.node == "__typename" && !field.directives.is_empty()
}

/// A field without its directives, in a fragment that has them.
fn under_conditions(mut field: Positioned<Field>) -> Positioned<Selection> {
    let pos = field.pos;
    let directives = std::mem::take(&mut field.node.directives);
    let selection_set = Positioned::new(SelectionSet { items: vec![Positioned::new(Selection::Field(field), pos)] }, pos);
    let inline = InlineFragment { type_condition: None, directives, selection_set };
    Positioned::new(Selection::InlineFragment(Positioned::new(inline, pos)), pos)
}

/// The letters of a selection, by and large; fragments that it spreads have their own.
fn letters(set: &SelectionSet) -> usize {
    let of = |item: &Positioned<Selection>| match &item.node {
        Selection::Field(Positioned { node: field, .. }) => {
            let arguments = field.arguments.iter().map(|(name, value)| name.node.len() + letters_of(&value.node)).sum::<usize>();
            field.response_key().node.len()
                + field.name.node.len()
                + arguments
                + letters_of_all(&field.directives)
                + letters(&field.selection_set.node)
        }
        Selection::InlineFragment(Positioned { node: fragment, .. }) => {
            letters_of_all(&fragment.directives) + letters(&fragment.selection_set.node)
        }
        Selection::FragmentSpread(Positioned { node: spread, .. }) => spread.fragment_name.node.len() + letters_of_all(&spread.directives),
    };
    set.items.iter().map(|item| 1 + of(item)).sum()
}

fn letters_of_all(directives: &[Positioned<Directive>]) -> usize {
    let of =
        |directive: &Directive| directive.arguments.iter().map(|(name, value)| name.node.len() + letters_of(&value.node)).sum::<usize>();
    directives.iter().map(|directive| directive.node.name.node.len() + of(&directive.node)).sum()
}

fn letters_of(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.iter().map(letters_of).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + letters_of(value)).sum(),
        Value::Variable(_) | Value::Null | Value::Number(_) | Value::Boolean(_) | Value::Enum(_) | Value::Binary(_) => 0,
    }
}

fn conflict(key: &Name, first: &Positioned<Field>, second: &Positioned<Field>) -> ServerError {
    let message = format!("{key} stands for two fields, or for one with two kinds of arguments: give one of them an alias.");
    let mut error = bad_request(&message, Some(first.pos));
    error.locations.push(second.pos);
    error
}

/// Whether names have the same values, in whatever order.
fn are_alike<V: PartialEq>(one: &[(Positioned<Name>, V)], other: &[(Positioned<Name>, V)]) -> bool {
    one.len() == other.len() && one.iter().all(|argument| other.contains(argument))
}

fn have_same_conditions(one: &[Positioned<Directive>], other: &[Positioned<Directive>]) -> bool {
    let is_same = |(one, other): (&Positioned<Directive>, &Positioned<Directive>)| {
        one.node.name == other.node.name && are_alike(&one.node.arguments, &other.node.arguments)
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// Whether a fragment comes to stand in itself.
fn spreads_itself(name: &Name, fragments: &Fragments) -> bool {
    let mut seen = HashSet::new();
    if let Some(fragment) = fragments.get(name) {
        note_spreads(&fragment.node.selection_set.node, fragments, &mut seen);
    }
    seen.contains(name)
}

/// The fragments that operations spread, be it through others.
fn spread_anywhere(document: &ExecutableDocument, fragments: &Fragments) -> HashSet<Name> {
    let mut seen = HashSet::new();
    for (_, operation) in document.operations.iter() {
        note_spreads(&operation.node.selection_set.node, fragments, &mut seen);
    }
    seen
}

fn note_spreads(set: &SelectionSet, fragments: &Fragments, seen: &mut HashSet<Name>) {
    for item in &set.items {
        match &item.node {
            Selection::Field(field) => note_spreads(&field.node.selection_set.node, fragments, seen),
            Selection::InlineFragment(fragment) => note_spreads(&fragment.node.selection_set.node, fragments, seen),
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                if seen.insert(name.clone())
                    && let Some(fragment) = fragments.get(name)
                {
                    note_spreads(&fragment.node.selection_set.node, fragments, seen);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "merged_tests.rs"]
mod tests;
