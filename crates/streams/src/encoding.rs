//! How events become bytes: MessagePack with field names, so events can gain fields and old logs
//! stay readable. The only place that knows; every record names the encoding in its `Content-Type`.

use serde::{Serialize, de::DeserializeOwned};

/// The `Content-Type` of every record.
pub const CONTENT_TYPE: &str = "application/msgpack";

/// What most events have at most, so that few records are copied while they grow.
const EVENT_BYTES: usize = 384;

/// # Errors
/// Where a value cannot be written, which a test of each event would show.
pub fn encode<E: Serialize>(events: &[E]) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(events.len() * EVENT_BYTES);
    rmp_serde::encode::write_named(&mut bytes, events)?;
    Ok(bytes)
}

/// Fields that are not known are passed over; an event that is not known is an error.
///
/// # Errors
/// Where the bytes are not a list of such events.
pub fn decode<E: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<E>, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize)]
    enum Newer {
        Paid { amount: i64, note: &'static str },
        Unheard {},
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Older {
        Paid { amount: i64 },
    }

    #[test]
    fn an_unknown_field_is_passed_over_and_an_unknown_event_is_not() {
        let paid = encode(&[Newer::Paid { amount: 5, note: "new" }]).expect("encodes");
        assert_eq!(decode::<Older>(&paid).expect("decodes"), [Older::Paid { amount: 5 }]);
        let unheard = encode(&[Newer::Unheard {}]).expect("encodes");
        assert!(decode::<Older>(&unheard).is_err());
    }
}
