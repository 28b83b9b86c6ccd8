//! Who may ask what the schema holds. In production that is whoever signed in: what is there to be asked
//! is the first thing that somebody who looks for a way in wants to know. This module must never know a field.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use async_graphql::{
    Request, SchemaBuilder, ServerResult, Variables,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextParseQuery, NextPrepareRequest},
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

use crate::{Caller, errors::Failure};

/// To whom the schema describes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introspection {
    /// To anonymous callers too.
    Everybody,
    /// To whoever signed in.
    SignedIn,
}

impl Introspection {
    pub(crate) fn of<Q, M, S>(self, schema: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S> {
        match self {
            Self::Everybody => schema,
            // What a misspelt field may have meant is introspection as well.
            Self::SignedIn => schema.disable_suggestions().extension(SignedInOnly),
        }
    }
}

struct SignedInOnly;

impl ExtensionFactory for SignedInOnly {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for SignedInOnly {
    /// Closes introspection.
    async fn prepare_request(&self, ctx: &ExtensionContext<'_>, request: Request, next: NextPrepareRequest<'_>) -> ServerResult<Request> {
        let own = request.data.get(&TypeId::of::<Caller>()).and_then(|data| <dyn Any>::downcast_ref::<Caller>(&**data));
        let is_anonymous = is_anonymous(own.or_else(|| ctx.data_opt::<Caller>()));
        let request = if is_anonymous { request.disable_introspection() } else { request };
        next.run(ctx, request).await
    }

    /// Says so; without this the answer would be null where the schema promises something. For `__type` it
    /// does not: to an anonymous caller there is no type of any name.
    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        let document = next.run(ctx, query, variables).await?;
        if is_anonymous(ctx.data_opt::<Caller>()) && introspects(&document) {
            return Err(Failure::Unauthenticated.into());
        }
        Ok(document)
    }
}

fn is_anonymous(caller: Option<&Caller>) -> bool {
    caller.is_none_or(|caller| *caller == Caller::Anonymous)
}

/// Whether a document selects `__schema` anywhere; how deep it nests was checked before.
fn introspects(document: &ExecutableDocument) -> bool {
    let in_operations = document.operations.iter().any(|(_, operation)| selects(&operation.node.selection_set.node));
    in_operations || document.fragments.values().any(|fragment| selects(&fragment.node.selection_set.node))
}

fn selects(set: &SelectionSet) -> bool {
    set.items.iter().any(|selection| match &selection.node {
        Selection::Field(field) => field.node.name.node == "__schema" || selects(&field.node.selection_set.node),
        Selection::InlineFragment(fragment) => selects(&fragment.node.selection_set.node),
        Selection::FragmentSpread(_) => false,
    })
}
