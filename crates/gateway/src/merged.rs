//! Fields that an object is asked for more than once under one key. They are one field with all that is selected of it
//! (GraphQL §6.3.2), and the library would run each: a payment that is written twice would be made twice, and two reads of one
//! page may differ. This module must never know what a field does.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned, ServerError, ServerResult,
    parser::types::{
        Directive, ExecutableDocument, Field, FragmentDefinition, InlineFragment, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
    registry::{MetaType, MetaTypeName, Registry},
};

use crate::{
    roots::{operation_mut, root_of},
    shape::bad_request,
};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;
type Selections = Vec<Positioned<Selection>>;

/// Makes one field of those that stand under one key in the operation of that name, and refuses those that cannot be one (§5.3.2).
/// Fragments stand where they are spread then; those that nobody spreads any more are left out. What is wrong with a document
/// otherwise is left to be refused.
pub(crate) fn merge(document: &mut ExecutableDocument, name: Option<&str>, registry: &Registry) -> ServerResult<()> {
    let fragments = std::mem::take(&mut document.fragments);
    let before = spread_anywhere(document, &fragments);
    if before.iter().any(|name| spreads_itself(name, &fragments)) {
        document.fragments = fragments;
        return Ok(());
    }
    if let Some(operation) = operation_mut(&mut document.operations, name) {
        let merge = Merge { registry, fragments: &fragments };
        operation.selection_set.node.items = merge.merged(root_of(registry, operation.ty), &operation.selection_set.node.items)?;
        has_each_once(operation)?;
    }
    let after = spread_anywhere(document, &fragments);
    document.fragments = fragments.into_iter().filter(|(name, _)| after.contains(name) || !before.contains(name)).collect();
    Ok(())
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
    fn merged(&self, on: Option<&str>, items: &[Positioned<Selection>]) -> ServerResult<Selections> {
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
            set.items = self.merged(of, &set.items)?;
        }
        Ok(gathered.items)
    }

    fn gather(&self, on: Option<&str>, items: &[Positioned<Selection>], gathered: &mut Gathered) -> ServerResult<()> {
        for item in items {
            match &item.node {
                Selection::Field(field) => gathered.take(field)?,
                Selection::InlineFragment(Positioned { node: fragment, .. }) => {
                    let condition = fragment.type_condition.as_ref().map(|condition| condition.node.on.node.as_str());
                    if fragment.directives.is_empty() && condition.is_none_or(|condition| self.is_any(on, condition)) {
                        self.gather(on, &fragment.selection_set.node.items, gathered)?;
                    } else {
                        gathered.items.push(item.clone());
                    }
                }
                Selection::FragmentSpread(Positioned { node: spread, pos }) => match self.fragments.get(&spread.fragment_name.node) {
                    Some(Positioned { node: fragment, .. }) if fragment.directives.is_empty() => {
                        let items = &fragment.selection_set.node.items;
                        if spread.directives.is_empty() && self.is_any(on, &fragment.type_condition.node.on.node) {
                            self.gather(on, items, gathered)?;
                        } else {
                            let FragmentDefinition { type_condition, selection_set, .. } = fragment.clone();
                            let (type_condition, directives) = (Some(type_condition), spread.directives.clone());
                            let inline = InlineFragment { type_condition, directives, selection_set };
                            gathered.items.push(Positioned::new(Selection::InlineFragment(Positioned::new(inline, *pos)), item.pos));
                        }
                    }
                    Some(_) | None => gathered.items.push(item.clone()),
                },
            }
        }
        Ok(())
    }

    /// Whether all objects of the type `on` are of the type `condition`.
    fn is_any(&self, on: Option<&str>, condition: &str) -> bool {
        let implements = |on| self.registry.implements.get(on).is_some_and(|interfaces| interfaces.contains(condition));
        on.is_some_and(|on| on == condition || (implements(on) && matches!(self.registry.types.get(on), Some(MetaType::Object { .. }))))
    }
}

impl Gathered {
    /// One more field. Under other conditions than the first of its key it stays beside that.
    fn take(&mut self, field: &Positioned<Field>) -> ServerResult<()> {
        let key = &field.node.response_key().node;
        let Some(Selection::Field(first)) = self.places.get(key).and_then(|place| self.items.get_mut(*place)).map(|item| &mut item.node)
        else {
            self.places.insert(key.clone(), self.items.len());
            self.items.push(Positioned::new(Selection::Field(field.clone()), field.pos));
            return Ok(());
        };
        if first.node.name != field.node.name || !are_alike(&first.node.arguments, &field.node.arguments) {
            return Err(conflict(key, first, field));
        }
        if have_same_conditions(&first.node.directives, &field.node.directives) {
            first.node.selection_set.node.items.extend(field.node.selection_set.node.items.iter().cloned());
        } else {
            self.items.push(Positioned::new(Selection::Field(field.clone()), field.pos));
        }
        Ok(())
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
