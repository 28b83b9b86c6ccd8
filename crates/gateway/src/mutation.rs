//! Mutations of customers and accounts. This module must never decide; it asks and tells.

use std::time::Duration;

use async_graphql::{Context, MergedObject, Object, Result, SimpleObject};
use domain::{AccountId, CustomerId, Email, PersonName, TextError, accounts::AccountRefusal, customers::CustomerRefusal, parse_minor};
use projections::CustomerRow;
use uuid::Uuid;

use crate::{
    Bank, Caller,
    account::Account,
    bank::Answer,
    customer::Customer,
    errors::Failure,
    inputs::{
        ChangeCustomerInput, OpenAccountInput, RegisterCustomerInput, SetAccountStatusInput, UserError, UserErrorCode, invalid_amount,
    },
    payment_mutation::PaymentMutation,
    scalars::Position,
    schema::{bank, caller, customer, operator, signed_in},
};

/// What can be changed.
#[derive(MergedObject, Default)]
pub struct Mutation(CustomerMutation, AccountMutation, PaymentMutation);

/// How long a token of somebody who registers is good: a month of development.
const TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[derive(SimpleObject, Default)]
struct RegisterCustomerPayload {
    customer: Option<Customer>,
    /// A bearer token for the new customer, where the gateway issues tokens itself.
    token: Option<String>,
    position: Option<Position>,
    errors: Vec<UserError>,
}

#[derive(SimpleObject, Default)]
struct ChangeCustomerPayload {
    customer: Option<Customer>,
    position: Option<Position>,
    errors: Vec<UserError>,
}

#[derive(SimpleObject, Default)]
struct OpenAccountPayload {
    account: Option<Account>,
    position: Option<Position>,
    errors: Vec<UserError>,
}

#[derive(SimpleObject, Default)]
struct SetAccountStatusPayload {
    account: Option<Account>,
    position: Option<Position>,
    errors: Vec<UserError>,
}

#[derive(Default)]
pub(crate) struct CustomerMutation;

#[Object]
impl CustomerMutation {
    /// Open to anonymous callers. Registers a customer; the e-mail address is unique.
    async fn register_customer(&self, ctx: &Context<'_>, input: RegisterCustomerInput) -> Result<RegisterCustomerPayload> {
        let bank = bank(ctx);
        let mut errors = Vec::new();
        let (name, email) = (name(&input.name, &mut errors), email(&input.email, &mut errors));
        let (Some(name), Some(email)) = (name, email) else { return Ok(RegisterCustomerPayload { errors, ..Default::default() }) };
        let id = CustomerId::from_uuid(Uuid::now_v7());
        Ok(match bank.register(id, name, email).await? {
            Answer::Done(row, position) => RegisterCustomerPayload {
                customer: Some(Customer { id, row }),
                token: token(bank, id),
                position: Some(Position(position)),
                errors,
            },
            Answer::Refused(reason) => RegisterCustomerPayload { errors: vec![refused_customer(reason)], ..Default::default() },
        })
    }

    async fn change_customer(&self, ctx: &Context<'_>, input: ChangeCustomerInput) -> Result<ChangeCustomerPayload> {
        let id = customer(ctx)?;
        let mut errors = Vec::new();
        let name = input.name.as_deref().and_then(|text| name(text, &mut errors));
        let email = input.email.as_deref().and_then(|text| email(text, &mut errors));
        if !errors.is_empty() {
            return Ok(ChangeCustomerPayload { errors, ..Default::default() });
        }
        Ok(match bank(ctx).change(id, name, email).await? {
            Answer::Done(row, position) => changed(id, row, position),
            Answer::Refused(CustomerRefusal::UnknownCustomer) => return Err(Failure::Unauthenticated.into()),
            Answer::Refused(reason @ CustomerRefusal::EmailTaken) => {
                ChangeCustomerPayload { errors: vec![refused_customer(reason)], ..Default::default() }
            }
        })
    }
}

#[derive(Default)]
pub(crate) struct AccountMutation;

#[Object]
impl AccountMutation {
    async fn open_account(&self, ctx: &Context<'_>, input: OpenAccountInput) -> Result<OpenAccountPayload> {
        signed_in(ctx)?;
        let bank = bank(ctx);
        bank.directory().await?;
        let failed = |error| Ok(OpenAccountPayload { errors: vec![error], ..Default::default() });
        let Some(holder) = holder(ctx, &input).await? else {
            return failed(UserError::new(UserErrorCode::UnknownAccount, &["input", "customerId"], "There is no such customer."));
        };
        let currency = input.currency.0;
        if !currency.is_supported() {
            let message = format!("Accounts cannot be held in {currency}.");
            return failed(UserError::new(UserErrorCode::CurrencyNotSupported, &["input", "currency"], message));
        }
        let limit = input.overdraft_limit.as_ref().map_or(Ok(0), |limit| parse_minor(&limit.0, currency));
        let limit = match limit {
            Ok(minor) if minor >= 0 => minor,
            Ok(_) => return failed(invalid_amount(&["input", "overdraftLimit"], domain::MoneyError::Negative)),
            Err(error) => return failed(invalid_amount(&["input", "overdraftLimit"], error)),
        };
        let id = AccountId::of(holder, Uuid::now_v7());
        Ok(match bank.open_account(id, holder, currency, limit).await? {
            Answer::Done(row, position) => {
                OpenAccountPayload { account: Some(Account { row }), position: Some(Position(position)), errors: Vec::new() }
            }
            Answer::Refused(reason) => return Err(Failure::Unavailable(refused_account(reason).to_owned()).into()),
        })
    }

    /// Operators: freeze an account, or open it again.
    async fn set_account_status(&self, ctx: &Context<'_>, input: SetAccountStatusInput) -> Result<SetAccountStatusPayload> {
        operator(ctx)?;
        let failed = |error| Ok(SetAccountStatusPayload { errors: vec![error], ..Default::default() });
        let Ok(id) = input.account_id.parse() else { return failed(UserError::unknown_account(&["input", "accountId"])) };
        match bank(ctx).set_status(id, input.status.into()).await? {
            Answer::Done(row, position) => {
                Ok(SetAccountStatusPayload { account: Some(Account { row }), position: Some(Position(position)), errors: Vec::new() })
            }
            Answer::Refused(reason) => {
                failed(UserError::new(UserErrorCode::UnknownAccount, &["input", "accountId"], refused_account(reason)))
            }
        }
    }
}

/// Whom an account is opened for: the customer that calls, or the one that an operator names; none, where there is no such.
async fn holder(ctx: &Context<'_>, input: &OpenAccountInput) -> Result<Option<CustomerId>, Failure> {
    let id = match (caller(ctx), &input.customer_id, &input.overdraft_limit) {
        (Caller::Anonymous, _, _) => return Err(Failure::Unauthenticated),
        (Caller::Customer(_), Some(_), _) | (Caller::Customer(_), _, Some(_)) => {
            return Err(Failure::Forbidden("customerId and overdraftLimit are for operators of the bank."));
        }
        (Caller::Customer(id), None, None) => {
            // A token is good for a customer that there is.
            return bank(ctx).find(|| bank(ctx).models.directory.customer(id)).await?.map(|_| Some(id)).ok_or(Failure::Unauthenticated);
        }
        (Caller::Operator, None, _) => return Err(Failure::BadInput("An operator must name the customerId.".to_owned())),
        (Caller::Operator, Some(id), _) => match id.parse() {
            Ok(id) => id,
            Err(domain::IdError) => return Ok(None),
        },
    };
    Ok(bank(ctx).find(|| bank(ctx).models.directory.customer(id)).await?.map(|_| id))
}

fn changed(id: CustomerId, row: CustomerRow, position: projections::Position) -> ChangeCustomerPayload {
    ChangeCustomerPayload { customer: Some(Customer { id, row }), position: Some(Position(position)), errors: Vec::new() }
}

fn token(bank: &Bank, id: CustomerId) -> Option<String> {
    bank.issuer.as_ref()?.issue(Caller::Customer(id), TOKEN_LIFETIME)
}

fn name(text: &str, errors: &mut Vec<UserError>) -> Option<PersonName> {
    let invalid = |error: TextError| UserError::new(UserErrorCode::InvalidName, &["input", "name"], format!("The name {error}."));
    PersonName::parse(text).map_err(|error| errors.push(invalid(error))).ok()
}

fn email(text: &str, errors: &mut Vec<UserError>) -> Option<Email> {
    let invalid = |error: TextError| UserError::new(UserErrorCode::InvalidEmail, &["input", "email"], format!("The address {error}."));
    Email::parse(text).map_err(|error| errors.push(invalid(error))).ok()
}

fn refused_customer(reason: CustomerRefusal) -> UserError {
    match reason {
        CustomerRefusal::EmailTaken => {
            UserError::new(UserErrorCode::EmailTaken, &["input", "email"], "Another customer has this e-mail address.")
        }
        CustomerRefusal::UnknownCustomer => UserError::new(UserErrorCode::UnknownAccount, &["input"], "There is no such customer."),
    }
}

const fn refused_account(reason: AccountRefusal) -> &'static str {
    match reason {
        AccountRefusal::UnknownAccount => "There is no such account.",
        AccountRefusal::AccountClosed => "The account was closed for good.",
        AccountRefusal::NoNumbersLeft => "Every account number of this bank is given away.",
    }
}
