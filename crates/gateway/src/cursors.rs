//! Cursors of pages. Each says of which list it is, and whose, and is good nowhere else: a place in one list is
//! nowhere, or somewhere else, in another. To clients they are opaque. This module must never know what a list holds.

use std::sync::Arc;

use async_graphql::connection::CursorType;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use smallvec::SmallVec;

use crate::errors::Failure;

/// Separates what a cursor says.
const BETWEEN: char = ' ';

/// A list that is given out in pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List(Arc<str>);

impl List {
    /// The list of that name, of an owner.
    pub(crate) fn of(name: &str, owner: impl std::fmt::Display) -> Self {
        Self(format!("{name}{BETWEEN}{owner}").into())
    }

    /// The list of that name which the bank has one of.
    pub(crate) fn of_bank(name: &str) -> Self {
        Self(name.into())
    }

    /// The cursor of a place in this list, which is one or more numbers.
    pub(crate) fn cursor(&self, place: &[u64]) -> Cursor {
        Cursor { list: self.clone(), place: place.into() }
    }

    /// The place of `N` numbers that a client goes on behind, where it names one.
    ///
    /// # Errors
    /// [`Failure::BadInput`], where this list never gave out such a cursor.
    pub(crate) fn place<const N: usize>(&self, after: Option<&str>) -> Result<Option<[u64; N]>, Failure> {
        let place = self.places(after, N)?;
        Ok(place.and_then(|place| place.try_into().ok()))
    }

    /// The same, of so many numbers.
    pub(crate) fn places(&self, after: Option<&str>, numbers: usize) -> Result<Option<Vec<u64>>, Failure> {
        let Some(cursor) = after else { return Ok(None) };
        let place = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
            let rest = text.strip_prefix(&*self.0)?.strip_prefix(BETWEEN)?;
            rest.split(BETWEEN).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()
        };
        // What reads the same may be written otherwise, which this list does not.
        let is_own = |place: &Vec<u64>| place.len() == numbers && self.cursor(place).encode_cursor() == cursor;
        let bad = || Failure::BadInput("after is not a cursor that this list gave out.".to_owned());
        place().filter(is_own).map(Some).ok_or_else(bad)
    }
}

/// A place in a list. It is written where somebody asks for it: most pages are asked for their rows alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    list: List,
    place: SmallVec<[u64; 2]>,
}

impl CursorType for Cursor {
    type Error = &'static str;

    /// A text alone is not a place: [`List::place`] reads cursors.
    fn decode_cursor(_: &str) -> Result<Self, &'static str> {
        Err("a cursor is read by the list that gave it out")
    }

    fn encode_cursor(&self) -> String {
        let mut text = String::from(&*self.list.0);
        for number in &self.place {
            text.push(BETWEEN);
            text += &number.to_string();
        }
        URL_SAFE_NO_PAD.encode(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_its_place_in_its_own_list_only() {
        let list = List::of("transactions", "acc_1");
        let cursor = list.cursor(&[7]).encode_cursor();
        assert_eq!(list.place(Some(&cursor)), Ok(Some([7])));
        assert_eq!(list.place::<1>(None), Ok(None));
        for other in [
            List::of("payments", "acc_1"),
            List::of("transactions", "acc_2"),
            List::of("transactions", "acc_"),
            List::of_bank("transactions"),
        ] {
            assert!(other.place::<1>(Some(&cursor)).is_err(), "{other:?}");
        }
        assert!(list.place::<2>(Some(&cursor)).is_err(), "of as many numbers as it has");
    }

    #[test]
    fn what_was_not_given_out_is_no_cursor() {
        let list = List::of("accounts", "cus_1");
        let made = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for text in [
            "accounts cus_1 +5",
            "accounts cus_1 05",
            "accounts cus_1 1 2",
            "accounts cus_1 ",
            "accounts cus_1",
            "0",
            "",
            "accounts cus_1 -1",
        ] {
            assert!(list.place::<1>(Some(&made(text))).is_err(), "{text}");
        }
        assert!(list.place::<1>(Some("?")).is_err());
        assert!(list.place::<1>(Some("")).is_err());
        assert_eq!(list.place(Some(&made("accounts cus_1 5"))), Ok(Some([5])));
    }
}
