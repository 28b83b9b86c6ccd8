//! Customers, each with an account, made by way of the command logs, since HTTP would take hours for
//! millions. Ids are computed from the ordinal, so that nothing of millions is kept. This module must
//! never know how a bank runs.

use domain::{
    AccountId, CommandId, Currency, CustomerId, Debtor, Email, Iban, IdempotencyKey, Initiator, Money, PaymentId, PaymentOrder, PersonName,
    Shard, account_iban, accounts::AccountCommand, customers::CustomerCommand, payments::PaymentCommand,
};
use uuid::{Builder, Uuid};

/// What every account has to begin with, in minor units: far more than a run moves.
const DEPOSIT_MINOR: i64 = 10_000_000;
/// The millisecond since 1970 in which the first customer came; each came a millisecond later.
const FIRST_MS: u64 = 1_700_000_000_000;
const CURRENCY: &str = "EUR";

/// The accounts of a bank that nobody else opens accounts at.
#[derive(Debug, Clone, Copy)]
pub struct Accounts {
    /// How many.
    pub count: u64,
    /// Over how many shards.
    pub shards: u16,
    currency: Currency,
}

impl Accounts {
    /// As many, over as many shards.
    ///
    /// # Errors
    /// Where the currency is not known.
    pub fn new(count: u64, shards: u16) -> anyhow::Result<Self> {
        Ok(Self { count, shards, currency: Currency::parse(CURRENCY)? })
    }

    /// The customer of this ordinal, from 0: an id as the gateway makes them, in the order of time.
    #[must_use]
    pub fn customer(&self, ordinal: u64) -> CustomerId {
        let mut random = [0; 10];
        random.copy_from_slice(&Uuid::new_v5(&Uuid::NAMESPACE_OID, &ordinal.to_be_bytes()).as_bytes()[..10]);
        CustomerId::from_uuid(Builder::from_unix_timestamp_millis(FIRST_MS + ordinal, &random).into_uuid())
    }

    /// Their account.
    #[must_use]
    pub fn account(&self, ordinal: u64) -> AccountId {
        AccountId::of(self.customer(ordinal), Uuid::from_u128(u128::from(ordinal)))
    }

    /// Its IBAN: accounts get theirs in the order in which they are opened.
    ///
    /// # Errors
    /// Where none is left.
    pub fn iban(&self, ordinal: u64) -> anyhow::Result<Iban> {
        account_iban(ordinal).ok_or_else(|| anyhow::anyhow!("no account number is left"))
    }

    /// Its shard.
    #[must_use]
    pub fn shard(&self, ordinal: u64) -> Shard {
        Shard::of(self.account(ordinal), self.shards)
    }

    /// The command that registers a customer.
    ///
    /// # Errors
    /// Where the name will not do.
    pub fn registration(&self, ordinal: u64) -> anyhow::Result<CustomerCommand> {
        let (command, customer) = (command(ordinal), self.customer(ordinal));
        let (name, email) = (PersonName::parse(&format!("Holder {ordinal}"))?, Email::parse(&format!("holder{ordinal}@example.org"))?);
        Ok(CustomerCommand::Register { command, customer, name, email, at: streams::now() })
    }

    /// The command that opens their account.
    #[must_use]
    pub fn opening(&self, ordinal: u64) -> AccountCommand {
        let (account, holder) = (self.account(ordinal), self.customer(ordinal));
        let (currency, at) = (self.currency, streams::now());
        AccountCommand::Open { command: command(ordinal), account, holder, currency, overdraft_limit_minor: 0, at }
    }

    /// The deposit that they begin with, from the settlement account of their own shard.
    ///
    /// # Errors
    /// Where the account has no IBAN.
    pub fn deposit(&self, ordinal: u64) -> anyhow::Result<PaymentOrder> {
        let key = IdempotencyKey::parse(&format!("deposit-{ordinal}"))?;
        Ok(PaymentOrder {
            id: PaymentId::keyed(Initiator::Bank.key_namespace(), &key),
            by: Initiator::Bank,
            debtor: Debtor::Settlement(self.shard(ordinal)),
            creditor: self.iban(ordinal)?,
            amount: Money::from_minor(DEPOSIT_MINOR, self.currency),
            reference: None,
            at: streams::now(),
        })
    }

    /// A cent from one account to another, with the id of a payment that has an idempotency key: such ids
    /// lie anywhere among those that were seen, which is harder to look up than one after another.
    ///
    /// # Errors
    /// Where the account has no IBAN.
    pub fn payment(&self, number: u64, from: u64, to: u64) -> anyhow::Result<PaymentOrder> {
        let customer = self.customer(from);
        Ok(PaymentOrder {
            id: PaymentId::keyed(customer.uuid(), &IdempotencyKey::parse(&number.to_string())?),
            by: Initiator::Customer(customer),
            debtor: Debtor::Account(self.account(from)),
            creditor: self.iban(to)?,
            amount: Money::from_minor(1, self.currency),
            reference: None,
            at: streams::now(),
        })
    }
}

/// The command log's entry of an order.
#[must_use]
pub fn initiated(order: PaymentOrder) -> PaymentCommand {
    PaymentCommand::Initiated(PaymentOrder { at: streams::now(), ..order })
}

fn command(ordinal: u64) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(u128::from(ordinal) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_spread_over_the_shards() {
        let accounts = Accounts::new(2_000, 4).expect("accounts");
        let ids: std::collections::BTreeSet<_> = (0..2_000).map(|ordinal| accounts.account(ordinal)).collect();
        assert_eq!(ids.len(), 2_000);
        let mut on = [0; 4];
        (0..2_000).for_each(|ordinal| on[usize::from(accounts.shard(ordinal).0)] += 1);
        assert!(on.iter().all(|count| (400..600).contains(count)), "{on:?}");
        assert!(accounts.customer(1) > accounts.customer(0));
    }

    #[test]
    fn a_payment_debits_its_customers_own_account() {
        let accounts = Accounts::new(10, 1).expect("accounts");
        let order = accounts.payment(7, 3, 4).expect("an order");
        assert_eq!((order.debtor, order.by), (Debtor::Account(accounts.account(3)), Initiator::Customer(accounts.customer(3))));
        assert_eq!(order.creditor, accounts.iban(4).expect("an IBAN"));
        assert_ne!(order.id, accounts.payment(8, 3, 4).expect("an order").id);
    }
}
