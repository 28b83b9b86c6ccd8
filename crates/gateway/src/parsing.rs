//! From a text to a document, and what must hold of the text before the parser sees it: parser and checks call themselves for each
//! level, and make much of little. This module must never know the schema.

use std::collections::HashSet;

use async_graphql::{
    ServerError,
    parser::{self, parse_query, types::ExecutableDocument},
};

use crate::{
    errors::Failure,
    respelled::respelled,
    shape::{MOST_LEVELS, bad_request},
};

/// Longest name of a field, a fragment, a variable. Names are compared wherever they are used, and an alias is answered with
/// each row: one of a megabyte would be both some thousand times.
const MOST_NAME_BYTES: usize = 256;

/// Arguments of a field, or variables of an operation: checks hold each against all others, or look for it among them.
const MOST_ARGUMENTS: usize = 128;

/// Words, texts and brackets of a document. The parser makes some hundred bytes of each, however small it is. A bulk of a thousand
/// payments that is written out has 30,000.
const MOST_WORDS: usize = 100_000;

const NO_DOCUMENT: &str = "The query is not a GraphQL document.";

/// Parses a document; what is wrong with it is said without the parser's rules.
pub(crate) fn parse(text: &str) -> Result<ExecutableDocument, ServerError> {
    check_text(text)?;
    match parse_query(text) {
        Ok(document) => Ok(document),
        Err(error) => match respelled(text) {
            Some(text) => {
                check_text(&text)?;
                parse_query(text).map_err(|error| refusal(&error))
            }
            None => Err(refusal(&error)),
        },
    }
}

fn refusal(error: &parser::Error) -> ServerError {
    let place = error.positions().next();
    // A syntax error's own text lists the parser's rules.
    if let parser::Error::Syntax { .. } = error {
        return bad_request(NO_DOCUMENT, place);
    }
    bad_request(&format!("The query cannot be taken: {error}."), place)
}

/// A bracket that is open.
enum Open<'a> {
    /// How many there are so far.
    Arguments(usize),
    /// With the names that it has so far: the parser keeps one of a name.
    Object(HashSet<&'a str>),
    Other,
}

/// Makes sure that a document has not too many words, that no name is too long, that no more brackets lie in each other than the
/// parser's stack is sure to hold, that no field has too many arguments, and that no input object has a field twice (GraphQL §5.6.3),
/// which cannot be seen once it is parsed. Brackets in texts and comments are none; as for the parser, a text ends with its line at the
/// latest, unless it is a block.
fn check_text(text: &str) -> Result<(), ServerError> {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut rest = text;
    // What stood before a comment that is not over yet.
    let mut named = None;
    let mut words = 0;
    while let Some(at) = rest.find(['(', '[', '{', ')', ']', '}', '"', '#', ':']) {
        let (before, token) = rest.split_at(at);
        let (token, after) = token.split_at(1);
        rest = after;
        words += 1 + count_names(before)?;
        within("words, texts and brackets", words, MOST_WORDS)?;
        let name = last_name(before).or(if is_blank(before) { named } else { None });
        named = if token == "#" { name } else { None };
        match token {
            "(" | "[" | "{" if open.len() == MOST_LEVELS => within("brackets in each other", open.len() + 1, MOST_LEVELS)?,
            "(" => open.push(Open::Arguments(0)),
            // Selections are never within arguments.
            "{" if open.iter().any(|open| matches!(open, Open::Arguments(_))) => open.push(Open::Object(HashSet::new())),
            "[" | "{" => open.push(Open::Other),
            ")" | "]" | "}" => drop(open.pop()),
            ":" => match (open.last_mut(), name) {
                (Some(Open::Arguments(count)), _) => {
                    *count += 1;
                    within("arguments of a field, or variables", *count, MOST_ARGUMENTS)?;
                }
                (Some(Open::Object(names)), Some(name)) => {
                    if !names.insert(name) {
                        return Err(bad_request(&format!("An input object has the field {name} twice."), None));
                    }
                }
                (_, _) => {}
            },
            "#" => rest = after.find(['\n', '\r']).map_or("", |end| &after[end..]),
            _ => rest = behind_text(after).ok_or_else(|| bad_request(NO_DOCUMENT, None))?,
        }
    }
    within("words, texts and brackets", words + count_names(rest)?, MOST_WORDS)
}

fn within(what: &str, count: usize, most: usize) -> Result<(), ServerError> {
    if count <= most {
        return Ok(());
    }
    Err(Failure::LimitExceeded(format!("A document has at most {most} {what}; this one has more.")).into())
}

/// The names in a part of a document without texts and comments, none of which may be too long.
fn count_names(part: &str) -> Result<usize, ServerError> {
    let mut names = part.split(|sign| !is_of_name(sign)).filter(|name| !name.is_empty());
    names.try_fold(0, |count, name| {
        if name.len() <= MOST_NAME_BYTES {
            return Ok(count + 1);
        }
        let message = format!("A name in a document has at most {MOST_NAME_BYTES} letters; this one has a longer one.");
        Err(Failure::LimitExceeded(message).into())
    })
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
pub(crate) const fn is_ignored(sign: char) -> bool {
    matches!(sign, ' ' | '\t' | '\n' | '\r' | ',' | '\u{feff}')
}

/// What stands behind a text whose first quotation mark was read; none, where it is a block that never ends.
pub(crate) fn behind_text(text: &str) -> Option<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_document_has_only_so_many_words_and_a_field_so_many_arguments() {
        let fields = |count: usize| format!("{{ {} }}", "a ".repeat(count - 2));
        assert!(parse(&fields(MOST_WORDS)).is_ok());
        let empty = "[],".repeat(MOST_WORDS / 2);
        for wide in [fields(MOST_WORDS + 1), format!("{{ a(b: [{empty}]) }}"), format!("{{ a(b: [{}]) }}", "\"\",".repeat(MOST_WORDS))] {
            assert!(parse(&wide).expect_err("too wide").message.contains("words"));
        }
        let named = |sign: &str, count: usize| (0..count).map(|number| format!("{sign}a{number}: A ")).collect::<String>();
        for (sign, before, after) in [("", "{ a(", ") }"), ("$", "query(", ") { a }")] {
            let text = |count| format!("{before}{}{after}", named(sign, count));
            assert!(parse(&text(MOST_ARGUMENTS)).is_ok());
            assert!(parse(&text(MOST_ARGUMENTS + 1)).expect_err("too many").message.contains("arguments"));
        }
    }

    #[test]
    fn a_syntax_error_says_where_and_not_how_the_parser_is_made() {
        let error = parse("{ a(").expect_err("no document");
        assert_eq!(error.message, "The query is not a GraphQL document.");
        assert_eq!(error.locations.len(), 1);
    }
}
