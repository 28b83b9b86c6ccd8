//! Demo data by way of the same commands as everybody's, under ids that the caller chose, so that
//! doing it again changes nothing. This module must never be reachable from outside.

use domain::{AccountId, Currency, CustomerId, Debtor, Email, Iban, IdempotencyKey, Initiator, Money, PersonName, Shard};
use tokio::time::Instant;

use crate::{Bank, bank::Answer, models::Shows};

impl Bank {
    /// Registers a customer, if they are not registered yet.
    ///
    /// # Errors
    /// A sentence.
    pub async fn seed_customer(&self, id: CustomerId, name: PersonName, email: Email) -> Result<(), String> {
        match self.register(id, name, email).await.map_err(|failure| failure.message())? {
            Answer::Done(..) => Ok(()),
            Answer::Refused(reason) => Err(format!("the customer {id} was refused: {reason:?}")),
        }
    }

    /// Opens an account, if it is not open yet; says its IBAN.
    ///
    /// # Errors
    /// A sentence.
    pub async fn seed_account(&self, id: AccountId, holder: CustomerId, currency: Currency) -> Result<Iban, String> {
        match self.open_account(id, holder, currency, 0).await.map_err(|failure| failure.message())? {
            Answer::Done(row, _) => Ok(row.iban),
            Answer::Refused(reason) => Err(format!("the account {id} was refused: {reason:?}")),
        }
    }

    /// Deposits an amount once; says the balance then.
    ///
    /// # Errors
    /// A sentence.
    pub async fn seed_deposit(&self, account: AccountId, amount: Money, key: &IdempotencyKey) -> Result<String, String> {
        let row = self.models.directory.account(account).map_err(|error| error.to_string())?.ok_or("there is no such account")?;
        let debtor = Debtor::Settlement(Shard::of(account, self.models.shards()));
        let order = Self::order(Initiator::Bank, debtor, row.iban, amount, None, Some(key));
        let placed = self.place(order, true).map_err(|failure| failure.message())?;
        let accepted = self.accept(placed).await.map_err(|error| format!("{error:?}"))?;
        let payment = self.settled(accepted, Instant::now()).await;
        self.reach(Some(&payment.position()), Shows::All).await.map_err(|failure| failure.message())?;
        let balance =
            self.overview(account).await.map_err(|failure| failure.message())?.balance(account).map_err(|error| error.to_string())?;
        Ok(Money::from_minor(balance.booked_minor, amount.currency()).to_string())
    }
}
