//! Entries on accounts. This module must never decide who may see one.

use async_graphql::{Context, Enum, ID, Object, Result, parser::types::Field};
use domain::{Debtor, TransactionId};
use projections::{AccountRow, EntryRow};

use crate::{
    account::{Account, Money, graphql_int},
    customer::Payee,
    errors::Failure,
    payment::Payment,
    plain::{Json, Plain},
    query::or_null,
    scalars::DateTime,
    schema::{bank, caller},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Direction {
    Debit,
    Credit,
}

/// One entry on one account.
pub(crate) struct Transaction {
    pub account: AccountRow,
    pub entry: EntryRow,
}

impl Transaction {
    fn money(&self, minor: i64) -> Money {
        domain::Money::from_minor(minor, self.account.currency).into()
    }

    const fn transaction_id(&self) -> TransactionId {
        TransactionId { account: self.account.id, version: self.entry.version }
    }

    const fn is_debit(&self) -> bool {
        self.entry.amount_minor < 0
    }
}

/// One entry on one account.
#[Object]
impl Transaction {
    pub(crate) async fn id(&self) -> ID {
        self.transaction_id().to_string().into()
    }

    // As it is now: a subscription has the row of when it began.
    async fn account(&self, ctx: &Context<'_>) -> Result<Account> {
        let now = bank(ctx).models.directory.account(self.account.id).map_err(Failure::from)?;
        Ok(Account { row: now.unwrap_or_else(|| self.account.clone()) })
    }

    async fn direction(&self) -> Direction {
        if self.is_debit() { Direction::Debit } else { Direction::Credit }
    }

    async fn amount(&self) -> Money {
        self.money(self.entry.amount_minor.saturating_abs())
    }

    async fn balance_after(&self) -> Money {
        self.money(self.entry.balance_after_minor)
    }

    /// The account's version that this transaction made.
    async fn version(&self) -> i32 {
        graphql_int(self.entry.version)
    }

    async fn counterparty(&self, ctx: &Context<'_>) -> Result<Payee> {
        let payee = Payee::of_debtor(bank(ctx), self.entry.counterparty, self.account.currency).map_err(Failure::from)?;
        Ok(payee.ok_or(Failure::StaleRead)?)
    }

    async fn reference(&self) -> Option<&str> {
        self.entry.reference.as_ref().map(domain::Reference::as_str)
    }

    async fn booked_at(&self) -> DateTime {
        DateTime(self.entry.at)
    }

    async fn payment(&self, ctx: &Context<'_>) -> Option<Result<Payment>> {
        let find = || Payment::find(bank(ctx), caller(ctx), self.entry.payment);
        let found = async {
            let found = find().await?;
            if found.is_some() {
                return Ok(found);
            }
            // The overview has said that it is booked before the payments did.
            let debtor = if self.is_debit() { Debtor::Account(self.account.id) } else { self.entry.counterparty };
            bank(ctx).booked(debtor, self.entry.payment).await?;
            find().await
        };
        or_null(found.await)
    }
}

impl Plain for Transaction {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        let selected = &field.selection_set.node;
        match field.name.node.as_str() {
            "id" => json.shown(self.transaction_id()),
            "direction" => json.word(if self.is_debit() { "DEBIT" } else { "CREDIT" }),
            "amount" => json.object(&self.money(self.entry.amount_minor.saturating_abs()), selected)?,
            "balanceAfter" => json.object(&self.money(self.entry.balance_after_minor), selected)?,
            "version" => json.number(graphql_int(self.entry.version)),
            "reference" => json.text(self.entry.reference.as_ref().map(domain::Reference::as_str)),
            "bookedAt" => json.shown(self.entry.at),
            _ => return None,
        }
        Some(())
    }
}
