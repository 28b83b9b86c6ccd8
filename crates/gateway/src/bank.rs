//! What resolvers call: commands that wait for their answer, and reads that wait for their position.
//! This module must never know GraphQL types.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{
    AccountId, CommandId, Currency, CustomerId, Email, Iban, PaymentId, PersonName, Shard,
    accounts::{AccountCommand, AccountRefusal, AccountStatus},
    customers::{CustomerCommand, CustomerRefusal},
    payments::PaymentCommand,
};
use projections::{
    AccountRow, CustomerRow, Directory, Overview, PaymentHistory, PaymentRow, PaymentStatus, Position, Projection, ReadModel, StoreError,
    count_payments,
};
use serde::Serialize;
use streams::{CommandAppender, Host, LogName};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    Caller, Issuer, Models,
    errors::Failure,
    models::{READ_WAIT, Shows},
    recent::RecentKeys,
};

/// How long it is waited for what another gateway has just made: a hundred times what a read model needs to have it.
const KNOWN_WAIT: Duration = Duration::from_millis(500);
/// How long a read waits for its position before it is looked whether there is such a place: a hundred times what a read model needs.
const SOON: Duration = Duration::from_millis(250);
/// How many look for that at once, each with a request at a time to nats-server.
const LOOKS: usize = 16;
/// How long a command waits for the answer of its service. When it is over, the command is stored
/// and will still be acted on.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How a command ended that its service answered.
pub(crate) enum Answer<T, R> {
    /// It did what was asked; readable from this position on.
    Done(T, Position),
    /// It changed nothing.
    Refused(R),
}

/// Everything behind the schema.
#[derive(Debug)]
pub struct Bank {
    /// What reads are answered from.
    pub models: Arc<Models>,
    /// Gives tokens to customers that register; none in production.
    pub issuer: Option<Issuer>,
    pub(crate) host: Host,
    pub(crate) payments: Vec<CommandAppender<PaymentCommand>>,
    /// The logs that these append to.
    pub(crate) order_logs: Vec<LogName>,
    pub(crate) recent: RecentKeys,
    /// The last record of each shard's orders that this gateway had acknowledged.
    pub(crate) acknowledged: Arc<[AtomicU64]>,
    /// When it was begun to look for what other gateways have made, the last time.
    looked_elsewhere: Arc<Mutex<Option<Instant>>>,
    /// For those who ask whether a position exists.
    looks: Semaphore,
    customers: CommandAppender<CustomerCommand>,
    accounts: CommandAppender<AccountCommand>,
}

impl Bank {
    /// A gateway's inside, on models that are being folded; appends until the host stops.
    #[must_use]
    pub fn new(models: Arc<Models>, host: &Host, issuer: Option<Issuer>) -> Self {
        let seen: Arc<dyn Fn() -> streams::Cursor + Send + Sync> = {
            let models = Arc::clone(&models);
            Arc::new(move || models.seen())
        };
        let shards = host.topology.shards;
        let order_logs: Vec<LogName> = (0..shards).map(payment_commands).collect();
        let acknowledged: Arc<[AtomicU64]> = (0..shards).map(|_| AtomicU64::new(0)).collect();
        let orders = |(shard, log): (usize, &LogName)| {
            let acknowledged = Arc::clone(&acknowledged);
            let stored = move |seq, commands: &[PaymentCommand]| {
                acknowledged[shard].fetch_max(seq, Ordering::Relaxed);
                let orders = commands.iter().filter(|command| matches!(command, PaymentCommand::Initiated(_))).count();
                count_payments(PaymentStatus::Accepted, orders as u64);
            };
            CommandAppender::start_with(host.broker.log(log.clone()), Arc::clone(&seen), host.stop.clone(), host.health.clone(), stored)
        };
        Self {
            issuer,
            payments: order_logs.iter().enumerate().map(orders).collect(),
            order_logs,
            customers: commands_to(host, customer_commands(), &seen),
            accounts: commands_to(host, account_commands(), &seen),
            recent: RecentKeys::default(),
            looked_elsewhere: Arc::default(),
            looks: Semaphore::new(LOOKS),
            acknowledged,
            models,
            host: host.clone(),
        }
    }

    /// The directory, once it can be asked.
    pub(crate) async fn directory(&self) -> Result<&ReadModel<Directory>, Failure> {
        self.level(&self.models.directory).await
    }

    /// The overview that has `account`, once it can be asked and is no older than the payments that were shown.
    pub(crate) async fn overview(&self, account: AccountId) -> Result<&ReadModel<Overview>, Failure> {
        let model = self.overview_so_far(account).await?;
        if self.models.reach_shown(account).await { Ok(model) } else { Err(Failure::StaleRead) }
    }

    /// The same as far as it has come: who is told of each change has the next in a moment.
    pub(crate) async fn overview_so_far(&self, account: AccountId) -> Result<&ReadModel<Overview>, Failure> {
        self.level(self.models.overview(account)).await
    }

    /// The payments of a shard, once they can be asked.
    pub(crate) async fn history(&self, shard: Shard) -> Result<&ReadModel<PaymentHistory>, Failure> {
        self.level(self.models.history(shard)).await
    }

    /// Waits, bounded, until a model shows at least what it did before a restart.
    async fn level<'a, P: Projection>(&self, model: &'a ReadModel<P>) -> Result<&'a ReadModel<P>, Failure> {
        if self.host.health.is_halted(model.name()) {
            return Err(Failure::Unavailable("This part of the bank has halted and waits for its operators.".to_owned()));
        }
        match tokio::time::timeout(READ_WAIT, model.level()).await {
            Ok(()) => Ok(model),
            Err(_) => Err(Failure::not_level()),
        }
    }

    /// Waits, bounded, until reads show at least `position`; for long only where there is such a place.
    pub(crate) async fn reach(&self, position: Option<&Position>, shows: Shows) -> Result<(), Failure> {
        self.directory().await?;
        let Some(position) = position else { return Ok(()) };
        if position.places().any(|(log, _)| self.host.topology.all().all(|(name, _)| name != *log)) {
            return Err(Failure::StaleRead);
        }
        let is_reached = tokio::select! {
            // Most are there already, and need no timer.
            biased;
            is_reached = self.models.reach(position, shows) => is_reached,
            () = self.found_missing(position) => false,
        };
        if is_reached { Ok(()) } else { Err(Failure::StaleRead) }
    }

    /// Ends a moment later if a log has not come to `position`, as a position of another bank, or one that was made up: to wait for these
    /// would keep places that others need.
    async fn found_missing(&self, position: &Position) {
        tokio::time::sleep(SOON).await;
        for (log, seq) in position.places() {
            let Ok(_one_of_few) = self.looks.acquire().await else { break };
            if self.host.broker.log(log.clone()).info().await.is_ok_and(|info| info.last < *seq) {
                return;
            }
        }
        std::future::pending().await
    }

    /// What is looked up in the directory; once more, where it is not there, with what other gateways know.
    pub(crate) async fn find<T>(&self, look: impl Fn() -> Result<Option<T>, StoreError>) -> Result<Option<T>, Failure> {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        self.known_elsewhere().await;
        Ok(look()?)
    }

    /// Waits, bounded, until the directory has all customers and accounts that there were when this was asked: what is not there
    /// may have been made a moment ago at another gateway. Where that cannot be asked, what is known here is the answer.
    /// All who ask meanwhile share the next look, so that unknown ids, however many, leave nats-server time for the rest.
    pub(crate) async fn known_elsewhere(&self) {
        if !self.host.broker.link().borrow().connected {
            return;
        }
        let (asked, models, broker) = (Instant::now(), Arc::clone(&self.models), self.host.broker.clone());
        let looked = Arc::clone(&self.looked_elsewhere);
        let all = async move {
            let mut looked = looked.lock().await;
            if looked.is_some_and(|began| began >= asked) {
                return;
            }
            let began = Instant::now();
            for log in ["customers", "accounts"].map(|log| LogName::new(log, None)) {
                if let Ok(info) = broker.log(log.clone()).info().await {
                    models.directory_reaches(&log, info.last, KNOWN_WAIT).await;
                }
            }
            *looked = Some(began);
        };
        // In a task of its own, since others wait for it: whoever asked may not be polled for long, while a slow client has to be
        // told of something else.
        let _ = tokio::spawn(tokio::time::timeout(KNOWN_WAIT, all)).await;
    }

    /// A payment that `caller` may see, and the shard it lives on. One that this gateway said was accepted
    /// is waited for. One that is not theirs takes the way of one that does not exist, waits included.
    pub(crate) async fn payment(&self, caller: Caller, id: PaymentId) -> Result<Option<(Shard, PaymentRow)>, Failure> {
        let find = || self.models.payment(id, |row| may_see(&self.models, caller, row));
        if let Ok(Some(found)) = find() {
            return Ok(Some(found));
        }
        self.own_payments().await;
        match find() {
            Err(StoreError::NotLevel) => {}
            found => return Ok(found?),
        }
        for shard in 0..self.models.shards() {
            self.history(Shard(shard)).await?;
        }
        Ok(find()?)
    }

    /// Registers a customer under `id`; the same again changes nothing.
    pub(crate) async fn register(
        &self,
        id: CustomerId,
        name: PersonName,
        email: Email,
    ) -> Result<Answer<CustomerRow, CustomerRefusal>, Failure> {
        let command = new_command();
        self.customer_command(id, command, CustomerCommand::Register { command, customer: id, name, email, at: streams::now() }).await
    }

    /// Changes what is given of a customer.
    pub(crate) async fn change(
        &self,
        id: CustomerId,
        name: Option<PersonName>,
        email: Option<Email>,
    ) -> Result<Answer<CustomerRow, CustomerRefusal>, Failure> {
        let command = new_command();
        self.customer_command(id, command, CustomerCommand::Change { command, customer: id, name, email, at: streams::now() }).await
    }

    async fn customer_command(
        &self,
        id: CustomerId,
        command: CommandId,
        body: CustomerCommand,
    ) -> Result<Answer<CustomerRow, CustomerRefusal>, Failure> {
        let awaited = self.models.directory.await_customer_command(command);
        let seq = self.customers.append(body).await?;
        let directory = self.answered(&customer_commands(), seq).await?;
        match awaited.refusal() {
            Some(reason) => Ok(Answer::Refused(reason)),
            None => {
                let row = directory.customer(id)?.ok_or(Failure::StaleRead)?;
                Ok(Answer::Done(row, self.directory_position("customers")))
            }
        }
    }

    /// Opens an account under `id`; the same again changes nothing.
    pub(crate) async fn open_account(
        &self,
        id: AccountId,
        holder: CustomerId,
        currency: Currency,
        overdraft_limit_minor: i64,
    ) -> Result<Answer<AccountRow, AccountRefusal>, Failure> {
        let command = new_command();
        let body = AccountCommand::Open { command, account: id, holder, currency, overdraft_limit_minor, at: streams::now() };
        self.account_command(id, command, body).await
    }

    /// Sets an account's status.
    pub(crate) async fn set_status(
        &self,
        account: AccountId,
        status: AccountStatus,
    ) -> Result<Answer<AccountRow, AccountRefusal>, Failure> {
        let command = new_command();
        self.account_command(account, command, AccountCommand::SetStatus { command, account, status, at: streams::now() }).await
    }

    async fn account_command(
        &self,
        id: AccountId,
        command: CommandId,
        body: AccountCommand,
    ) -> Result<Answer<AccountRow, AccountRefusal>, Failure> {
        let awaited = self.models.directory.await_account_command(command);
        let seq = self.accounts.append(body).await?;
        let directory = self.answered(&account_commands(), seq).await?;
        match awaited.refusal() {
            Some(reason) => Ok(Answer::Refused(reason)),
            None => {
                let row = directory.account(id)?.ok_or(Failure::StaleRead)?;
                Ok(Answer::Done(row, self.directory_position("accounts")))
            }
        }
    }

    /// The directory, once it has the answer to a command.
    async fn answered(&self, commands: &LogName, seq: u64) -> Result<&ReadModel<Directory>, Failure> {
        if self.models.directory_reaches(commands, seq, ANSWER_WAIT).await {
            self.directory().await
        } else {
            Err(Failure::Unavailable(
                "This is stored and will be done, but its service does not answer now. Look again in a moment.".to_owned(),
            ))
        }
    }

    fn directory_position(&self, log: &str) -> Position {
        let log = LogName::new(log, None);
        let seq = self.models.directory.progress().borrow().cursor.get(&log);
        Position::at(log, seq)
    }

    /// The account behind an IBAN, with its holder's name.
    pub(crate) fn payee(&self, iban: &Iban) -> Result<Option<(AccountRow, PersonName)>, StoreError> {
        let Some(account) = self.models.directory.account_by_iban(iban)? else { return Ok(None) };
        Ok(self.models.directory.customer(account.holder)?.map(|holder| (account, holder.name)))
    }
}

/// What appends to a log of commands that nobody else has to hear of.
fn commands_to<C: Serialize + Send + Sync + 'static>(
    host: &Host,
    log: LogName,
    seen: &Arc<dyn Fn() -> streams::Cursor + Send + Sync>,
) -> CommandAppender<C> {
    CommandAppender::start_with(host.broker.log(log), Arc::clone(seen), host.stop.clone(), host.health.clone(), |_, _| {})
}

/// Whether a payment is any of the caller's business: it debits an account of theirs, or has credited
/// one. Who is to be paid sees a payment once it pays.
fn may_see(models: &Models, caller: Caller, row: &PaymentRow) -> Result<bool, StoreError> {
    let customer = match caller {
        Caller::Anonymous => return Ok(false),
        Caller::Operator => return Ok(true),
        Caller::Customer(customer) => customer,
    };
    let credited = row.creditor.filter(|_| row.status() == PaymentStatus::Booked);
    for account in row.order.debtor.account().into_iter().chain(credited) {
        if models.directory.account(account)?.is_some_and(|account| account.holder == customer) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn new_command() -> CommandId {
    CommandId::from_uuid(Uuid::now_v7())
}

fn customer_commands() -> LogName {
    LogName::new("customer-commands", None)
}

fn account_commands() -> LogName {
    LogName::new("account-commands", None)
}

/// The log that takes orders of a shard's accounts.
fn payment_commands(shard: u16) -> LogName {
    LogName::new("payment-commands", Some(shard))
}
