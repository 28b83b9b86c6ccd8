//! Why commands were refused, for those who wait to hear it: a refusal is in no row. In memory only: who waited is gone
//! after a restart. This module must never know what a command asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::CommandId;

type Waiting<R> = Arc<Mutex<HashMap<CommandId, Option<R>>>>;

/// The refusals of one kind of command that somebody waits for. There are as many as there are commands under way.
#[derive(Debug)]
pub(crate) struct Refusals<R>(Waiting<R>);

/// One command, for whoever waits for its outcome; it is forgotten when this is dropped.
#[derive(Debug)]
pub struct Awaited<R> {
    command: CommandId,
    waiting: Waiting<R>,
}

impl<R> Default for Refusals<R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<R> Refusals<R> {
    /// Begins to wait; before the command is appended.
    pub(crate) fn wait_for(&self, command: CommandId) -> Awaited<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(command, None);
        Awaited { command, waiting: Arc::clone(&self.0) }
    }

    /// Tells whoever waits that it was refused.
    pub(crate) fn tell(&self, command: CommandId, reason: R) {
        if let Some(told) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&command) {
            *told = Some(reason);
        }
    }
}

impl<R: Copy> Awaited<R> {
    /// Why it was refused; none while it is not known to be.
    #[must_use]
    pub fn refusal(&self) -> Option<R> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(&self.command).copied().flatten()
    }
}

impl<R> Drop for Awaited<R> {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_hears_of_a_refusal_however_many_others_there_are_and_nobody_else_is_kept() {
        let refusals = Refusals::default();
        let command = |number: u32| CommandId::from_uuid(uuid::Uuid::from_u128(u128::from(number)));
        let (first, second) = (refusals.wait_for(command(0)), refusals.wait_for(command(1)));
        (0..100_000).filter(|number| *number != 1).for_each(|number| refusals.tell(command(number), number));
        assert_eq!((first.refusal(), second.refusal()), (Some(0), None));
        drop(first);
        assert_eq!(refusals.0.lock().expect("whole").len(), 1);
    }
}
