//! Objects that are written as JSON at once. A resolver a field is a future, and a value that waits in a map under its
//! name: a page of twenty entries has 260 of these, which were half of what such a query took (bench/README.md). This module
//! must never know what an object means.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::{self, Display, Write as _},
};

use async_graphql::{
    ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value,
    parser::types::{Field, FragmentDefinition, Selection, SelectionSet},
    registry::Registry,
    resolver_utils::EnumType,
};
use serde::Serialize;

/// An object of which most fields can be written with nothing but itself at hand.
pub(crate) trait Plain: OutputType {
    /// Writes the value of a field; none, where that needs more than the object.
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()>;
}

/// What is written at once: such an object, or a list of them.
pub(crate) trait Written: OutputType {
    /// Writes what is selected of it; none, where that needs more.
    fn write_selected(&self, selections: &SelectionSet, json: &mut Json<'_>) -> Option<()>;
}

impl<T: Plain> Written for T {
    fn write_selected(&self, selections: &SelectionSet, json: &mut Json<'_>) -> Option<()> {
        json.object(self, selections)
    }
}

impl<T: Plain> Written for Vec<T> {
    fn write_selected(&self, selections: &SelectionSet, json: &mut Json<'_>) -> Option<()> {
        json.list(self, |item, json| json.object(item, selections))
    }
}

/// In the data of a request: no object of its document has two selections under one key, which the library would merge.
/// What is written cannot be merged.
pub(crate) struct NothingToMerge;

/// Something that is written where all that is asked of it can be, and resolved field by field where not, though some of it may
/// have been written by then. What is written is a [`Value::Binary`], which nobody but [`write_value`] knows to send.
pub(crate) struct AtOnce<T>(pub T);

impl<T: Written> OutputType for AtOnce<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        if ctx.data_opt::<NothingToMerge>().is_some() {
            let mut json = Json { fragments: &ctx.query_env.fragments, text: Vec::with_capacity(ROOM) };
            if self.0.write_selected(&ctx.item.node, &mut json).is_some() {
                return Ok(Value::Binary(json.text.into()));
            }
        }
        // In a box, since whoever waits for many has room for each.
        Box::pin(self.0.resolve(ctx, field)).await
    }
}

/// Bytes that a balance with all of its fields fits into; a page's text grows to thirty times that.
const ROOM: usize = 256;

/// JSON that is being written.
pub(crate) struct Json<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    text: Vec<u8>,
}

impl Json<'_> {
    /// Writes an object.
    pub(crate) fn object<T: Plain>(&mut self, object: &T, selections: &SelectionSet) -> Option<()> {
        self.text.push(b'{');
        self.fields(object, selections)?;
        self.text.push(b'}');
        Some(())
    }

    fn fields<T: Plain>(&mut self, object: &T, selections: &SelectionSet) -> Option<()> {
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) => {
                    let is_first = self.text.last() == Some(&b'{');
                    self.text.extend_from_slice(if is_first { b"\"" } else { b",\"" });
                    self.text.extend_from_slice(field.node.response_key().node.as_bytes());
                    self.text.extend_from_slice(b"\":");
                    match field.node.name.node.as_str() {
                        "__typename" => self.word(&T::type_name()),
                        _ => object.write(&field.node, self)?,
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    condition.is_none_or(|condition| *condition.node.on.node == *T::type_name()).then_some(())?;
                    self.fields(object, &fragment.node.selection_set.node)?;
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.fragments.get(&spread.node.fragment_name.node)?;
                    (*fragment.node.type_condition.node.on.node == *T::type_name()).then_some(())?;
                    self.fields(object, &fragment.node.selection_set.node)?;
                }
            }
        }
        Some(())
    }

    /// Writes a list, item by item.
    pub(crate) fn list<T>(&mut self, items: &[T], write: impl Fn(&T, &mut Self) -> Option<()>) -> Option<()> {
        self.text.push(b'[');
        let start = self.text.len();
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.text.push(b',');
            }
            write(item, self)?;
            if number == 0 {
                // The others are about as long; there is room for one more, as some are longer.
                self.text.reserve((self.text.len() - start) * items.len());
            }
        }
        self.text.push(b']');
        Some(())
    }

    /// Writes an object, or `null` for none.
    pub(crate) fn optional<T: Plain>(&mut self, object: Option<&T>, selections: &SelectionSet) -> Option<()> {
        match object {
            Some(object) => self.object(object, selections),
            None => {
                self.text(None);
                Some(())
            }
        }
    }

    /// Writes the name of an enum's value.
    pub(crate) fn choice<T: EnumType>(&mut self, value: T) -> Option<()> {
        self.word(T::items().iter().find(|item| item.value == value)?.name);
        Some(())
    }

    /// Writes a text without a sign that JSON escapes, such as a name.
    pub(crate) fn word(&mut self, word: &str) {
        self.text.push(b'"');
        self.text.extend_from_slice(word.as_bytes());
        self.text.push(b'"');
    }

    /// The same of what is shown so, such as an id or a time.
    pub(crate) fn shown(&mut self, shown: impl Display) {
        self.text.push(b'"');
        // Memory takes whatever is written.
        let _ = write!(self, "{shown}");
        self.text.push(b'"');
    }

    /// Writes a number.
    pub(crate) fn number(&mut self, number: i32) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes a truth value.
    pub(crate) fn truth(&mut self, truth: bool) {
        self.text.extend_from_slice(if truth { b"true" } else { b"false" });
    }

    /// Writes any text, or `null` for none.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        write_json(&text, &mut self.text);
    }
}

impl fmt::Write for Json<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes a value whose objects may have been written already.
pub(crate) fn write_value(value: &Value, json: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            json.push(b'{');
            write_each(fields, json, |(key, value), json| {
                write_json(key, json);
                json.push(b':');
                write_value(value, json);
            });
            json.push(b'}');
        }
        Value::List(items) => {
            json.push(b'[');
            write_each(items, json, write_value);
            json.push(b']');
        }
        Value::Binary(written) => json.extend_from_slice(written),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Boolean(_) | Value::Enum(_) => write_json(value, json),
    }
}

/// Writes items with a comma between them.
pub(crate) fn write_each<T>(items: impl IntoIterator<Item = T>, json: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            json.push(b',');
        }
        write(item, json);
    }
}

/// Writes what are strings, numbers and maps of them, in memory: neither can fail.
pub(crate) fn write_json(value: &impl Serialize, json: &mut Vec<u8>) {
    let _ = serde_json::to_writer(json, value);
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
