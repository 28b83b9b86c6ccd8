//! One GraphQL operation on its way, whatever brought it: from what the client sent to what the schema
//! answers. Everything that is refused before it runs is refused here. This module must never know a
//! transport.

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_graphql::{
    InputType as _, Name, PathSegment, Request, Response, ServerError, Variables,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet},
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{BoxStream, once, unfold},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    BankSchema, Caller, Keys, SignedIn, arguments,
    callers::Callers,
    documents::{DocumentError, Documents},
    errors::{Failure, of_a_part},
    inputs::InitiatePaymentInput,
    limits::Limits,
    merged,
    operation_metrics::{OperationMetrics, count_errors, label},
    parsing,
    plain::NothingToMerge,
    roots,
    set_aside::SetAside,
    shape::{self, Shape},
    validated::{Validated, ValidatedDocuments, variables_fit},
};

/// What everything that brings operations shares.
pub struct Gateway {
    pub(crate) schema: BankSchema,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) documents: Documents,
    pub(crate) callers: Callers,
    pub(crate) validated: ValidatedDocuments,
    metrics: OperationMetrics,
}

/// What a client sends: the parameters of GraphQL over HTTP, and the id of a stored document.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Params {
    pub query: Option<String>,
    pub operation_name: Option<String>,
    #[serde(default)]
    pub variables: Variables,
    pub extensions: Option<Map<String, Value>>,
    pub document_id: Option<String>,
}

impl Params {
    /// The id of the document, where one is named.
    fn id(&self) -> Option<&str> {
        let persisted = || self.extensions.as_ref()?.get("persistedQuery")?.get("sha256Hash")?.as_str();
        self.document_id.as_deref().or_else(persisted)
    }

    /// Whether it names a document as a version of persisted queries does that nobody here knows.
    fn is_of_other_version(&self) -> bool {
        let version = || self.extensions.as_ref()?.get("persistedQuery")?.get("version");
        version().is_some_and(|version| *version != 1)
    }

    /// Whether it names anything to run.
    pub(crate) fn names_document(&self) -> bool {
        self.query.is_some() || self.id().is_some()
    }
}

/// An operation that may be run.
pub(crate) struct Operation {
    pub(crate) request: Request,
    /// What it is known by.
    label: String,
    pub kind: OperationType,
    /// Under which key its first field is answered.
    first: Option<Name>,
    pub(crate) validation: Validation,
}

/// Whether the document of an operation has to be validated.
pub(crate) enum Validation {
    /// It was, and the variables fit.
    Done,
    /// The text of one that is remembered if it is good.
    Due(Option<Arc<str>>),
}

impl Validation {
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Gateway {
    /// A gateway to a schema.
    #[must_use]
    pub fn new(schema: BankSchema, keys: Keys, limits: Limits, documents: Documents) -> Self {
        Self {
            schema,
            keys,
            callers: Callers::new(&limits),
            limits,
            documents,
            validated: ValidatedDocuments::default(),
            metrics: OperationMetrics::default(),
        }
    }

    /// Checks what was sent, as far as that can be done without running it.
    ///
    /// # Errors
    /// What to answer instead.
    pub(crate) fn prepare(&self, params: Params, caller: Caller) -> Result<Operation, Box<Response>> {
        self.try_prepare(params, caller).map_err(|error| {
            let refused = Response::from_errors(vec![error]);
            count_errors(&refused);
            Box::new(refused)
        })
    }

    fn try_prepare(&self, mut params: Params, caller: Caller) -> Result<Operation, ServerError> {
        if !self.callers.may_ask(caller) {
            return Err(Failure::RateLimited.into());
        }
        if params.is_of_other_version() {
            return Err(shape::bad_request("Persisted queries are known in version 1.", None));
        }
        let text = self.documents.text(params.query.as_deref(), params.id()).map_err(Failure::from)?;
        if let Some(operation) = self.validated.get(&text).and_then(|validated| self.validated_before(&validated, &mut params, caller)) {
            return Ok(operation);
        }
        let mut document = parsing::parse(&text)?;
        let is_only = document.operations.iter().count() == 1;
        let name = params.operation_name.as_deref();
        let kind = select(&document, name)?.ty;
        let mut shape = self.check(&document, select(&document, name)?, &params.variables)?;
        let mut letters = text.len();
        if shape.merges || !is_only || !document.fragments.is_empty() || kind == OperationType::Subscription {
            letters += merged::merge(&mut document, name, self.schema.registry())?;
            shape = Shape::of(&document, select(&document, name)?);
        }
        if kind == OperationType::Subscription && shape.root_fields != 1 {
            return Err(shape::bad_request("A subscription has one root field.", None));
        }
        if let Some(root) = roots::root_of(self.schema.registry(), OperationType::Subscription) {
            roots::inline(&mut document, name, root);
        }
        let operation = select(&document, name)?;
        self.schema.check(&document, operation, &mut params.variables, caller)?;
        let label = label(&document, operation);
        let first = first_key(&operation.selection_set.node);
        // The text of several says nothing of the one that stands alone in the document by now.
        let kept = if is_only { self.validated.keep(text, &document, letters, &label, shape.merges) } else { None };
        let validation = Validation::Due(kept);
        let mut request = self.schema.request(document, params.variables, caller);
        request.operation_name = params.operation_name;
        Ok(Operation { request, label, kind, first, validation })
    }

    /// An operation whose document was validated before, where its variables fit beyond doubt.
    fn validated_before(&self, validated: &Validated, params: &mut Params, caller: Caller) -> Option<Operation> {
        let operation = select(&validated.document, params.operation_name.as_deref()).ok()?;
        variables_fit(self.schema.registry(), operation, &params.variables).then_some(())?;
        let mut variables = std::mem::take(&mut params.variables);
        arguments::complete(operation, &mut variables);
        let aside = SetAside::of(&InitiatePaymentInput::type_name(), operation, &mut variables);
        let first = first_key(&operation.selection_set.node);
        let mut request = self.schema.request(validated.document.clone(), variables, caller);
        request.operation_name = params.operation_name.take();
        if !validated.merges {
            request = request.data(NothingToMerge);
        }
        if let Some(aside) = aside {
            request = request.data(aside);
        }
        Some(Operation { request, label: validated.label.clone(), kind: operation.ty, first, validation: Validation::Done })
    }

    /// Refuses what is too large or lacks a variable, before anything looks at it more closely.
    fn check(&self, document: &ExecutableDocument, operation: &OperationDefinition, variables: &Variables) -> Result<Shape, ServerError> {
        let shape = Shape::of(document, operation);
        let within = |what: &str, count: usize, most: usize| {
            let failure = || Failure::LimitExceeded(format!("An operation has at most {most} {what}; this one has more."));
            if count > most { Err(failure().into()) } else { Ok::<_, ServerError>(()) }
        };
        within("fragments", document.fragments.len(), shape::MOST_FRAGMENTS)?;
        let all = Shape::of_all(document);
        within("levels", all.levels, shape::MOST_LEVELS)?;
        within("selections", all.selections, shape::MOST_SELECTIONS)?;
        within("aliases", shape.aliases, self.limits.aliases)?;
        within("directives on a field", shape.directives, self.limits.directives)?;
        within("root fields", shape.root_fields, self.limits.root_fields)?;
        if operation.ty == OperationType::Subscription {
            within("selections where it subscribes", shape.selections, shape::MOST_SUBSCRIBED + self.limits.aliases)?;
        }
        shape::required_variables(operation, variables)?;
        Ok(shape)
    }

    /// Runs a query or a mutation.
    pub(crate) async fn execute(&self, Operation { request, label, kind, first, validation }: Operation) -> Response {
        let running = AssertUnwindSafe(self.metrics.measure(&label, self.run(request, validation))).catch_unwind();
        match tokio::time::timeout(self.limits.request_time, running).await {
            Ok(Ok(response)) if kind == OperationType::Mutation => after_others(response, first),
            Ok(Ok(response)) => response,
            Ok(Err(_)) => panicked(),
            Err(_) => Response::from_errors(vec![Failure::TimedOut.into()]),
        }
    }

    async fn run(&self, request: Request, mut validation: Validation) -> Response {
        let response = self.schema.execute(request, validation.is_done()).await;
        self.settle(&mut validation, &response);
        response
    }

    /// Remembers the document of an operation that was not refused.
    fn settle(&self, validation: &mut Validation, response: &Response) {
        if let Validation::Due(text) = validation
            && let Some(text) = text.take()
        {
            self.validated.settle(&text, !is_refused(response));
        }
    }

    /// Runs any operation: a query or a mutation answers once.
    pub(crate) fn stream(self: &Arc<Self>, operation: Operation) -> BoxStream<'static, Response> {
        let gateway = Arc::clone(self);
        if operation.kind == OperationType::Subscription {
            let mut validation = operation.validation;
            let answers = self.schema.subscribe(operation.request, validation.is_done()).inspect(move |answer| {
                gateway.settle(&mut validation, answer);
                count_errors(answer);
            });
            let answers = AssertUnwindSafe(answers).catch_unwind().map(|answer| answer.unwrap_or_else(|_| panicked()));
            // One that could not be told of is the last: a client that resumes with the version before it is told again.
            let up_to_a_failure = unfold(Some(answers), |open| async move {
                let mut answers = open?;
                let answer = answers.next().await?;
                let is_told = answer.data != async_graphql::Value::Null;
                Some((answer, is_told.then_some(answers)))
            });
            return up_to_a_failure.boxed();
        }
        once(async move { gateway.execute(operation).await }).boxed()
    }

    /// Who sends this value of an `Authorization` header, or comes without one.
    pub(crate) async fn sign_in(&self, authorization: Option<&str>) -> Result<SignedIn, Failure> {
        self.keys.sign_in(authorization).await.map_err(|_| Failure::BadToken)
    }
}

/// The key of the field that is resolved first.
fn first_key(selected: &SelectionSet) -> Option<Name> {
    selected.items.iter().find_map(|item| match &item.node {
        Selection::Field(field) => Some(field.node.response_key().node.clone()),
        Selection::InlineFragment(fragment) => first_key(&fragment.node.selection_set.node),
        Selection::FragmentSpread(_) => None,
    })
}

/// The answer to a mutation, of which no field is shown where one failed: "nothing was stored" is true of that one only, and not of
/// those before it.
fn after_others(mut response: Response, first: Option<Name>) -> Response {
    if response.data == async_graphql::Value::Null {
        let is_behind =
            |error: &ServerError| matches!(error.path.first(), Some(PathSegment::Field(key)) if Some(key.as_str()) != first.as_deref());
        response.errors = response.errors.into_iter().map(|error| if is_behind(&error) { of_a_part(error) } else { error }).collect();
    }
    response
}

/// The operation of that name, or the only one.
pub(crate) fn select<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<&'a OperationDefinition, ServerError> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
        (DocumentOperations::Multiple(_), None) => {
            return Err(shape::bad_request("The document has several operations: name one in operationName.", None));
        }
        (DocumentOperations::Single(_), Some(_)) => None,
    };
    let operation = found.ok_or_else(|| shape::bad_request("The document has no operation of the name in operationName.", None))?;
    Ok(&operation.node)
}

/// A resolver panicked, and the panic's own message is in the log; the caller gets the id of the answer.
fn panicked() -> Response {
    let id = uuid::Uuid::new_v4();
    tracing::error!(%id, "A resolver panicked");
    Response::from_errors(vec![Failure::Internal(id).into()])
}

/// Whether nothing was run: such an answer has errors that belong to no field, and no data.
pub(crate) fn is_refused(response: &Response) -> bool {
    response.data == async_graphql::Value::Null && response.errors.iter().any(|error| error.path.is_empty())
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::NotFound => Self::PersistedQueryNotFound,
            DocumentError::Untrusted => Self::UntrustedDocument,
            DocumentError::OtherHash | DocumentError::TooLong | DocumentError::Missing => Self::BadRequest(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
