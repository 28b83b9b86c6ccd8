//! The accounts service: which accounts exist, whose they are, under which IBAN, and their status.
//! This module must never know balances; those are the ledger's.

use serde::{Deserialize, Serialize};

use crate::{AccountId, CommandId, Currency, CustomerId, Iban, Table, Timestamp, account_iban};

/// Whether an account takes part in payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccountStatus {
    /// It does.
    Open,
    /// Not until it is opened again.
    Frozen,
    /// Never again.
    Closed,
}

/// What gateways ask of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Open an account.
    Open {
        /// This command.
        command: CommandId,
        /// The id that the account is to have.
        account: AccountId,
        /// Whose it is.
        holder: CustomerId,
        /// In which currency.
        currency: Currency,
        /// How far below zero it may go, in minor units, zero or more.
        overdraft_limit_minor: i64,
        /// When.
        at: Timestamp,
    },
    /// Freeze, open again or close.
    SetStatus {
        /// This command.
        command: CommandId,
        /// Which account.
        account: AccountId,
        /// What it is to be.
        status: AccountStatus,
        /// When.
        at: Timestamp,
    },
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    /// There is a new account.
    Opened {
        /// Which.
        account: AccountId,
        /// Whose.
        holder: CustomerId,
        /// Its IBAN, never given to another.
        iban: Iban,
        /// Its currency.
        currency: Currency,
        /// How far below zero it may go, in minor units.
        overdraft_limit_minor: i64,
        /// Since when.
        at: Timestamp,
    },
    /// An account has another status.
    StatusChanged {
        /// Which.
        account: AccountId,
        /// What it is now.
        status: AccountStatus,
        /// Since when.
        at: Timestamp,
    },
    /// A command changed nothing.
    Refused {
        /// Which.
        command: CommandId,
        /// Why.
        reason: AccountRefusal,
    },
}

/// Why a command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountRefusal {
    /// There is no such account.
    UnknownAccount,
    /// It was closed, for good.
    AccountClosed,
    /// Every account number is given away.
    NoNumbersLeft,
}

/// All accounts.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    statuses: Table<AccountId, AccountStatus>,
    opened: u64,
}

impl Accounts {
    /// The rows, for snapshots.
    pub fn rows(&mut self) -> &mut Table<AccountId, AccountStatus> {
        &mut self.statuses
    }

    /// Puts a row back that a snapshot had.
    pub fn load(&mut self, account: AccountId, status: AccountStatus) {
        self.statuses.load(account, status);
        self.opened += 1;
    }

    /// What follows from a command; nothing where it repeats what holds already.
    #[must_use]
    pub fn decide(&self, command: AccountCommand) -> Option<AccountEvent> {
        match command {
            AccountCommand::Open { account, .. } if self.statuses.get(&account).is_some() => None,
            AccountCommand::Open { command, account, holder, currency, overdraft_limit_minor, at } => {
                Some(match account_iban(self.opened) {
                    Some(iban) => AccountEvent::Opened { account, holder, iban, currency, overdraft_limit_minor, at },
                    None => AccountEvent::Refused { command, reason: AccountRefusal::NoNumbersLeft },
                })
            }
            AccountCommand::SetStatus { command, account, status, at } => match self.statuses.get(&account) {
                Some(now) if *now == status => None,
                Some(AccountStatus::Closed) => Some(AccountEvent::Refused { command, reason: AccountRefusal::AccountClosed }),
                Some(AccountStatus::Open | AccountStatus::Frozen) => Some(AccountEvent::StatusChanged { account, status, at }),
                None => Some(AccountEvent::Refused { command, reason: AccountRefusal::UnknownAccount }),
            },
        }
    }

    /// Takes over what the log says.
    pub fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { account, .. } => {
                self.statuses.insert(*account, AccountStatus::Open);
                self.opened += 1;
            }
            AccountEvent::StatusChanged { account, status, .. } => self.statuses.insert(*account, *status),
            AccountEvent::Refused { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn account(n: u128) -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(n))
    }

    fn open(n: u128) -> AccountCommand {
        AccountCommand::Open {
            command: CommandId::from_uuid(Uuid::from_u128(n)),
            account: account(n),
            holder: CustomerId::from_uuid(Uuid::nil()),
            currency: Currency::parse("EUR").expect("in use"),
            overdraft_limit_minor: 0,
            at: Timestamp::default(),
        }
    }

    fn set(n: u128, status: AccountStatus) -> AccountCommand {
        AccountCommand::SetStatus { command: CommandId::from_uuid(Uuid::nil()), account: account(n), status, at: Timestamp::default() }
    }

    fn given(commands: &[AccountCommand]) -> (Accounts, Vec<AccountEvent>) {
        let mut state = Accounts::default();
        let mut events = Vec::new();
        for command in commands {
            if let Some(event) = state.decide(command.clone()) {
                state.evolve(&event);
                events.push(event);
            }
        }
        (state, events)
    }

    #[test]
    fn every_account_gets_its_own_iban_once() {
        let (_, events) = given(&[open(1), open(2), open(1)]);
        let ibans: Vec<_> =
            events.iter().filter_map(|event| if let AccountEvent::Opened { iban, .. } = event { Some(*iban) } else { None }).collect();
        assert_eq!(ibans.len(), 2);
        assert_ne!(ibans[0], ibans[1]);
    }

    #[test]
    fn a_frozen_account_opens_again_and_a_closed_one_never() {
        let (state, _) = given(&[open(1), set(1, AccountStatus::Frozen)]);
        assert!(matches!(state.decide(set(1, AccountStatus::Open)), Some(AccountEvent::StatusChanged { status: AccountStatus::Open, .. })));
        let (state, _) = given(&[open(1), set(1, AccountStatus::Closed)]);
        assert!(matches!(
            state.decide(set(1, AccountStatus::Open)),
            Some(AccountEvent::Refused { reason: AccountRefusal::AccountClosed, .. })
        ));
        assert_eq!(state.decide(set(1, AccountStatus::Closed)), None);
        assert!(matches!(
            state.decide(set(2, AccountStatus::Open)),
            Some(AccountEvent::Refused { reason: AccountRefusal::UnknownAccount, .. })
        ));
    }
}
