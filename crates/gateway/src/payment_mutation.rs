//! Mutations of payments. This module must never decide; it stores orders and tells what became of them.

use async_graphql::{Context, Object, Result, parser::types::Field};
use domain::{AccountId, CommandId, CustomerId, Debtor, IdempotencyKey, Initiator, PaymentId, PaymentOrder, Review, Shard};
use projections::{AccountRow, PaymentStatus, StoreError};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Bank, Caller,
    errors::Failure,
    inputs::{
        DepositInput, InitiatePaymentInput, PaymentWait, ReviewDecision, ReviewPaymentInput, Unread, UserError, UserErrorCode,
        idempotency_key, reference,
    },
    pay::{Accepted, PayError, Placed},
    payment::Payment,
    plain::{AtOnce, Json, Plain},
    scalars::Position,
    schema::{bank, customer, operator},
};

/// Most payments of one bulk call; the contract's number.
const MAX_BULK: usize = 1_000;

pub(crate) struct InitiatePaymentPayload {
    payment: Option<Payment>,
    errors: Vec<UserError>,
}

impl InitiatePaymentPayload {
    pub(crate) const fn refused(errors: Vec<UserError>) -> Self {
        Self { payment: None, errors }
    }

    pub(crate) const fn of(row: projections::PaymentRow) -> Self {
        Self { payment: Some(Payment { row }), errors: Vec::new() }
    }
}

#[Object]
impl InitiatePaymentPayload {
    async fn payment(&self) -> Option<&Payment> {
        self.payment.as_ref()
    }

    async fn position(&self) -> Option<Position> {
        self.payment.as_ref().map(|payment| Position(payment.row.position()))
    }

    async fn errors(&self) -> &[UserError] {
        &self.errors
    }
}

impl Plain for InitiatePaymentPayload {
    fn write(&self, field: &Field, json: &mut Json<'_>) -> Option<()> {
        let selected = &field.selection_set.node;
        match field.name.node.as_str() {
            "payment" => json.optional(self.payment.as_ref(), selected)?,
            "position" => match &self.payment {
                Some(payment) => json.shown(payment.row.position()),
                None => json.text(None),
            },
            "errors" => json.list(&self.errors, |error, json| json.object(error, selected))?,
            _ => return None,
        }
        Some(())
    }
}

#[derive(Default)]
pub(crate) struct PaymentMutation;

#[Object]
impl PaymentMutation {
    /// Stores a payment durably and answers at once, with ACCEPTED; with waitFor FINAL, once it is final or HELD, or after 10 s with the status it has by then.
    async fn initiate_payment(
        &self,
        ctx: &Context<'_>,
        input: InitiatePaymentInput,
        #[graphql(default_with = "Some(PaymentWait::Accepted)")] wait_for: Option<PaymentWait>,
    ) -> Result<AtOnce<InitiatePaymentPayload>> {
        let customer = customer(ctx)?;
        let since = Instant::now();
        let bank = bank(ctx);
        bank.directory().await?;
        let debtor = bank.find(|| debtor(bank, customer, &input)).await?;
        Ok(AtOnce(store(bank, place(bank, order(customer, &input, debtor))?, wait_for, since).await?))
    }

    /// Up to 1,000 payments in one call, each accepted or refused on its own; results in the order of the input.
    #[graphql(complexity = "inputs.len().min(MAX_BULK).saturating_mul(child_complexity).saturating_add(1)")]
    async fn initiate_payments(
        &self,
        ctx: &Context<'_>,
        inputs: Unread<InitiatePaymentInput>,
    ) -> Result<AtOnce<Vec<InitiatePaymentPayload>>> {
        let customer = customer(ctx)?;
        if inputs.len() > MAX_BULK {
            let message = format!("One call takes at most {MAX_BULK} payments.");
            let errors = vec![UserError::new(UserErrorCode::TooManyInputs, &["inputs"], message)];
            return Ok(AtOnce(vec![InitiatePaymentPayload::refused(errors)]));
        }
        let inputs = inputs.read(ctx, "inputs").map_err(|error| Failure::BadInput(error.into_server_error(ctx.item.pos).message))?;
        let bank = bank(ctx);
        bank.directory().await?;
        // Every order has its place before the first is stored, so that overload stores nothing of a bulk.
        let look = || inputs.iter().map(|input| debtor(bank, customer, input)).collect::<Result<Vec<_>, StoreError>>();
        let mut debtors = look().map_err(Failure::from)?;
        if debtors.contains(&None) {
            bank.known_elsewhere().await;
            debtors = look().map_err(Failure::from)?;
        }
        let orders = inputs.iter().zip(debtors).map(|(input, debtor)| order(customer, input, debtor));
        let placed = orders.map(|order| place(bank, order)).collect::<Result<Vec<_>, _>>()?;
        let outcomes = store_all(bank, placed).await;
        let is_part_stored = outcomes.iter().any(|outcome| outcome.as_ref().is_ok_and(|payload| payload.payment.is_some()));
        let mut failures = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let first = failures.next();
        // Of one record nothing was stored, perhaps, and of the next nobody knows.
        let differ = failures.any(|failure| Some(failure) != first);
        let payloads = outcomes.into_iter().collect::<Result<Vec<_>, _>>();
        Ok(AtOnce(payloads.map_err(|failure| if is_part_stored || differ { failure.of_a_part() } else { failure })?))
    }

    /// Operators: credit an account from the bank's own settlement account.
    async fn deposit(&self, ctx: &Context<'_>, input: DepositInput) -> Result<InitiatePaymentPayload> {
        operator(ctx)?;
        let bank = bank(ctx);
        bank.directory().await?;
        let account = match input.account_id.parse::<AccountId>() {
            Ok(id) => bank.find(|| bank.models.directory.account(id)).await?,
            Err(domain::IdError) => None,
        };
        let placed = place(bank, deposit_order(bank, &input, account))?;
        Ok(store(bank, placed, None, Instant::now()).await?)
    }

    /// Operators: release or decline a held payment.
    async fn review_payment(&self, ctx: &Context<'_>, input: ReviewPaymentInput) -> Result<InitiatePaymentPayload> {
        operator(ctx)?;
        let path = ["input", "paymentId"];
        let unknown = || UserError::new(UserErrorCode::UnknownPayment, &path, "There is no such payment.");
        let not_held = || UserError::new(UserErrorCode::NotHeld, &path, "The payment does not wait for a review.");
        bank(ctx).directory().await?;
        let mut errors = Vec::new();
        let note = reference("note", input.note.as_deref(), &mut errors);
        let Ok(id) = input.payment_id.parse::<PaymentId>() else { return Ok(InitiatePaymentPayload::refused(vec![unknown()])) };
        let (shard, row) = match bank(ctx).payment(Caller::Operator, id).await? {
            None => return Ok(InitiatePaymentPayload::refused(vec![unknown()])),
            Some((_, row)) if row.status() != PaymentStatus::Held => return Ok(InitiatePaymentPayload::refused(vec![not_held()])),
            Some(_) if !errors.is_empty() => return Ok(InitiatePaymentPayload::refused(errors)),
            Some(found) => found,
        };
        let command = CommandId::from_uuid(Uuid::now_v7());
        let decision = match input.decision {
            ReviewDecision::Release => domain::ReviewDecision::Release,
            ReviewDecision::Decline => domain::ReviewDecision::Decline,
        };
        let review = Review { command, payment: row.order.id, decision, note, at: streams::now() };
        Ok(match bank(ctx).review(shard, review).await? {
            Some(row) => InitiatePaymentPayload::of(row),
            None => InitiatePaymentPayload::refused(vec![not_held()]),
        })
    }
}

type Checked = std::result::Result<(PaymentOrder, Option<IdempotencyKey>), Vec<UserError>>;

/// The account that is to pay, where it is the customer's.
fn debtor(bank: &Bank, customer: CustomerId, input: &InitiatePaymentInput) -> Result<Option<AccountId>, StoreError> {
    let Ok(id) = input.debtor_account_id.parse::<AccountId>() else { return Ok(None) };
    Ok(bank.models.directory.account(id)?.filter(|account| account.holder == customer).map(|account| account.id))
}

/// The order of a customer; what is wrong with it, where something is.
fn order(customer: CustomerId, input: &InitiatePaymentInput, debtor: Option<AccountId>) -> Checked {
    let mut errors = Vec::new();
    if debtor.is_none() {
        errors.push(UserError::unknown_account(&["input", "debtorAccountId"]));
    }
    let amount = input.amount.money(&mut errors);
    let reference = reference("reference", input.reference.as_deref(), &mut errors);
    let key = idempotency_key(input.idempotency_key.as_deref(), &mut errors);
    match (debtor, amount) {
        (Some(debtor), Some(amount)) if errors.is_empty() => {
            let by = Initiator::Customer(customer);
            Ok((Bank::order(by, Debtor::Account(debtor), input.creditor_iban.0, amount, reference, key.as_ref()), key))
        }
        (_, _) => Err(errors),
    }
}

/// The order of a deposit, from the settlement account on the shard of the account.
fn deposit_order(bank: &Bank, input: &DepositInput, account: Option<AccountRow>) -> Checked {
    let mut errors = Vec::new();
    if account.is_none() {
        errors.push(UserError::unknown_account(&["input", "accountId"]));
    }
    let amount = input.amount.money(&mut errors);
    let reference = reference("reference", input.reference.as_deref(), &mut errors);
    let key = idempotency_key(input.idempotency_key.as_deref(), &mut errors);
    match (account, amount) {
        (Some(account), Some(amount)) if errors.is_empty() => {
            let debtor = Debtor::Settlement(Shard::of(account.id, bank.models.shards()));
            Ok((Bank::order(Initiator::Bank, debtor, account.iban, amount, reference, key.as_ref()), key))
        }
        (_, _) => Err(errors),
    }
}

/// An order with its place, or what is wrong with it.
type PlacedOrRefused<'a> = std::result::Result<Placed<'a>, Vec<UserError>>;

fn place(bank: &Bank, checked: Checked) -> Result<PlacedOrRefused<'_>, Failure> {
    match checked {
        Ok((order, key)) => bank.place(order, key.is_some()).map(Ok),
        Err(errors) => Ok(Err(errors)),
    }
}

async fn store(
    bank: &Bank,
    placed: PlacedOrRefused<'_>,
    wait_for: Option<PaymentWait>,
    since: Instant,
) -> Result<InitiatePaymentPayload, Failure> {
    let placed = match placed {
        Ok(placed) => placed,
        Err(errors) => return Ok(InitiatePaymentPayload::refused(errors)),
    };
    match bank.accept(placed).await {
        Ok(accepted) if wait_for == Some(PaymentWait::Final) => Ok(InitiatePaymentPayload::of(bank.settled(accepted, since).await)),
        accepted => payload(accepted),
    }
}

/// The same for many, in their order; none is waited for until it is final.
async fn store_all(bank: &Bank, all: Vec<PlacedOrRefused<'_>>) -> Vec<Result<InitiatePaymentPayload, Failure>> {
    let (mut placed, mut refused) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for order in all {
        refused.push(order.map(|order| placed.push(order)).err());
    }
    let mut accepted = bank.accept_all(placed).await.into_iter();
    let outcome = |refused: Option<Vec<UserError>>| match refused {
        Some(errors) => Some(Ok(InitiatePaymentPayload::refused(errors))),
        None => accepted.next().map(payload),
    };
    refused.into_iter().filter_map(outcome).collect()
}

fn payload(accepted: std::result::Result<Accepted, PayError>) -> Result<InitiatePaymentPayload, Failure> {
    match accepted {
        Ok(accepted) => Ok(InitiatePaymentPayload::of(accepted.row)),
        Err(PayError::KeyReused) => Ok(InitiatePaymentPayload::refused(vec![UserError::key_reused()])),
        Err(PayError::Failed(failure)) => Err(failure),
    }
}
