//! Balances as they change. This module must never write.

use async_graphql::{Context, ID, Result, Subscription as GraphqlSubscription};
use futures_util::Stream;
use tokio::sync::watch;

use super::{
    auth::{caller, refused},
    ids::account_number,
    notify::{Change, Watchers},
    query::{Balance, internal},
    store::{AccountRow, Shared},
};

pub(super) struct Subscription;

#[GraphqlSubscription]
impl Subscription {
    /// The balance now, then after every change; under load, intermediate values may be skipped, the newest never. With afterVersion, starts at the first newer one.
    async fn balance_changed(
        &self,
        ctx: &Context<'_>,
        account_id: ID,
        after_version: Option<i32>,
    ) -> Result<impl Stream<Item = Balance> + use<>> {
        let caller = caller(ctx)?;
        let unknown = || refused("UNKNOWN_ACCOUNT", "There is no such account.");
        let number = account_number(&account_id).ok_or_else(unknown)?;
        // Watches before it reads, so that no change falls between.
        let changes = ctx.data_unchecked::<Watchers>().watch(number);
        let account = ctx.data_unchecked::<Shared>().account(number, caller.0).await.map_err(internal)?.ok_or_else(unknown)?;
        let sent = after_version.map_or(-1, i64::from);
        Ok(futures_util::stream::unfold(Balances { account, changes, sent }, Balances::next))
    }
}

struct Balances {
    account: AccountRow,
    changes: watch::Receiver<Option<Change>>,
    sent: i64,
}

impl Balances {
    async fn next(mut self) -> Option<(Balance, Self)> {
        while self.account.version <= self.sent {
            // It fails where nobody tells any more, and so ends the subscription.
            self.changes.changed().await.ok()?;
            let change = *self.changes.borrow_and_update();
            if let Some(Change { version, balance, as_of, .. }) = change.filter(|change| change.version > self.account.version) {
                self.account = AccountRow { version, balance, as_of, ..self.account };
            }
        }
        self.sent = self.account.version;
        Some((Balance::of(&self.account), self))
    }
}
