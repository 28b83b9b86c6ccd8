//! scratch
use std::time::Instant;
use domain::{*, fraud::*};
use serde::{Serialize, de::DeserializeOwned};
fn time<T>(what: &str, bytes: usize, n: u32, mut f: impl FnMut() -> T) {
    let mut best = u128::MAX;
    for _ in 0..7 { let t = Instant::now(); for _ in 0..n { std::hint::black_box(f()); } best = best.min(t.elapsed().as_nanos()); }
    println!("{what}: {} ns/event, {} bytes/event", best / u128::from(n) / 256, bytes / 256);
}
fn all<E: Serialize + DeserializeOwned>(name: &str, events: &[E]) {
    let named = rmp_serde::to_vec_named(events).unwrap();
    time(&format!("{name} rmp named encode"), named.len(), 200, || rmp_serde::to_vec_named(events).unwrap());
    time(&format!("{name} rmp named decode"), named.len(), 200, || rmp_serde::from_slice::<Vec<E>>(&named).unwrap());
    let array = rmp_serde::to_vec(events).unwrap();
    time(&format!("{name} rmp array encode"), array.len(), 200, || rmp_serde::to_vec(events).unwrap());
    time(&format!("{name} rmp array decode"), array.len(), 200, || rmp_serde::from_slice::<Vec<E>>(&array).unwrap());
    let json = serde_json::to_vec(events).unwrap();
    time(&format!("{name} json encode"), json.len(), 200, || serde_json::to_vec(events).unwrap());
    time(&format!("{name} json decode"), json.len(), 200, || serde_json::from_slice::<Vec<E>>(&json).unwrap());
    let pc = postcard::to_allocvec(events).unwrap();
    time(&format!("{name} postcard encode"), pc.len(), 200, || postcard::to_allocvec(events).unwrap());
    time(&format!("{name} postcard decode"), pc.len(), 200, || postcard::from_bytes::<Vec<E>>(&pc).unwrap());
}
fn main() {
    let order = |n: u128| PaymentOrder { id: PaymentId::from_bytes((n << 64 | 77).to_be_bytes()), by: Initiator::Customer(CustomerId::from_bytes([7; 16])), debtor: Debtor::Account(AccountId::from_bytes([9; 16])), creditor: account_iban(n as u64).unwrap(), amount: Money::from_minor(1234, Currency::parse("EUR").unwrap()), reference: None, at: Timestamp::from_micros(1_790_000_000_000_000) };
    let checked: Vec<Checked> = (0..256).map(|n| Checked { order: order(n), creditor: AccountId::from_bytes([3; 16]), verdict: Verdict::Passed, review: None, at: Timestamp::from_micros(1_790_000_000_000_000) }).collect();
    all("checked", &checked);
    let iban = account_iban(5).unwrap();
    let text = iban.as_str().to_owned();
    time("iban parse x256", 0, 200, || for _ in 0..256 { std::hint::black_box(Iban::parse(&text).unwrap()); });
    time("currency parse x256", 0, 200, || for _ in 0..256 { std::hint::black_box(Currency::parse("EUR").unwrap()); });
}
