//! Pages of lists, as Relay connections. This module must never know what a list holds.

use async_graphql::{
    OutputType,
    connection::{Connection, CursorType as _, Edge, EmptyFields, PageInfo},
    parser::types::Field,
};

use crate::{
    cursors::Cursor,
    errors::Failure,
    plain::{Json, Plain},
};

/// Largest page that is given out at once, whatever is asked for.
const MAX_PAGE: usize = 100;

/// A Relay connection whose cursors are opaque strings.
pub(crate) type Page<N> = Connection<Cursor, N, EmptyFields, EmptyFields>;

/// How many rows a page has.
pub(crate) fn page_size(first: Option<i32>) -> Result<usize, Failure> {
    match usize::try_from(first.unwrap_or(20)) {
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Failure::BadInput("first must not be negative.".to_owned())),
    }
}

/// What a page counts as, where `one` of its rows counts as so much: it is as long as it may be.
pub(crate) fn page_complexity(first: Option<i32>, one: usize) -> usize {
    let rows = usize::try_from(first.unwrap_or(20)).unwrap_or(0).min(MAX_PAGE);
    rows.saturating_mul(one).saturating_add(1)
}

/// A page of `rows`, of which one more than `size` was looked for.
pub(crate) fn page<N: OutputType>(rows: impl ExactSizeIterator<Item = (Cursor, N)>, size: usize, from_start: bool) -> Page<N> {
    let mut page = Page::new(!from_start, rows.len() > size);
    page.edges.extend(rows.take(size).map(|(cursor, node)| Edge::new(cursor, node)));
    page
}

impl<N: Plain> Plain for Page<N> {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        let selected = &field.selection_set.node;
        match field.name.node.as_str() {
            "nodes" => json.list(&self.edges, |edge, json| json.object(&edge.node, selected)),
            "edges" => json.list(&self.edges, |edge, json| json.object(edge, selected)),
            "pageInfo" => {
                let cursor = |edge: Option<&Edge<Cursor, N, EmptyFields>>| edge.map(|edge| edge.cursor.encode_cursor());
                let info = PageInfo {
                    has_previous_page: self.has_previous_page,
                    has_next_page: self.has_next_page,
                    start_cursor: cursor(self.edges.first()),
                    end_cursor: cursor(self.edges.last()),
                };
                json.object(&info, selected)
            }
            _ => None,
        }
    }
}

impl<N: Plain> Plain for Edge<Cursor, N, EmptyFields> {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "cursor" => json.word(&self.cursor.encode_cursor()),
            "node" => json.object(&self.node, &field.selection_set.node)?,
            _ => return None,
        }
        Some(())
    }
}

impl Plain for PageInfo {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "hasPreviousPage" => json.truth(self.has_previous_page),
            "hasNextPage" => json.truth(self.has_next_page),
            "startCursor" => json.text(self.start_cursor.as_deref()),
            "endCursor" => json.text(self.end_cursor.as_deref()),
            _ => return None,
        }
        Some(())
    }
}
