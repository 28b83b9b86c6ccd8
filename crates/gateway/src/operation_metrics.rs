//! Measures and traces operations by their names, and counts errors by their codes. Names are the clients' choice,
//! so only a bounded number of them is told apart. This module must never change a response.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    Response,
    parser::types::{ExecutableDocument, OperationDefinition, Selection},
};
use metrics::{Histogram, histogram};
use projections::{RejectedBy, count_rejects};
use streams::TraceSpan;
use tokio::time::Instant;

use crate::{errors::code_of, metrics::OPERATION_SECONDS, operation::is_refused};

/// Operation names told apart, of which each costs a histogram; what comes later is `other`.
const MAX_NAMES: usize = 200;
/// Longer names are `other`.
const MAX_NAME_BYTES: usize = 64;
const OTHER: &str = "other";

/// What an operation of a document is known by: its name, or its field where it has only one.
pub(crate) fn label(document: &ExecutableDocument, operation: &OperationDefinition) -> String {
    let named = document.operations.iter().find(|(_, definition)| std::ptr::eq(&raw const definition.node, operation));
    match (named.and_then(|(name, _)| name), operation.selection_set.node.items.as_slice()) {
        (Some(name), _) => name.to_string(),
        (None, [only]) => match &only.node {
            Selection::Field(field) => field.node.name.node.to_string(),
            Selection::FragmentSpread(_) | Selection::InlineFragment(_) => OTHER.to_owned(),
        },
        (None, _) => OTHER.to_owned(),
    }
}

/// Observes operations.
#[derive(Debug, Default)]
pub(crate) struct OperationMetrics {
    /// By the names that are told apart.
    names: Mutex<HashMap<String, Histogram>>,
}

impl OperationMetrics {
    /// Measures a query or a mutation. One that was refused leaves no name: those are anybody's choice.
    pub(crate) async fn measure(&self, label: &str, running: impl Future<Output = Response>) -> Response {
        let since = Instant::now();
        let response = match TraceSpan::here(format!("graphql {}", known_as(&self.names(), label))) {
            Some(span) => span.during(running).await,
            None => running.await,
        };
        if !is_refused(&response) {
            self.histogram(label).record(since.elapsed());
        }
        count_errors(&response);
        response
    }

    /// Where the times of an operation go.
    fn histogram(&self, label: &str) -> Histogram {
        let mut names = self.names();
        let name = known_as(&names, label);
        let new = || histogram!(OPERATION_SECONDS, "operation" => name.to_owned());
        names.entry(name.to_owned()).or_insert_with(new).clone()
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Histogram>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its label, if that is one that is told apart.
fn known_as<'a>(names: &HashMap<String, Histogram>, label: &'a str) -> &'a str {
    let is_new = !names.contains_key(label);
    if is_new && (names.len() >= MAX_NAMES || label.len() > MAX_NAME_BYTES) { OTHER } else { label }
}

/// Counts the errors of an answer by their codes.
pub(crate) fn count_errors(response: &Response) {
    for error in &response.errors {
        if let Some(code) = code_of(error) {
            count_rejects(RejectedBy::Operation, code.to_owned(), 1);
        }
    }
}
