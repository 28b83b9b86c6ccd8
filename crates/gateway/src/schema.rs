//! Puts the schema together, and what every resolver reads from its context.

use std::sync::Arc;

use async_graphql::{
    Context, Response, Schema,
    connection::{Connection, EmptyFields},
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextRequest},
};
use domain::CustomerId;

use crate::{Bank, Caller, errors::Failure, mutation::Mutation, operations::Operations, query::Query, subscription::Subscription};

/// The schema, to execute requests on.
pub type BankSchema = Schema<Query, Mutation, Subscription>;

/// Largest page that is given out at once, whatever is asked for.
const MAX_PAGE: usize = 100;

/// Deepest selection: the contract's own queries need half of this.
const MAX_DEPTH: usize = 16;

/// The schema over a bank.
#[must_use]
pub fn schema(bank: Arc<Bank>) -> BankSchema {
    Schema::build(Query, Mutation::default(), Subscription)
        .data(bank)
        .limit_depth(MAX_DEPTH)
        .extension(Operations::default())
        .extension(Codes)
        .finish()
}

/// The schema in the schema definition language, as it is served.
#[must_use]
pub fn sdl() -> String {
    Schema::build(Query, Mutation::default(), Subscription).finish().sdl()
}

pub(crate) fn bank<'a>(ctx: &Context<'a>) -> &'a Arc<Bank> {
    ctx.data_unchecked::<Arc<Bank>>()
}

pub(crate) fn caller(ctx: &Context<'_>) -> Caller {
    ctx.data_opt::<Caller>().copied().unwrap_or(Caller::Anonymous)
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
        let mut response = next.run(ctx).await;
        for error in &mut response.errors {
            let extensions = error.extensions.get_or_insert_default();
            if extensions.get("code").is_none() {
                extensions.set("code", "BAD_REQUEST");
            }
        }
        response
    }
}
