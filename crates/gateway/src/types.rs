//! What the schema's types are, for those who check operations before the library runs them. This module must never
//! know a field.

use std::sync::{Arc, OnceLock};

use async_graphql::{
    ObjectType, Response, Schema, SchemaEnv, SubscriptionType,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextRequest},
    registry::Registry,
};
use futures_util::FutureExt as _;

/// The types of a schema.
#[derive(Clone)]
pub(crate) struct Types(SchemaEnv);

impl Types {
    /// The library shows them to its extensions only; so a schema with one is asked once.
    #[expect(clippy::expect_used, reason = "an extension is asked before anything is awaited")]
    pub(crate) fn of<Q, M, S>(query: Q, mutation: M, subscription: S) -> Self
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let look = Look::default();
        let schema = Schema::build(query, mutation, subscription).extension(look.clone()).finish();
        schema.execute("{ __typename }").now_or_never();
        Self(look.0.get().cloned().expect("the types"))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }
}

#[derive(Clone, Default)]
struct Look(Arc<OnceLock<SchemaEnv>>);

impl ExtensionFactory for Look {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(self.clone())
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Look {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        self.0.get_or_init(|| ctx.schema_env.clone());
        next.run(ctx).await
    }
}
