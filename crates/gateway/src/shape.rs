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
    /// How deep they lie in each other, as far as they were looked at.
    pub levels: usize,
    /// Whether an object is asked for two fields under one key, which are to be merged (GraphQL §6.3.3), as far as they
    /// were looked at.
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

/// Longest name of a field, a fragment, a variable. Names are compared wherever they are used, and an alias is answered with
/// each row: one of a megabyte would be both some thousand times.
const MOST_NAME_BYTES: usize = 256;

/// Fragments of a document: checks call themselves along fragments that spread each other, used or not.
pub(crate) const MOST_FRAGMENTS: usize = 256;

const NO_DOCUMENT: &str = "The query is not a GraphQL document.";

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
            match &selection.node {
                Selection::Field(field) => {
                    shape.root_fields += usize::from(is_root);
                    shape.aliases += usize::from(field.node.alias.is_some());
                    shape.merges = shape.merges || !keys.insert(&field.node.response_key().node);
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

/// Parses a document; what is wrong with it is said without the parser's rules.
pub(crate) fn parse(text: &str) -> Result<ExecutableDocument, ServerError> {
    check_text(text)?;
    parse_query(text).map_err(|error| {
        let place = error.positions().next();
        // A syntax error's own text lists the parser's rules.
        if let parser::Error::Syntax { .. } = error {
            return bad_request(NO_DOCUMENT, place);
        }
        bad_request(&format!("The query cannot be taken: {error}."), place)
    })
}

/// A bracket that is open.
enum Open<'a> {
    Arguments,
    /// With the names that it has so far: the parser keeps one of a name.
    Object(HashSet<&'a str>),
    Other,
}

/// Makes sure that no name is too long, that no more brackets lie in each other than the parser's stack is sure to hold, and
/// that no input object has a field twice (GraphQL §5.6.3), which cannot be seen once it is parsed. Brackets in texts and comments are
/// none; as for the parser, a text ends with its line at the latest, unless it is a block.
fn check_text(text: &str) -> Result<(), ServerError> {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut rest = text;
    // What stood before a comment that is not over yet.
    let mut named = None;
    while let Some(at) = rest.find(['(', '[', '{', ')', ']', '}', '"', '#', ':']) {
        let (before, token) = rest.split_at(at);
        let (token, after) = token.split_at(1);
        rest = after;
        check_names(before)?;
        let name = last_name(before).or(if is_blank(before) { named } else { None });
        named = if token == "#" { name } else { None };
        match token {
            "(" | "[" | "{" if open.len() == MOST_LEVELS => {
                let message = format!("A document has at most {MOST_LEVELS} brackets in each other; this one has more.");
                return Err(Failure::LimitExceeded(message).into());
            }
            "(" => open.push(Open::Arguments),
            // Selections are never within arguments.
            "{" if open.iter().any(|open| matches!(open, Open::Arguments)) => open.push(Open::Object(HashSet::new())),
            "[" | "{" => open.push(Open::Other),
            ")" | "]" | "}" => drop(open.pop()),
            ":" => {
                if let (Some(Open::Object(names)), Some(name)) = (open.last_mut(), name)
                    && !names.insert(name)
                {
                    return Err(bad_request(&format!("An input object has the field {name} twice."), None));
                }
            }
            "#" => rest = after.find(['\n', '\r']).map_or("", |end| &after[end..]),
            _ => rest = behind_text(after).ok_or_else(|| bad_request(NO_DOCUMENT, None))?,
        }
    }
    check_names(rest)
}

/// Makes sure that no name is too long, in a part of a document without texts and comments.
fn check_names(part: &str) -> Result<(), ServerError> {
    if part.split(|sign| !is_of_name(sign)).all(|name| name.len() <= MOST_NAME_BYTES) {
        return Ok(());
    }
    Err(Failure::LimitExceeded(format!("A name in a document has at most {MOST_NAME_BYTES} letters; this one has a longer one.")).into())
}

const fn is_of_name(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_'
}

/// The name that a text ends with, where it does.
fn last_name(text: &str) -> Option<&str> {
    text.trim_end_matches(is_ignored).rsplit(|sign| !is_of_name(sign)).next().filter(|name| !name.is_empty())
}

fn is_blank(text: &str) -> bool {
    text.chars().all(is_ignored)
}

/// Whether a sign says nothing, wherever it stands (GraphQL §2.1.7).
const fn is_ignored(sign: char) -> bool {
    matches!(sign, ' ' | '\t' | '\n' | '\r' | ',' | '\u{feff}')
}

/// What stands behind a text whose first quotation mark was read; none, where it is a block that never ends.
fn behind_text(text: &str) -> Option<&str> {
    if let Some(mut block) = text.strip_prefix("\"\"") {
        loop {
            let (inner, behind) = block.split_once("\"\"\"")?;
            if !inner.ends_with('\\') {
                return Some(behind);
            }
            block = behind;
        }
    }
    let mut is_escaped = false;
    let end = text.find(|sign| {
        let ends = matches!(sign, '\n' | '\r') || (sign == '"' && !is_escaped);
        is_escaped = sign == '\\' && !is_escaped;
        ends
    });
    Some(end.map_or("", |end| &text[end + 1..]))
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
        assert_eq!(shape("{ a b: c { d: e f } }"), Shape { root_fields: 2, aliases: 2, selections: 4, levels: 2, merges: false });
        assert_eq!(
            shape("{ a ...F ... { g } } fragment F on Query { b: c d }"),
            Shape { root_fields: 4, aliases: 1, selections: 6, levels: 2, merges: false }
        );
        assert_eq!(
            shape("{ ...F } fragment F on Query { a: b ...F }"),
            Shape { root_fields: 1, aliases: 1, selections: 3, levels: 2, merges: false }
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
        for n in 0..20_000 {
            let next = n + 1;
            text += &format!(" fragment F{n} on Query {{ ...F{next} }}");
        }
        text += " fragment F20000 on Query { a }";
        assert_eq!(shape(&text).levels, MOST_LEVELS + 1);
    }

    #[test]
    fn brackets_in_each_other_are_counted_and_those_in_texts_are_none() {
        let lists = |deep: usize, inner: &str| format!("{{ a(b: {}{inner}{}) }}", "[".repeat(deep), "]".repeat(deep));
        assert!(parse(&lists(MOST_LEVELS - 2, "1")).is_ok());
        assert!(parse(&format!("{{ a {} }}", "b(c: [{d: 1}]) ".repeat(100))).is_ok(), "beside each other");
        for inner in [r#""[[[""#, r#""\"[[[""#, r#""\\""#, r##""""[[" \""" [[""""##, "# [[[\n 1", r#""" "[""#] {
            assert!(parse(&lists(MOST_LEVELS - 2, inner)).is_ok(), "{inner}");
            assert!(parse(&lists(MOST_LEVELS - 1, inner)).is_err(), "{inner}");
        }
        // Whatever hides brackets from the count would overflow the parser's stack.
        for inner in [r#""]]]""#, "# ]]]\n", r#""""]]]""""#, r#""""#, r#""\\" "]""#, "\"\n", r##""""\"""""""##] {
            let error = parse(&format!("{{ a(b: {}", format!("[{inner}").repeat(10_000))).expect_err("too deep");
            assert!(error.message.contains("brackets"), "{inner}: {}", error.message);
        }
        let never_ends = format!("{{ a(b: \"\"\"a\" {}", "[".repeat(10_000));
        assert_eq!(parse(&never_ends).expect_err("no document").message, NO_DOCUMENT);
    }

    #[test]
    fn a_name_is_only_so_long_and_a_text_as_long_as_it_likes() {
        let (name, longer) = ("a".repeat(MOST_NAME_BYTES), "a".repeat(MOST_NAME_BYTES + 1));
        let documents = |name: &str| {
            [
                format!("{{ {name} }}"),
                format!("{{ {name}: b }}"),
                format!("{{ ...{name} }} fragment {name} on Query {{ b }}"),
                format!("query {name}(${name}: Int) {{ b({name}: ${name}) @{name} }}"),
                format!("query {name} {{ b(c: {{{name}: 1}}) }}"),
            ]
        };
        for (good, bad) in documents(&name).iter().zip(documents(&longer)) {
            assert!(parse(good).is_ok(), "{good}");
            assert!(parse(&bad).expect_err("too long").message.contains("256 letters"), "{bad}");
        }
        for text in [format!("{{ a(b: \"{longer}\") }}"), format!("{{ a(b: \"\"\"{longer}\"\"\") }}"), format!("{{ a }} # {longer}")] {
            assert!(parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_input_object_has_each_field_once() {
        for good in ["{a: 1, b: {a: 1}}", "[{a: 1}, {a: 1}]", "{a: \"a: a:\"}", "{a: 1 # a: 1\n}", "{a: {b: 1}, b: {b: 1}}"] {
            assert!(parse(&format!("{{ x(i: {good}) {{ a: b c: b }} y(i: {good}) }}")).is_ok(), "{good}");
        }
        for bad in
            ["{a: 1, a: 1}", "{a:1 a :2}", "{a: 1, a,: 2}", "{a: 1 a #:\n# b\n: 2}", "[{b: 1, a: {}, b: 2}]", "{a: {a: 1, c: [], a: 2}}"]
        {
            let error = parse(&format!("{{ x(i: {bad}) }}")).expect_err(bad);
            assert!(error.message.contains("twice"), "{bad}: {}", error.message);
            assert!(parse(&format!("query($v: I = {bad}) {{ x(i: $v) }}")).is_err(), "{bad}, as a default");
        }
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
