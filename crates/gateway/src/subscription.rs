//! Subscriptions: a hint that something changed, then a read of what is newer than what was sent.
//! So nothing is buffered for a subscriber, a slow one skips or catches up, and resuming is the same
//! read. Streams are in boxes, since the library has room for two of each. This module must never hold data for a subscriber.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_graphql::{Context, ID, Result, Subscription};
use domain::{AccountId, PaymentId, Shard};
use futures_util::{Stream, StreamExt as _};
use projections::{AccountRow, BalanceRow, EntryRow, PaymentRow, Watch};
use streams::Trace;

use crate::{
    Bank, Caller,
    account::{Account, Balance},
    errors::Failure,
    payment::Payment,
    pushes::{Push, pushes},
    schema::{bank, signed_in},
    transaction::Transaction,
};

/// Entries read at once while a subscriber catches up.
const CATCH_UP_ENTRIES: usize = 256;

/// How often, and how many times, a payment is looked for that a subscription names: for half a second,
/// which is a hundred times what a read model needs to have it.
const KNOWN_INTERVAL: Duration = Duration::from_millis(10);
const KNOWN_ATTEMPTS: usize = 50;

/// What can be watched.
pub struct Subscription;

#[Subscription]
impl Subscription {
    /// The balance now, then after every change; under load, intermediate values may be skipped, the newest never. With afterVersion, starts at the first newer one.
    async fn balance_changed(
        &self,
        ctx: &Context<'_>,
        account_id: ID,
        after_version: Option<i32>,
    ) -> Result<impl Stream<Item = Result<Balance>> + use<>> {
        let account = visible(ctx, &account_id).await?;
        let bank = Arc::clone(bank(ctx));
        let watch = bank.models.overview(account.id).watch(account.id);
        let after = after_version.map(version).transpose()?;
        let balances = Balances { bank, account, watch, sent: None, after };
        Ok(pushes("balanceChanged", balances, async |balances| balances.next().await.map(Some)).boxed())
    }

    /// Every transaction booked after the given version (after now, without it), each exactly once, in order, without gaps, across reconnects that resume with the last version seen.
    async fn transaction_booked(
        &self,
        ctx: &Context<'_>,
        account_id: ID,
        after_version: Option<i32>,
    ) -> Result<impl Stream<Item = Result<Transaction>> + use<>> {
        let account = visible(ctx, &account_id).await?;
        let bank = Arc::clone(bank(ctx));
        let model = bank.overview(account.id).await?;
        let watch = model.watch(account.id);
        let sent = match after_version {
            Some(after) => version(after)?,
            None => model.balance(account.id).map_err(Failure::from)?.version,
        };
        let entries = Entries { bank, account, watch, sent, read: VecDeque::new(), trace: None };
        Ok(pushes("transactionBooked", entries, async |entries| entries.next().await.map(Some)).boxed())
    }

    /// The payment now, then at every status it reaches; completes after a final one.
    async fn payment_changed(&self, ctx: &Context<'_>, id: ID) -> Result<impl Stream<Item = Result<Payment>> + use<>> {
        let (bank, caller) = (Arc::clone(bank(ctx)), signed_in(ctx)?);
        let id: PaymentId = id.parse().map_err(|_| Failure::UnknownPayment)?;
        bank.directory().await?;
        let shard = known(&bank, caller, id).await?;
        let watch = bank.models.history(shard).watch(id);
        let payments = Payments { bank, shard, id, watch, sent: 0, read: VecDeque::new(), trace: None };
        Ok(pushes("paymentChanged", payments, async |payments| payments.next().await).boxed())
    }
}

/// An account that the caller may see.
async fn visible(ctx: &Context<'_>, id: &ID) -> Result<AccountRow, Failure> {
    let (bank, caller) = (bank(ctx), signed_in(ctx)?);
    bank.directory().await?;
    let id: AccountId = id.parse().map_err(|_| Failure::UnknownAccount)?;
    bank.find(|| Account::find(bank, caller, id)).await?.map(|account| account.row).ok_or(Failure::UnknownAccount)
}

/// The shard of a payment that the caller may see. One that was accepted a moment ago, perhaps by another
/// gateway, is waited for; so is one that does not exist or is not theirs, which must not differ.
async fn known(bank: &Bank, caller: Caller, id: PaymentId) -> Result<Shard, Failure> {
    let mut tick = tokio::time::interval(KNOWN_INTERVAL);
    for _ in 0..KNOWN_ATTEMPTS {
        tick.tick().await;
        if let Some((shard, _)) = bank.payment(caller, id).await? {
            return Ok(shard);
        }
    }
    Err(Failure::UnknownPayment)
}

fn version(version: i32) -> Result<u64, Failure> {
    u64::try_from(version).map_err(|_| Failure::BadInput("afterVersion is the last version that you have, 0 for none.".to_owned()))
}

struct Balances {
    bank: Arc<Bank>,
    account: AccountRow,
    watch: Watch<AccountId>,
    sent: Option<BalanceRow>,
    after: Option<u64>,
}

impl Balances {
    async fn next(&mut self) -> Result<Push<Balance>, Failure> {
        let mut trace = None;
        loop {
            let model = match self.sent {
                Some(_) => self.bank.overview_so_far(self.account.id).await?,
                None => self.bank.overview(self.account.id).await?,
            };
            let row = model.balance(self.account.id)?;
            let is_new = match &self.sent {
                Some(sent) => (row.version, row.pending_minor) != (sent.version, sent.pending_minor),
                None => self.after.is_none_or(|after| row.version > after),
            };
            if is_new {
                self.sent = Some(row);
                return Ok(Push { item: Balance::new(&self.account, &row), trace });
            }
            trace = self.watch.changed().await;
        }
    }
}

struct Entries {
    bank: Arc<Bank>,
    account: AccountRow,
    watch: Watch<AccountId>,
    sent: u64,
    read: VecDeque<EntryRow>,
    /// The one that the last of these tells of.
    trace: Option<Trace>,
}

impl Entries {
    async fn next(&mut self) -> Result<Push<Transaction>, Failure> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                self.sent = entry.version;
                let trace = self.trace.take_if(|_| self.read.is_empty());
                return Ok(Push { item: Transaction { account: self.account.clone(), entry }, trace });
            }
            self.read = self.bank.overview_so_far(self.account.id).await?.entries_up(self.account.id, self.sent, CATCH_UP_ENTRIES)?.into();
            if self.read.is_empty() {
                self.trace = self.watch.changed().await;
            }
        }
    }
}

struct Payments {
    bank: Arc<Bank>,
    shard: Shard,
    id: PaymentId,
    watch: Watch<PaymentId>,
    /// How many of its statuses were sent.
    sent: usize,
    read: VecDeque<PaymentRow>,
    /// The one that the last of these tells of.
    trace: Option<Trace>,
}

impl Payments {
    async fn next(&mut self) -> Result<Option<Push<Payment>>, Failure> {
        loop {
            if let Some(row) = self.read.pop_front() {
                let trace = self.trace.take_if(|_| self.read.is_empty());
                return Ok(Some(Push { item: Payment { row }, trace }));
            }
            let row = self.bank.history(self.shard).await?.payment(self.id)?.ok_or(Failure::UnknownPayment)?;
            let now = row.history.len();
            if self.sent == now && row.is_final() {
                return Ok(None);
            }
            if self.sent == now {
                self.trace = self.watch.changed().await;
                continue;
            }
            // The payment as it is now first; after that, every status that it reached since.
            let first = if self.sent == 0 { now } else { self.sent + 1 };
            self.read.extend((first..=now).map(|statuses| row.at_status(statuses)));
            self.sent = now;
        }
    }
}
