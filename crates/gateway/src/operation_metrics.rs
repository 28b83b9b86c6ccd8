//! Measures and traces operations by their names, and counts errors by their codes. Names are the clients' choice,
//! so only a bounded number of them is told apart. This module must never change a response.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use async_graphql::{
    Response, ServerResult, Value, Variables,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute, NextParseQuery, NextRequest, NextSubscribe},
    parser::types::{ExecutableDocument, OperationDefinition, OperationType, Selection},
};
use futures_util::{StreamExt as _, stream::BoxStream};
use metrics::{Histogram, histogram};
use projections::{RejectedBy, count_rejects};
use streams::TraceSpan;
use tokio::time::Instant;

use crate::metrics::OPERATION_SECONDS;

/// Operation names told apart, of which each costs a histogram; what comes later is `other`.
const MAX_NAMES: usize = 200;
/// Longer names are `other`.
const MAX_NAME_BYTES: usize = 64;
const OTHER: &str = "other";
/// The code of errors that have none yet: they are about the request itself.
const UNNAMED_REASON: &str = "BAD_REQUEST";

/// Histograms by the names that are told apart.
type Names = Arc<Mutex<HashMap<String, Histogram>>>;

/// Observes every request.
#[derive(Default)]
pub(crate) struct Operations {
    names: Names,
}

impl ExtensionFactory for Operations {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Request { names: Arc::clone(&self.names), operations: OnceLock::new() })
    }
}

struct Request {
    names: Names,
    operations: OnceLock<Vec<Operation>>,
}

/// An operation of a document.
struct Operation {
    name: Option<String>,
    /// What it is known by without a name.
    field: String,
    is_subscription: bool,
}

impl Operation {
    fn new(name: Option<&str>, definition: &OperationDefinition) -> Self {
        let field = match definition.selection_set.node.items.as_slice() {
            [only] => match &only.node {
                Selection::Field(field) => field.node.name.node.to_string(),
                Selection::FragmentSpread(_) | Selection::InlineFragment(_) => OTHER.to_owned(),
            },
            _ => OTHER.to_owned(),
        };
        Self { name: name.map(str::to_owned), field, is_subscription: definition.ty == OperationType::Subscription }
    }
}

impl Request {
    /// What a valid operation is known by; none for a subscription, whose pushes are executed one by one.
    fn label(&self, name: Option<&str>) -> Option<&str> {
        let operation = self.operations.get()?.iter().find(|operation| operation.name.as_deref() == name)?;
        (!operation.is_subscription).then(|| operation.name.as_deref().unwrap_or(&operation.field))
    }

    /// That name if it is one that is told apart, and where its times go.
    fn named(&self, label: &str) -> (String, Histogram) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !names.contains_key(label);
        let label = if is_new && (names.len() >= MAX_NAMES || label.len() > MAX_NAME_BYTES) { OTHER } else { label };
        let new = || histogram!(OPERATION_SECONDS, "operation" => label.to_owned());
        (label.to_owned(), names.entry(label.to_owned()).or_insert_with(new).clone())
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Request {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        let response = next.run(ctx).await;
        count_errors(&response);
        response
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(ctx, stream).inspect(count_errors).boxed()
    }

    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        let document = next.run(ctx, query, variables).await?;
        let operation = |(name, definition): (Option<&async_graphql::Name>, &async_graphql::Positioned<OperationDefinition>)| {
            Operation::new(name.map(async_graphql::Name::as_str), &definition.node)
        };
        self.operations.get_or_init(|| document.operations.iter().map(operation).collect());
        Ok(document)
    }

    async fn execute(&self, ctx: &ExtensionContext<'_>, operation_name: Option<&str>, next: NextExecute<'_>) -> Response {
        let Some(label) = self.label(operation_name) else { return next.run(ctx, operation_name).await };
        let (name, histogram) = self.named(label);
        let since = Instant::now();
        let response = match TraceSpan::here(format!("graphql {name}")) {
            Some(span) => span.during(next.run(ctx, operation_name)).await,
            None => next.run(ctx, operation_name).await,
        };
        histogram.record(since.elapsed());
        response
    }
}

fn count_errors(response: &Response) {
    for error in &response.errors {
        let code = match error.extensions.as_ref().and_then(|extensions| extensions.get("code")) {
            Some(Value::String(code)) => code.clone(),
            Some(_) | None => UNNAMED_REASON.to_owned(),
        };
        count_rejects(RejectedBy::Operation, code, 1);
    }
}
