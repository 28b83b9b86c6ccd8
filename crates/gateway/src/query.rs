//! Queries. This module must never wait for a service, only, where asked, for its own read models.

use async_graphql::{Context, ID, Interface, Object, Result};
use domain::{AccountId, CustomerId, PaymentId, Shard, Timestamp, TransactionId};

use crate::{
    Bank, Caller,
    account::Account,
    cursors::List,
    customer::{Customer, Payee},
    errors::Failure,
    models::Shows,
    page::{Page, page, page_complexity, page_size},
    payment::Payment,
    scalars::{Iban, Position},
    schema::{bank, caller, operator, signed_in},
    system::System,
    transaction::Transaction,
};

/// IDs are typed and prefixed: `cus_…`, `acc_…`, `txn_…`, `pay_…`.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID"))]
pub(crate) enum Node {
    Customer(Customer),
    Account(Account),
    Transaction(Transaction),
    Payment(Payment),
}

impl Node {
    async fn find(bank: &Bank, caller: Caller, id: &str) -> Result<Option<Self>, Failure> {
        if let Ok(id) = id.parse::<CustomerId>() {
            let visible = caller == Caller::Operator || caller == Caller::Customer(id);
            return Ok(if visible { Customer::find(bank, id)?.map(Self::Customer) } else { None });
        }
        if let Ok(id) = id.parse::<AccountId>() {
            return Ok(Account::find(bank, caller, id)?.map(Self::Account));
        }
        if let Ok(id) = id.parse::<PaymentId>() {
            return Ok(Payment::find(bank, caller, id).await?.map(Self::Payment));
        }
        let Ok(TransactionId { account, version }) = id.parse() else { return Ok(None) };
        let Some(account) = Account::find(bank, caller, account)? else { return Ok(None) };
        let entry = bank.overview(account.row.id).await?.entries_down(account.row.id, version, 1)?.pop();
        Ok(entry.filter(|entry| entry.version == version).map(|entry| Self::Transaction(Transaction { account: account.row, entry })))
    }
}

/// A field that may be null: a failure makes it null, and not all that stands around it (GraphQL §6.4.4), which it would outside of
/// the `Option`.
pub(crate) fn or_null<T>(found: Result<Option<T>, Failure>) -> Option<Result<T>> {
    found.map_err(Into::into).transpose()
}

/// What can be asked.
pub struct Query;

#[Object]
impl Query {
    /// Resolves any id the caller may see; null for one that does not exist or is not theirs.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Node>> {
        let caller = signed_in(ctx).ok()?;
        let found = async {
            bank(ctx).directory().await?;
            Node::find(bank(ctx), caller, &id).await
        };
        or_null(found.await)
    }

    /// The signed-in customer; null for an operator or an anonymous caller.
    async fn viewer(&self, ctx: &Context<'_>, at_least: Option<Position>) -> Option<Result<Customer>> {
        let Caller::Customer(id) = caller(ctx) else { return None };
        let found = async {
            bank(ctx).reach(at_least.as_ref().map(|position| &position.0), Shows::All).await?;
            Ok(Customer::find(bank(ctx), id)?)
        };
        or_null(found.await)
    }

    /// An account of the caller (any account for an operator).
    async fn account(&self, ctx: &Context<'_>, id: ID, at_least: Option<Position>) -> Option<Result<Account>> {
        // Whoever is nobody here is not told how far logs have come either.
        let caller = signed_in(ctx).ok()?;
        let found = async {
            bank(ctx).reach(at_least.as_ref().map(|position| &position.0), Shows::All).await?;
            let Ok(id) = id.parse() else { return Ok(None) };
            Ok(Account::find(bank(ctx), caller, id)?)
        };
        or_null(found.await)
    }

    /// A payment that debits or credits an account of the caller.
    async fn payment(&self, ctx: &Context<'_>, id: ID, at_least: Option<Position>) -> Option<Result<Payment>> {
        let caller = signed_in(ctx).ok()?;
        let found = async {
            bank(ctx).reach(at_least.as_ref().map(|position| &position.0), Shows::Payments).await?;
            let Ok(id) = id.parse() else { return Ok(None) };
            Payment::find(bank(ctx), caller, id).await
        };
        or_null(found.await)
    }

    /// Who would be paid: the holder's name and currency behind an IBAN held at this bank, before paying it.
    async fn payee(&self, ctx: &Context<'_>, iban: Iban) -> Option<Result<Payee>> {
        signed_in(ctx).ok()?;
        let found = async {
            bank(ctx).directory().await?;
            bank(ctx).find(|| Payee::find(bank(ctx), iban.0)).await
        };
        or_null(found.await)
    }

    /// Operators: payments held for review, oldest first.
    #[graphql(complexity = "page_complexity(first, child_complexity)")]
    async fn held_payments(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Page<Payment>> {
        operator(ctx)?;
        bank(ctx).directory().await?;
        let size = page_size(first)?;
        // One number a shard: how far its held payments were seen.
        let list = List::of_bank("heldPayments");
        let shards = usize::from(bank(ctx).models.shards());
        let mut seen = list.places(after.as_deref(), shards)?.unwrap_or_else(|| vec![0; shards]);
        let mut rows = Vec::new();
        for number in 0..bank(ctx).models.shards() {
            let shard = usize::from(number);
            let held = bank(ctx).history(Shard(number)).await?.held(seen[shard], size + 1).map_err(Failure::from)?;
            // Clocks of gateways differ: within a shard the order is that of its log, or rows would lie before
            // a cursor that were not seen with it.
            let mut latest = Timestamp::default();
            rows.extend(held.into_iter().map(|row| {
                latest = latest.max(row.order.at);
                (latest, shard, row)
            }));
        }
        rows.sort_by_key(|(latest, ..)| *latest);
        rows.truncate(size + 1);
        let with_cursor = rows.into_iter().map(|(_, shard, row)| {
            seen[shard] = seen[shard].max(row.number);
            (list.cursor(&seen), Payment { row })
        });
        Ok(page(with_cursor, size, after.is_none()))
    }

    /// Operators: every log and read model with its length, position and lag.
    async fn system(&self, ctx: &Context<'_>) -> Result<System> {
        operator(ctx)?;
        Ok(System::look(bank(ctx)).await?)
    }
}
