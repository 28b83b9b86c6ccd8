//! Accounts, balances and entries. This module must never write.

use async_graphql::{
    Context, Enum, ID, Object, Result, SimpleObject,
    connection::{Connection, Edge, EmptyFields},
};

use super::{
    auth::{caller, refused},
    ids::{account_id, account_number, transaction_id},
    scalars::{Currency, DateTime, Money},
    store::{AccountRow, EntryRow, Shared},
};

/// Largest page, whatever is asked for.
const MOST_ROWS: usize = 100;

pub(super) struct Query;

#[Object]
impl Query {
    /// An account of the caller.
    async fn account(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Account>> {
        let Ok(caller) = caller(ctx) else { return Ok(None) };
        let Some(number) = account_number(&id) else { return Ok(None) };
        let row = ctx.data_unchecked::<Shared>().account(number, caller.0).await.map_err(internal)?;
        Ok(row.map(|row| Account { row }))
    }
}

/// What is not the caller's fault. The cause is logged, and not told.
pub(super) fn internal(error: anyhow::Error) -> async_graphql::Error {
    tracing::error!(error = format!("{error:#}"), "a request failed");
    refused("INTERNAL", "Something is wrong here.")
}

pub(super) struct Account {
    row: AccountRow,
}

#[derive(SimpleObject)]
pub(super) struct Balance {
    booked: Money,
    available: Money,
    pub(super) version: i32,
    as_of: DateTime,
}

impl Balance {
    /// Payments are booked at once, so nothing is ever on its way out.
    pub(super) fn of(row: &AccountRow) -> Self {
        Self {
            booked: Money::of(row.balance, row.currency),
            available: Money::of(row.balance.saturating_add(row.overdraft), row.currency),
            version: graphql_int(row.version),
            as_of: DateTime(row.as_of),
        }
    }
}

/// GraphQL's `Int` has 32 bits.
fn graphql_int(version: i64) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

#[Object]
impl Account {
    async fn id(&self) -> ID {
        account_id(self.row.id).into()
    }

    async fn iban(&self) -> &str {
        &self.row.iban
    }

    async fn currency(&self) -> Currency {
        Currency(self.row.currency)
    }

    async fn status(&self) -> &str {
        &self.row.status
    }

    async fn balance(&self) -> Balance {
        Balance::of(&self.row)
    }

    /// Newest first.
    #[graphql(complexity = "usize::try_from(first.unwrap_or(20)).unwrap_or(0).min(MOST_ROWS).saturating_mul(child_complexity)")]
    async fn transactions(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Transaction, EmptyFields, EmptyFields>> {
        let size =
            usize::try_from(first.unwrap_or(20)).map_err(|_| refused("BAD_USER_INPUT", "first must not be negative."))?.min(MOST_ROWS);
        let below = match &after {
            Some(cursor) => cursor.parse().map_err(|_| refused("BAD_USER_INPUT", "after is no cursor."))?,
            None => i64::MAX,
        };
        let most = i64::try_from(size + 1)?;
        let rows = ctx.data_unchecked::<Shared>().entries(self.row.id, below, most).await.map_err(internal)?;
        let mut page = Connection::new(after.is_some(), rows.len() > size);
        let edge = |entry: EntryRow| {
            Edge::new(entry.version.to_string(), Transaction { account: self.row.id, currency: self.row.currency, entry })
        };
        page.edges.extend(rows.into_iter().take(size).map(edge));
        Ok(page)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum Direction {
    Debit,
    Credit,
}

pub(super) struct Transaction {
    account: i64,
    currency: domain::Currency,
    entry: EntryRow,
}

#[Object]
impl Transaction {
    async fn id(&self) -> ID {
        transaction_id(self.account, self.entry.version).into()
    }

    async fn direction(&self) -> Direction {
        if self.entry.amount < 0 { Direction::Debit } else { Direction::Credit }
    }

    async fn amount(&self) -> Money {
        Money::of(self.entry.amount.saturating_abs(), self.currency)
    }

    async fn balance_after(&self) -> Money {
        Money::of(self.entry.balance_after, self.currency)
    }

    async fn version(&self) -> i32 {
        graphql_int(self.entry.version)
    }

    async fn reference(&self) -> Option<&str> {
        self.entry.reference.as_deref()
    }

    async fn booked_at(&self) -> DateTime {
        DateTime(self.entry.booked_at)
    }
}
