//! Customers, and who is paid. This module must never know balances.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use domain::{CustomerId, Debtor, settlement_iban};
use projections::{CustomerRow, StoreError};

use crate::{
    Bank,
    account::Account,
    cursors::List,
    page::{Page, page, page_complexity, page_size},
    scalars::{Currency, DateTime, Iban},
    schema::bank,
};

/// The name under which the bank itself is shown.
const BANK_NAME: &str = "Millrace Bank";
/// The name of an account holder that this bank does not know.
const UNKNOWN_NAME: &str = "Unknown";

/// A customer of the bank.
pub(crate) struct Customer {
    pub id: CustomerId,
    pub row: CustomerRow,
}

impl Customer {
    pub(crate) fn find(bank: &Bank, id: CustomerId) -> Result<Option<Self>, StoreError> {
        Ok(bank.models.directory.customer(id)?.map(|row| Self { id, row }))
    }
}

#[Object]
impl Customer {
    pub(crate) async fn id(&self) -> ID {
        self.id.to_string().into()
    }

    async fn name(&self) -> &str {
        self.row.name.as_str()
    }

    async fn email(&self) -> &str {
        self.row.email.as_str()
    }

    async fn since(&self) -> DateTime {
        DateTime(self.row.since)
    }

    #[graphql(complexity = "page_complexity(first, child_complexity)")]
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Page<Account>> {
        let size = page_size(first)?;
        let list = List::of("accounts", self.id);
        let from = list.place(after.as_deref())?.map_or(0, |[ordinal]| ordinal.saturating_add(1));
        let rows = bank(ctx).models.directory.accounts_of(self.id, u32::try_from(from).unwrap_or(u32::MAX), size + 1);
        let rows = rows.map_err(crate::errors::Failure::from)?;
        let rows = rows.into_iter().map(|row| (list.cursor(&[u64::from(row.ordinal)]), Account { row }));
        Ok(page(rows, size, after.is_none()))
    }
}

/// Who is paid, or who paid.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct Payee {
    name: String,
    iban: Iban,
    currency: Currency,
}

impl Payee {
    /// The one behind an IBAN that this bank does not know, in a payment's currency.
    pub(crate) fn unknown(iban: domain::Iban, currency: domain::Currency) -> Self {
        Self { name: UNKNOWN_NAME.to_owned(), iban: Iban(iban), currency: Currency(currency) }
    }

    /// The one behind an IBAN of this bank.
    pub(crate) fn find(bank: &Bank, iban: domain::Iban) -> Result<Option<Self>, StoreError> {
        let payee = bank.payee(&iban)?;
        Ok(payee.map(|(row, name)| Self { name: name.as_str().to_owned(), iban: Iban(iban), currency: Currency(row.currency) }))
    }

    /// The one whose account this is; none, where the directory does not have it yet.
    pub(crate) fn of_debtor(bank: &Bank, debtor: Debtor, currency: domain::Currency) -> Result<Option<Self>, StoreError> {
        match debtor {
            Debtor::Account(account) => match bank.models.directory.account(account)? {
                Some(row) => Self::find(bank, row.iban),
                None => Ok(None),
            },
            Debtor::Settlement(shard) => Ok(settlement_iban(currency, shard).map(|iban| Self {
                name: BANK_NAME.to_owned(),
                iban: Iban(iban),
                currency: Currency(currency),
            })),
        }
    }
}
