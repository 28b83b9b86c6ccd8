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
    Bank, Caller, Introspection, Limits, errors::Failure, mutation::Mutation, operation_metrics::Operations, query::Query,
    subscription::Subscription,
};

/// The schema, to execute requests on.
pub type BankSchema = Schema<Query, Mutation, Subscription>;

/// Largest page that is given out at once, whatever is asked for.
const MAX_PAGE: usize = 100;

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

/// A cursor from one or more numbers.
pub(crate) fn encode_cursor(numbers: &[u64]) -> String {
    use base64::Engine as _;
    let text = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// The numbers of a cursor that was given out before.
pub(crate) fn decode_cursor(cursor: &str) -> Result<Vec<u64>, Failure> {
    use base64::Engine as _;
    let bad = || Failure::BadInput("after is not a cursor that this gateway gave out.".to_owned());
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    text.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())
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
