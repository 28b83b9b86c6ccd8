//! The customers service: who is a customer, under which name and e-mail address.
//! This module must never know accounts or payments.

use serde::{Deserialize, Serialize};

use crate::{CommandId, CustomerId, Email, PersonName, Table, Timestamp};

/// What gateways ask of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomerCommand {
    /// Make a new customer.
    Register {
        /// This command.
        command: CommandId,
        /// The id that the customer is to have.
        customer: CustomerId,
        /// Name.
        name: PersonName,
        /// E-mail address, unique.
        email: Email,
        /// When.
        at: Timestamp,
    },
    /// Change what is given.
    Change {
        /// This command.
        command: CommandId,
        /// Whom.
        customer: CustomerId,
        /// New name.
        name: Option<PersonName>,
        /// New e-mail address.
        email: Option<Email>,
        /// When.
        at: Timestamp,
    },
}

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomerEvent {
    /// There is a new customer.
    Registered {
        /// Who.
        customer: CustomerId,
        /// Name.
        name: PersonName,
        /// E-mail address.
        email: Email,
        /// Since when.
        at: Timestamp,
    },
    /// A customer has a new name or address; both are given as they are now.
    Changed {
        /// Who.
        customer: CustomerId,
        /// Name.
        name: PersonName,
        /// E-mail address.
        email: Email,
        /// When.
        at: Timestamp,
    },
    /// A command changed nothing.
    Refused {
        /// Which.
        command: CommandId,
        /// Why.
        reason: CustomerRefusal,
    },
}

/// Why a command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomerRefusal {
    /// Another customer has the address.
    EmailTaken,
    /// There is no such customer.
    UnknownCustomer,
}

/// A customer as the service knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Name.
    pub name: PersonName,
    /// E-mail address.
    pub email: Email,
}

/// All customers.
#[derive(Debug, Clone, Default)]
pub struct Customers {
    customers: Table<CustomerId, Customer>,
    by_email: std::collections::HashMap<String, CustomerId>,
}

impl Customers {
    /// The rows, for snapshots.
    pub fn rows(&mut self) -> &mut Table<CustomerId, Customer> {
        &mut self.customers
    }

    /// Puts a row back that a snapshot had.
    pub fn load(&mut self, id: CustomerId, customer: Customer) {
        self.by_email.insert(customer.email.key(), id);
        self.customers.load(id, customer);
    }

    /// What follows from a command; nothing where it repeats what holds already.
    #[must_use]
    pub fn decide(&self, command: CustomerCommand) -> Option<CustomerEvent> {
        match command {
            CustomerCommand::Register { command, customer, name, email, at } => match self.customers.get(&customer) {
                Some(_) => None,
                None if self.is_taken(&email, customer) => Some(CustomerEvent::Refused { command, reason: CustomerRefusal::EmailTaken }),
                None => Some(CustomerEvent::Registered { customer, name, email, at }),
            },
            CustomerCommand::Change { command, customer, name, email, at } => {
                let Some(now) = self.customers.get(&customer) else {
                    return Some(CustomerEvent::Refused { command, reason: CustomerRefusal::UnknownCustomer });
                };
                let next = Customer { name: name.unwrap_or_else(|| now.name.clone()), email: email.unwrap_or_else(|| now.email.clone()) };
                if next == *now {
                    None
                } else if self.is_taken(&next.email, customer) {
                    Some(CustomerEvent::Refused { command, reason: CustomerRefusal::EmailTaken })
                } else {
                    Some(CustomerEvent::Changed { customer, name: next.name, email: next.email, at })
                }
            }
        }
    }

    /// Takes over what the log says.
    pub fn evolve(&mut self, event: &CustomerEvent) {
        match event {
            CustomerEvent::Registered { customer, name, email, .. } | CustomerEvent::Changed { customer, name, email, .. } => {
                if let Some(before) = self.customers.get(customer) {
                    self.by_email.remove(&before.email.key());
                }
                self.by_email.insert(email.key(), *customer);
                self.customers.insert(*customer, Customer { name: name.clone(), email: email.clone() });
            }
            CustomerEvent::Refused { .. } => {}
        }
    }

    fn is_taken(&self, email: &Email, by_other_than: CustomerId) -> bool {
        self.by_email.get(&email.key()).is_some_and(|holder| *holder != by_other_than)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> CustomerId {
        CustomerId::from_uuid(Uuid::from_u128(n))
    }

    fn register(n: u128, email: &str) -> CustomerCommand {
        CustomerCommand::Register {
            command: CommandId::from_uuid(Uuid::from_u128(n)),
            customer: id(n),
            name: PersonName::parse("Lisa").expect("a name"),
            email: Email::parse(email).expect("an address"),
            at: Timestamp::default(),
        }
    }

    fn change(n: u128, email: &str) -> CustomerCommand {
        CustomerCommand::Change {
            command: CommandId::from_uuid(Uuid::from_u128(n)),
            customer: id(n),
            name: None,
            email: Email::parse(email).ok(),
            at: Timestamp::default(),
        }
    }

    fn given(commands: &[CustomerCommand]) -> Customers {
        let mut state = Customers::default();
        for command in commands {
            if let Some(event) = state.decide(command.clone()) {
                state.evolve(&event);
            }
        }
        state
    }

    fn refusal(event: Option<CustomerEvent>) -> Option<CustomerRefusal> {
        match event {
            Some(CustomerEvent::Refused { reason, .. }) => Some(reason),
            Some(CustomerEvent::Registered { .. } | CustomerEvent::Changed { .. }) | None => None,
        }
    }

    #[test]
    fn an_address_belongs_to_one_customer_whatever_its_case() {
        let state = given(&[register(1, "lisa@example.org")]);
        assert_eq!(refusal(state.decide(register(2, "LISA@example.org"))), Some(CustomerRefusal::EmailTaken));
    }

    #[test]
    fn a_repeated_registration_changes_nothing() {
        let state = given(&[register(1, "lisa@example.org")]);
        assert_eq!(state.decide(register(1, "lisa@example.org")), None);
    }

    #[test]
    fn a_changed_address_is_free_again_and_the_new_one_taken() {
        let state = given(&[register(1, "old@example.org"), change(1, "new@example.org")]);
        assert!(matches!(state.decide(register(2, "old@example.org")), Some(CustomerEvent::Registered { .. })));
        assert_eq!(refusal(state.decide(register(2, "new@example.org"))), Some(CustomerRefusal::EmailTaken));
        assert_eq!(refusal(state.decide(change(9, "x@example.org"))), Some(CustomerRefusal::UnknownCustomer));
        assert_eq!(state.decide(change(1, "new@example.org")), None);
    }
}
