//! Typed, prefixed ids over UUIDs (RFC 9562). This module must never make a random or timed id:
//! those come in with the input.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not an id of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct IdError;

macro_rules! typed_id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The 16 bytes of the UUID, the form in which stores keep it.
            #[must_use]
            pub const fn bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// The id whose [`Self::bytes`] these are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(self.0.simple().encode_lower(&mut Uuid::encode_buffer()))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_")).and_then(canonical_hex).map(Self).ok_or(IdError)
            }
        }
    };
}

/// One id has one spelling, so only 32 lower-case hexadecimal digits are taken.
fn canonical_hex(text: &str) -> Option<Uuid> {
    let plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| Uuid::try_parse(text).ok()).flatten()
}

typed_id!(CustomerId, "cus", "A customer.");
typed_id!(AccountId, "acc", "A customer's account. Its first half names the owner's shard key, see [`crate::Shard`].");
typed_id!(PaymentId, "pay", "A payment, from its acceptance on.");
typed_id!(CommandId, "cmd", "One command, so that its answer can be told from others'.");

impl AccountId {
    /// An account of `owner`. The first eight bytes are the same for all accounts of one owner: they
    /// decide the shard, so all that one customer does is in one order. The rest comes from `unique`.
    #[must_use]
    pub fn of(owner: CustomerId, unique: Uuid) -> Self {
        let owner_hash = blake3::hash(&owner.bytes());
        let account_hash = blake3::hash(unique.as_bytes());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&owner_hash.as_bytes()[..8]);
        bytes[8..].copy_from_slice(&account_hash.as_bytes()[..8]);
        // RFC 9562, section 5.8: version 8 is the one for layouts of one's own.
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl PaymentId {
    /// The id of the payment that `owner` asked for under an idempotency key (UUID version 5, the
    /// owner's id as the namespace): the same key is the same payment, for ever.
    #[must_use]
    pub fn keyed(owner: Uuid, key: &crate::IdempotencyKey) -> Self {
        Self(Uuid::new_v5(&owner, key.as_str().as_bytes()))
    }
}

/// One entry on one account: the account, and the version that the entry made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId {
    /// The account.
    pub account: AccountId,
    /// The account's version after the entry, from 1.
    pub version: u64,
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("txn_")?;
        f.write_str(self.account.0.simple().encode_lower(&mut Uuid::encode_buffer()))?;
        fmt::LowerHex::fmt(&self.version, f)
    }
}

impl FromStr for TransactionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (account, version) = text.strip_prefix("txn_").and_then(|rest| rest.split_at_checked(32)).ok_or(IdError)?;
        let account = canonical_hex(account).map(AccountId).ok_or(IdError)?;
        let version = u64::from_str_radix(version, 16).map_err(|_| IdError)?;
        let id = Self { account, version };
        if id.to_string() == text { Ok(id) } else { Err(IdError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_have_one_spelling() {
        let account = AccountId::of(CustomerId::from_uuid(Uuid::from_u128(7)), Uuid::from_u128(8));
        assert_eq!(account.to_string().parse(), Ok(account));
        assert_eq!(account.to_string().to_uppercase().parse::<AccountId>(), Err(IdError));
        assert_eq!(account.to_string().parse::<PaymentId>(), Err(IdError));
        let entry = TransactionId { account, version: 300 };
        assert_eq!(entry.to_string().parse(), Ok(entry));
        for wrong in ["txn_", "txn_00", &format!("{entry}g"), &format!("txn_{}012c", account.uuid().simple())] {
            assert_eq!(wrong.parse::<TransactionId>(), Err(IdError), "{wrong}");
        }
    }
}
