//! Accounts and balances. This module must never decide who may see one.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject, parser::types::Field};
use domain::AccountId;
use projections::{AccountRow, BalanceRow, StoreError};

use crate::{
    Bank, Caller,
    cursors::List,
    customer::Customer,
    errors::Failure,
    page::{Page, page, page_complexity, page_size},
    payment::Payment,
    plain::{AtOnce, Json, Plain},
    scalars::{Currency, DateTime, Decimal, Iban},
    schema::bank,
    transaction::Transaction,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::accounts::AccountStatus")]
pub(crate) enum AccountStatus {
    Open,
    Frozen,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Money(domain::Money);

#[Object]
impl Money {
    async fn amount(&self) -> Decimal {
        Decimal(self.0.decimal().to_string())
    }

    async fn currency(&self) -> Currency {
        Currency(self.0.currency())
    }
}

impl From<domain::Money> for Money {
    fn from(money: domain::Money) -> Self {
        Self(money)
    }
}

impl Plain for Money {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "amount" => json.shown(self.0.decimal()),
            "currency" => json.word(self.0.currency().code()),
            _ => return None,
        }
        Some(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, SimpleObject)]
pub(crate) struct Balance {
    /// What the ledger has booked.
    booked: Money,
    /// Booked plus the overdraft limit, less the payments still on their way out.
    available: Money,
    /// Grows by one with every transaction booked on the account; no gaps.
    pub version: i32,
    as_of: DateTime,
}

impl Balance {
    pub(crate) fn new(account: &AccountRow, row: &BalanceRow) -> Self {
        let money = |minor| Money::from(domain::Money::from_minor(minor, account.currency));
        let pending = if row.pending_minor < 0 { i64::MAX } else { row.pending_minor };
        let available = row.booked_minor.saturating_add(account.overdraft_limit_minor).saturating_sub(pending);
        let as_of = if row.version == 0 { account.opened_at } else { row.as_of };
        Self { booked: money(row.booked_minor), available: money(available), version: graphql_int(row.version), as_of: DateTime(as_of) }
    }

    pub(crate) async fn read(bank: &Bank, account: &AccountRow) -> Result<Self, Failure> {
        Ok(Self::new(account, &bank.overview(account.id).await?.balance(account.id)?))
    }
}

impl Plain for Balance {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        match field.name.node.as_str() {
            "booked" => json.object(&self.booked, &field.selection_set.node)?,
            "available" => json.object(&self.available, &field.selection_set.node)?,
            "version" => json.number(self.version),
            "asOf" => json.shown(self.as_of.0),
            _ => return None,
        }
        Some(())
    }
}

/// GraphQL's `Int` has 32 bits; an account gets there after two thousand million bookings.
pub(crate) fn graphql_int(version: u64) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

/// An account of the bank.
pub(crate) struct Account {
    pub row: AccountRow,
}

impl Account {
    /// The account, if it exists and the caller may see it: the same answer for both.
    pub(crate) fn find(bank: &Bank, caller: Caller, id: AccountId) -> Result<Option<Self>, StoreError> {
        let row = bank.models.directory.account(id)?;
        let visible = |row: &AccountRow| match caller {
            Caller::Operator => true,
            Caller::Customer(customer) => row.holder == customer,
            Caller::Anonymous => false,
        };
        Ok(row.filter(visible).map(|row| Self { row }))
    }
}

#[Object]
impl Account {
    pub(crate) async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    async fn iban(&self) -> Iban {
        Iban(self.row.iban)
    }

    async fn holder(&self, ctx: &Context<'_>) -> Result<Customer> {
        let holder = Customer::find(bank(ctx), self.row.holder).map_err(Failure::from)?;
        // The directory folds customers and accounts in causal order.
        Ok(holder.ok_or(Failure::StaleRead)?)
    }

    async fn currency(&self) -> Currency {
        Currency(self.row.currency)
    }

    async fn status(&self) -> AccountStatus {
        self.row.status.into()
    }

    /// How far below zero the booked balance may go.
    async fn overdraft_limit(&self) -> Money {
        domain::Money::from_minor(self.row.overdraft_limit_minor, self.row.currency).into()
    }

    async fn balance(&self, ctx: &Context<'_>) -> Result<AtOnce<Balance>> {
        Ok(AtOnce(Balance::read(bank(ctx), &self.row).await?))
    }

    /// Newest first.
    #[graphql(complexity = "page_complexity(first, child_complexity)")]
    async fn transactions(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<AtOnce<Page<Transaction>>> {
        let size = page_size(first)?;
        let list = List::of("transactions", self.row.id);
        let newest = list.place(after.as_deref())?.map_or(u64::MAX, |[version]| version.saturating_sub(1));
        let rows = bank(ctx).overview(self.row.id).await?.entries_down(self.row.id, newest, size + 1).map_err(Failure::from)?;
        let rows = rows.into_iter().map(|entry| (list.cursor(&[entry.version]), Transaction { account: self.row.clone(), entry }));
        Ok(AtOnce(page(rows, size, after.is_none())))
    }

    /// Payments that debit this account, newest first.
    #[graphql(complexity = "page_complexity(first, child_complexity)")]
    async fn payments(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<AtOnce<Page<Payment>>> {
        let size = page_size(first)?;
        let bank = bank(ctx);
        let list = List::of("payments", self.row.id);
        let after_number = list.place(after.as_deref())?.map(|[number]| number);
        let shard = domain::Shard::of(self.row.id, bank.models.shards());
        let rows = bank.history(shard).await?.payments_of(self.row.id, after_number, size + 1).map_err(Failure::from)?;
        let rows = rows.into_iter().map(|row| (list.cursor(&[row.number]), Payment { row }));
        Ok(AtOnce(page(rows, size, after.is_none())))
    }
}
