//! Documents in the spelling that the parser knows, which is narrower than GraphQL's. This module must never change what one says.

use std::borrow::Cow;

use crate::parsing::{behind_text, is_ignored};

/// Digits of a code unit behind `\u`.
const DIGITS: usize = 4;

/// The same document with no space between a type and its brackets or its `!`, and with no pair of code units and no `\u{…}` among the
/// escapes of its texts (GraphQL §2.9.4), but the character itself, or one code unit: the others the parser does not take. None, where
/// that changes nothing.
pub(crate) fn respelled(text: &str) -> Option<String> {
    let mut document = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '#', '[', ']', '!']) {
        let (before, from) = rest.split_at(at);
        let (sign, after) = from.split_at(1);
        rest = after;
        match sign {
            "\"" => {
                rest = behind_text(after)?;
                document += before;
                document += &with_characters(&from[..from.len() - rest.len()]);
            }
            "#" => {
                document += before;
                rest = after.find(['\n', '\r']).map_or("", |end| &after[end..]);
                if document.ends_with('[') {
                    rest = rest.trim_start_matches(is_ignored);
                }
            }
            "[" => {
                document += before;
                document += sign;
                rest = after.trim_start_matches(is_ignored);
            }
            _ => {
                document += before.trim_end_matches(is_ignored);
                document += sign;
            }
        }
    }
    document += rest;
    (document != text).then_some(document)
}

/// A text, quotation marks included.
fn with_characters(literal: &str) -> Cow<'_, str> {
    if literal.starts_with("\"\"\"") || !literal.contains("\\u") {
        return literal.into();
    }
    let mut text = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some((before, after)) = rest.split_once('\\') {
        text += before;
        match escaped(after) {
            Some((character, behind)) => {
                match u16::try_from(u32::from(character)) {
                    // It may be a quotation mark, which must not end the text.
                    Ok(unit) => text += &format!("\\u{unit:04X}"),
                    Err(_) => text.push(character),
                }
                rest = behind;
            }
            None => {
                // Another escape: a second backslash begins no further one.
                let end = after.chars().next().map_or(0, char::len_utf8);
                text.push('\\');
                text += &after[..end];
                rest = &after[end..];
            }
        }
    }
    text += rest;
    text.into()
}

/// The character of an escape that is longer than one code unit, and what stands behind it.
fn escaped(text: &str) -> Option<(char, &str)> {
    let text = text.strip_prefix('u')?;
    if let Some((digits, behind)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        return Some((char::from_u32(hexadecimal(digits)?)?, behind));
    }
    let (high, text) = text.split_at_checked(DIGITS)?;
    let (low, behind) = text.strip_prefix("\\u")?.split_at_checked(DIGITS)?;
    let pair = [high, low].map(|digits| hexadecimal(digits).and_then(|unit| u16::try_from(unit).ok()));
    let [Some(high), Some(low)] = pair else { return None };
    // Two that are no pair are two characters, which the parser knows.
    let mut characters = char::decode_utf16([high, low]);
    let character = characters.next()?.ok()?;
    characters.next().is_none().then_some((character, behind))
}

fn hexadecimal(digits: &str) -> Option<u32> {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parsing::parse;

    #[test]
    fn what_the_parser_does_not_know_is_respelled() {
        for (text, expected) in [
            ("query($a: [ ID ! ] !) { a }", "query($a: [ID!]!) { a }"),
            ("query($a: [\n# all\nID!]) { a }", "query($a: [ID!]) { a }"),
            (r#"{ a(b: "\uD83D\uDE00 \\uD83D\\uDE00") }"#, r#"{ a(b: "😀 \\uD83D\\uDE00") }"#),
            (r#"{ a(b: "\u{1F600}\"[ ]") }"#, r#"{ a(b: "😀\"[ ]") }"#),
            (r#"{ a(b: "\u{22}[\u{5C}\u{0a}") }"#, r#"{ a(b: "\u0022[\u005C\u000A") }"#),
        ] {
            assert_eq!(respelled(text).as_deref(), Some(expected));
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn no_text_ends_earlier_than_it_did() {
        // Whatever hides brackets from the count would overflow the parser's stack.
        assert!(parse(&format!(r#"{{ a(b: "\u{{22}}{}") }}"#, "[".repeat(10_000))).is_ok());
    }

    #[test]
    fn what_it_knows_stays_as_it_is() {
        for text in [
            "query($a: [ID!]!) { a(b: [1, 2]) }",
            r#"{ a(b: "\u00fc \u00e4\u00f6 \n \\u{1F600} [ ] ! # none") }"#,
            r#"{ a(b: """ \uD83D\uDE00 [ ] """) }"#,
        ] {
            assert_eq!(respelled(text), None);
            assert!(parse(text).is_ok(), "{text}");
        }
        for bad in [
            r#"{ a(b: "\uD83D") }"#,
            r#"{ a(b: "\uD83D\u0041") }"#,
            r#"{ a(b: "\u{110000}") }"#,
            r#"{ a(b: "\u{}") }"#,
            "query($a: ! ID) { a }",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
