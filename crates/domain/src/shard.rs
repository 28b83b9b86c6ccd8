//! Which shard an account lives on. This never changes: changing it would orphan every account. This module must
//! never know where a shard runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::AccountId;

/// The number of a shard, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of an account among `count` (at least 1): the first half of the id, which all
    /// accounts of one owner share, modulo `count`. So a customer's idempotency keys meet in one log.
    #[must_use]
    pub fn of(account: AccountId, count: u16) -> Self {
        let bytes = account.bytes();
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[..8]);
        // Bytes 6 and 7 carry the UUID version, the same in every id.
        let key = u64::from_be_bytes(half) >> 16;
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u16 fits in one")]
        Self((key % u64::from(count.max(1))) as u16)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::CustomerId;

    #[test]
    fn shards_never_move() {
        let shards = [1u128, 2, 3, 4, 5].map(|n| {
            let owner = CustomerId::from_uuid(Uuid::from_u128(n));
            Shard::of(AccountId::of(owner, Uuid::from_u128(n * 10)), 16).0
        });
        assert_eq!(shards, GOLDEN);
    }

    const GOLDEN: [u16; 5] = [4, 13, 2, 14, 0];

    #[test]
    fn accounts_of_one_owner_share_a_shard_and_owners_spread() {
        let shard = |owner: u128, account: u128| {
            Shard::of(AccountId::of(CustomerId::from_uuid(Uuid::from_u128(owner)), Uuid::from_u128(account)), 4)
        };
        assert!((0..100).all(|account| shard(1, account) == shard(1, 0)));
        let mut seen = [0; 4];
        (0..4_000).for_each(|owner| seen[usize::from(shard(owner, 0).0)] += 1);
        assert!(seen.iter().all(|count| (900..1_100).contains(count)), "{seen:?}");
    }
}
