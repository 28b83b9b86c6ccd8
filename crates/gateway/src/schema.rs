//! Puts the schema together, and what every resolver reads from its context.

use std::sync::Arc;

use async_graphql::{
    Context, Response, SDLExportOptions, Schema, SchemaBuilder,
    connection::{Connection, EmptyFields},
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextRequest, NextSubscribe},
};
use domain::CustomerId;
use futures_util::{StreamExt as _, stream::BoxStream};

use crate::{
    Bank, Caller, Introspection, Limits, arguments::Arguments, errors::Failure, mutation::Mutation, operation::is_refused,
    operation_metrics::Operations, query::Query, subscription::Subscription,
};

/// The schema, to execute requests on.
pub type BankSchema = Schema<Query, Mutation, Subscription>;

/// Largest page that is given out at once, whatever is asked for.
const MAX_PAGE: usize = 100;

/// Errors that say why nothing was run: more than anybody reads, and a document can have one for every few bytes.
const MOST_ERRORS: usize = 20;

/// The schema over a bank, which refuses what is larger than the limits.
#[must_use]
pub fn schema(bank: Arc<Bank>, introspection: Introspection, limits: &Limits) -> BankSchema {
    without_bank(introspection, limits).data(bank).finish()
}

/// Everything but what resolvers need.
pub(crate) fn without_bank(introspection: Introspection, limits: &Limits) -> SchemaBuilder<Query, Mutation, Subscription> {
    let schema = Schema::build(Query, Mutation::default(), Subscription)
        .limit_depth(limits.depth)
        .limit_complexity(limits.complexity)
        .limit_directives(limits.directives)
        .extension(Operations::default())
        .extension(Arguments)
        .extension(Codes);
    introspection.of(schema)
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

/// A Relay connection whose cursors are opaque strings.
pub(crate) type Page<N> = Connection<String, N, EmptyFields, EmptyFields>;

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
pub(crate) fn page<N: async_graphql::OutputType>(rows: Vec<(String, N)>, size: usize, from_start: bool) -> Page<N> {
    let mut page = Page::new(!from_start, rows.len() > size);
    page.edges.extend(rows.into_iter().take(size).map(|(cursor, node)| async_graphql::connection::Edge::new(cursor, node)));
    page
}

/// Gives every error a code: those without one are about the request itself.
struct Codes;

impl ExtensionFactory for Codes {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Codes {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        with_codes(next.run(ctx).await)
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(ctx, stream).map(with_codes).boxed()
    }
}

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
    message == "Query is nested too deep."
        || message == "Query is too complex."
        || message.starts_with("The number of directives on the field")
        || message.starts_with("The recursion depth of the query")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_is_told_once() {
        let schema = without_bank(Introspection::Everybody, &Limits::default()).finish();
        let answers: Vec<_> = schema.execute_stream("subscription { __typename }").collect().await;
        assert_eq!(answers.iter().map(|answer| answer.errors.len()).sum::<usize>(), 1, "{answers:?}");
    }

    #[tokio::test]
    async fn an_answer_has_as_many_errors_as_somebody_reads() {
        let schema = without_bank(Introspection::Everybody, &Limits::default()).finish();
        let unused: String = (0..1_000).map(|n| format!("$v{n}: Int ")).collect();
        let answer = schema.execute(format!("query({unused}) {{ __typename }}")).await;
        assert_eq!(answer.errors.len(), MOST_ERRORS);
    }

    #[tokio::test]
    async fn a_bulk_counts_as_often_as_it_has_inputs() {
        let schema = without_bank(Introspection::Everybody, &Limits::default()).finish();
        let money = async_graphql::value!({ "amount": "1", "currency": "EUR" });
        let input = async_graphql::value!({ "debtorAccountId": "acc_0", "creditorIban": "DE75999999991000000000", "amount": money });
        let is_too_large = async |count: usize, selected: &str| {
            let query = format!("mutation($inputs: [InitiatePaymentInput!]!) {{ initiatePayments(inputs: $inputs) {{ {selected} }} }}");
            let mut request = async_graphql::Request::new(query);
            request.variables.insert(async_graphql::Name::new("inputs"), async_graphql::Value::List(vec![input.clone(); count]));
            let answer = schema.execute(request).await;
            answer.errors[0].extensions.as_ref().and_then(|extensions| extensions.get("code")) == Some(&"LIMIT_EXCEEDED".into())
        };
        let usual = "payment { id status amount { amount currency } reference initiatedAt rejection { code message } } position errors { code path message }";
        assert!(!is_too_large(1_000, usual).await);
        let repeated: String = (0..30).map(|n| format!("e{n}: errors {{ code message path }} ")).collect();
        assert!(is_too_large(1_000, &repeated).await);
        assert!(!is_too_large(10, &repeated).await);
    }
}
