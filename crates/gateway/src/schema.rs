//! Puts the schema together, and what every resolver reads from its context. This module must never know a field.

use std::sync::Arc;

use async_graphql::{
    Context, Request, Response, SDLExportOptions, Schema, SchemaBuilder, ServerResult, ValidationMode, Variables,
    parser::types::{ExecutableDocument, OperationDefinition},
    registry::Registry,
};
use domain::CustomerId;
use futures_util::{Stream, StreamExt as _};

use crate::{
    Bank, Caller, Introspection, Limits, arguments, errors::Failure, mutation::Mutation, operation::is_refused, query::Query,
    subscription::Subscription, types::Types,
};

/// Errors that say why nothing was run: more than anybody reads, and a document can have one for every few bytes.
const MOST_ERRORS: usize = 20;

/// The schema, to execute operations on. What the library leaves to be checked is checked here and not in extensions of it:
/// where there is one, each field of an answer takes a detour over all of them (see bench/README.md).
pub struct BankSchema {
    fields: Schema<Query, Mutation, Subscription>,
    /// The same for documents that were validated, see `validated.rs`: limits still apply. It must get no others: along
    /// fragments that spread each other in a circle, it would never come to an end.
    validated: Schema<Query, Mutation, Subscription>,
    types: Types,
    introspection: Introspection,
}

impl BankSchema {
    /// The schema over a bank, which refuses what is larger than the limits.
    #[must_use]
    pub fn new(bank: Arc<Bank>, introspection: Introspection, limits: &Limits) -> Self {
        Self::of(|| fields(introspection, limits).data(Arc::clone(&bank)), introspection)
    }

    fn of(fields: impl Fn() -> SchemaBuilder<Query, Mutation, Subscription>, introspection: Introspection) -> Self {
        let validated = fields().validation_mode(ValidationMode::Fast).finish();
        Self { fields: fields().finish(), validated, types: Types::of(Query, Mutation::default(), Subscription), introspection }
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.types.registry()
    }

    /// Makes sure that an operation may run, as far as the library does not; completes its variables.
    pub(crate) fn check(
        &self,
        document: &ExecutableDocument,
        operation: &OperationDefinition,
        variables: &mut Variables,
        caller: Caller,
    ) -> ServerResult<()> {
        let registry = self.registry();
        arguments::check(registry, document, operation, variables)?;
        self.introspection.check(registry, document, operation, caller)
    }

    /// The request of an operation that may run.
    pub(crate) fn request(&self, document: ExecutableDocument, variables: Variables, caller: Caller) -> Request {
        // The text goes nowhere: the document is what runs.
        let mut request = Request::new(String::new()).variables(variables).data(caller);
        request.set_parsed_query(document);
        if self.introspection.is_open_to(caller) { request } else { request.disable_introspection() }
    }

    /// Runs a query or a mutation, whose document was validated before and whose variables fit, or is to be validated.
    pub(crate) async fn execute(&self, request: Request, is_validated: bool) -> Response {
        with_codes(self.fields(is_validated).execute(request).await)
    }

    /// Runs a subscription, likewise.
    pub(crate) fn subscribe(&self, request: Request, is_validated: bool) -> impl Stream<Item = Response> + Send + 'static {
        self.fields(is_validated).execute_stream(request).map(with_codes)
    }

    const fn fields(&self, is_validated: bool) -> &Schema<Query, Mutation, Subscription> {
        if is_validated { &self.validated } else { &self.fields }
    }
}

/// Everything but what resolvers need.
fn fields(introspection: Introspection, limits: &Limits) -> SchemaBuilder<Query, Mutation, Subscription> {
    let schema = Schema::build(Query, Mutation::default(), Subscription).limit_depth(limits.depth).limit_complexity(limits.complexity);
    match introspection {
        Introspection::Everybody => schema,
        // What a misspelt field may have meant is introspection as well.
        Introspection::SignedIn => schema.disable_suggestions(),
    }
}

/// The schema in the schema definition language, as it is served.
#[must_use]
pub fn sdl() -> String {
    let schema = Schema::build(Query, Mutation::default(), Subscription).finish();
    schema.sdl_with_options(SDLExportOptions::new().include_specified_by())
}

pub(crate) fn bank<'a>(ctx: &Context<'a>) -> &'a Arc<Bank> {
    ctx.data_unchecked::<Arc<Bank>>()
}

pub(crate) fn caller(ctx: &Context<'_>) -> Caller {
    ctx.data_opt::<Caller>().copied().unwrap_or(Caller::Anonymous)
}

/// Whoever calls, if they signed in.
pub(crate) fn signed_in(ctx: &Context<'_>) -> Result<Caller, Failure> {
    match caller(ctx) {
        Caller::Anonymous => Err(Failure::Unauthenticated),
        caller @ (Caller::Customer(_) | Caller::Operator) => Ok(caller),
    }
}

/// The customer that calls.
pub(crate) fn customer(ctx: &Context<'_>) -> Result<CustomerId, Failure> {
    match caller(ctx) {
        Caller::Customer(id) => Ok(id),
        Caller::Operator => Err(Failure::Forbidden("This is for customers; you are signed in as an operator.")),
        Caller::Anonymous => Err(Failure::Unauthenticated),
    }
}

/// Makes sure that an operator calls.
pub(crate) fn operator(ctx: &Context<'_>) -> Result<(), Failure> {
    match caller(ctx) {
        Caller::Operator => Ok(()),
        Caller::Customer(_) => Err(Failure::Forbidden("This is for operators of the bank.")),
        Caller::Anonymous => Err(Failure::Unauthenticated),
    }
}

/// Gives every error a code: those without one are about the request itself.
fn with_codes(mut response: Response) -> Response {
    if is_refused(&response) {
        // What two of the library's passes look at is found by each.
        response.errors.dedup_by(|one, other| one.message == other.message && one.locations == other.locations);
        response.errors.truncate(MOST_ERRORS);
    }
    for error in &mut response.errors {
        let code = if is_about_size(&error.message) { "LIMIT_EXCEEDED" } else { "BAD_REQUEST" };
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", code);
        }
    }
    response
}

/// Whether the library refused an operation for one of the limits that it checks itself.
fn is_about_size(message: &str) -> bool {
    message == "Query is nested too deep." || message == "Query is too complex." || message.starts_with("The recursion depth of the query")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::operation::select;

    /// Without a bank; whoever is anonymous is answered without one.
    pub(crate) fn without_bank() -> BankSchema {
        BankSchema::of(|| fields(Introspection::Everybody, &Limits::default()), Introspection::Everybody)
    }

    fn request(schema: &BankSchema, query: &str, mut variables: Variables) -> ServerResult<Request> {
        let document = async_graphql::parser::parse_query(query)?;
        schema.check(&document, select(&document, None)?, &mut variables, Caller::Anonymous)?;
        Ok(schema.request(document, variables, Caller::Anonymous))
    }

    /// What an anonymous caller is answered.
    pub(crate) async fn answer_to(query: &str, variables: Variables) -> Response {
        let schema = without_bank();
        match request(&schema, query, variables) {
            Ok(request) => schema.execute(request, false).await,
            Err(error) => Response::from_errors(vec![error]),
        }
    }

    #[tokio::test]
    async fn an_error_is_told_once() {
        let schema = without_bank();
        let request = request(&schema, "subscription { __typename }", Variables::default()).expect("it may run");
        let answers: Vec<_> = schema.subscribe(request, false).collect().await;
        assert_eq!(answers.iter().map(|answer| answer.errors.len()).sum::<usize>(), 1, "{answers:?}");
    }

    #[tokio::test]
    async fn an_answer_has_as_many_errors_as_somebody_reads() {
        let unused: String = (0..1_000).map(|n| format!("$v{n}: Int ")).collect();
        let answer = answer_to(&format!("query({unused}) {{ __typename }}"), Variables::default()).await;
        assert_eq!(answer.errors.len(), MOST_ERRORS);
    }

    #[tokio::test]
    async fn a_bulk_counts_as_often_as_it_has_inputs() {
        let money = async_graphql::value!({ "amount": "1", "currency": "EUR" });
        let input = async_graphql::value!({ "debtorAccountId": "acc_0", "creditorIban": "DE75999999991000000000", "amount": money });
        let is_too_large = async |count: usize, selected: &str| {
            let query = format!("mutation($inputs: [InitiatePaymentInput!]!) {{ initiatePayments(inputs: $inputs) {{ {selected} }} }}");
            let mut variables = Variables::default();
            variables.insert(async_graphql::Name::new("inputs"), async_graphql::Value::List(vec![input.clone(); count]));
            let answer = answer_to(&query, variables).await;
            answer.errors[0].extensions.as_ref().and_then(|extensions| extensions.get("code")) == Some(&"LIMIT_EXCEEDED".into())
        };
        let usual = "payment { id status amount { amount currency } reference initiatedAt rejection { code message } } position errors { code path message }";
        assert!(!is_too_large(1_000, usual).await);
        let repeated: String = (0..30).map(|n| format!("e{n}: errors {{ code message path }} ")).collect();
        assert!(is_too_large(1_000, &repeated).await);
        assert!(!is_too_large(10, &repeated).await);
    }
}
