//! What load clients ask of a server by the contract, and what a good answer is. Nothing is parsed: looking for
//! a few words in an answer costs the machine little. This module must never know which server it is.

use std::cell::Cell;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::{
    Method, Request,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use memchr::memmem;
use uuid::Uuid;

use crate::{entries::SCREEN, party::Party};

const TYPENAME: &str = "{ __typename }";
const PAY: &str =
    "mutation Pay($input: InitiatePaymentInput!) { initiatePayment(input: $input) { payment { id status } errors { code message } } }";
const PAY_BULK: &str = "mutation PayBulk($inputs: [InitiatePaymentInput!]!) { initiatePayments(inputs: $inputs) { payment { id status } errors { code message } } }";
const READ: &str = "query Screen($id: ID!) { account(id: $id) { balance { booked { amount currency } available { amount currency } version asOf } \
    transactions(first: 20) { nodes { id direction amount { amount currency } balanceAfter { amount currency } version reference bookedAt } } } }";

/// Longest part of an answer that is shown where it is not as it should be.
const SHOWN_BYTES: usize = 400;

/// A request that is ready to be sent.
pub(crate) struct Prepared {
    pub(crate) request: Request<Full<Bytes>>,
    pub(crate) expected: Expected,
}

/// What a good answer to it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Typename,
    /// A balance, and a screen full of entries.
    Account,
    /// As many payments, none of them refused.
    Payments(usize),
}

impl Expected {
    pub(crate) const fn payments(self) -> usize {
        match self {
            Self::Payments(count) => count,
            Self::Typename | Self::Account => 0,
        }
    }

    pub(crate) fn check(self, body: &[u8]) -> Result<(), String> {
        let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
        let is_good = match self {
            Self::Typename => has(r#"{"__typename":"Query"}"#),
            Self::Account => {
                let entries = memmem::find_iter(body, br#"{"id":"txn_"#).count();
                has(r#""account":{"balance":{"booked":"#) && entries == SCREEN && !has(r#""errors":"#)
            }
            Self::Payments(count) => {
                let accepted = memmem::find_iter(body, br#""errors":[]}"#).count();
                accepted == count && !has(r#""payment":null"#) && !has(r#""REJECTED""#)
            }
        };
        let shown = || String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
        if is_good { Ok(()) } else { Err(format!("expected {self:?}, was answered {}", shown())) }
    }
}

/// Makes requests of a few parties.
pub(crate) struct Requests {
    host: HeaderValue,
    authorizations: Vec<HeaderValue>,
    /// Begins every idempotency key, so that no two runs share one.
    run: String,
    number: Cell<u64>,
}

impl Requests {
    pub(crate) fn new(address: &str, callers: &[Party]) -> anyhow::Result<Self> {
        let bearer = |party: &Party| HeaderValue::from_str(&format!("Bearer {}", party.token)).context("a token");
        Ok(Self {
            host: HeaderValue::from_str(address)?,
            authorizations: callers.iter().map(bearer).collect::<Result<_, _>>()?,
            run: Uuid::new_v4().simple().to_string(),
            number: Cell::new(0),
        })
    }

    pub(crate) fn typename(&self, caller: usize) -> anyhow::Result<Prepared> {
        self.prepared(caller, format!(r#"{{"query":"{TYPENAME}"}}"#), Expected::Typename)
    }

    pub(crate) fn read(&self, caller: usize, account: &str) -> anyhow::Result<Prepared> {
        self.prepared(caller, format!(r#"{{"query":"{READ}","variables":{{"id":"{account}"}}}}"#), Expected::Account)
    }

    /// A cent from the caller, who is `payer`, to each of these: one `initiatePayment`, or more in one `initiatePayments`.
    pub(crate) fn pay<'a>(
        &self,
        caller: usize,
        payer: &Party,
        creditors: impl ExactSizeIterator<Item = &'a Party>,
    ) -> anyhow::Result<Prepared> {
        let count = creditors.len();
        let inputs = creditors.map(|creditor| self.input(payer, creditor)).collect::<Vec<_>>().join(",");
        let body = match count {
            1 => format!(r#"{{"query":"{PAY}","variables":{{"input":{inputs}}}}}"#),
            _ => format!(r#"{{"query":"{PAY_BULK}","variables":{{"inputs":[{inputs}]}}}}"#),
        };
        self.prepared(caller, body, Expected::Payments(count))
    }

    fn input(&self, payer: &Party, creditor: &Party) -> String {
        let number = self.number.get();
        self.number.set(number + 1);
        format!(
            r#"{{"debtorAccountId":"{}","creditorIban":"{}","amount":{{"amount":"0.01","currency":"EUR"}},"idempotencyKey":"{}-{number}"}}"#,
            payer.account, creditor.iban, self.run
        )
    }

    fn prepared(&self, caller: usize, body: String, expected: Expected) -> anyhow::Result<Prepared> {
        let authorization = self.authorizations.get(caller).context("a caller")?.clone();
        let request = Request::builder().method(Method::POST).uri("/graphql").header(HOST, self.host.clone());
        let request = request.header(AUTHORIZATION, authorization).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Prepared { request: request.body(Full::new(Bytes::from(body)))?, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_answer_to_a_screen_has_all_its_entries() {
        let answer = |entries: usize| {
            let nodes = vec![r#"{"id":"txn_acc_0_1"}"#; entries].join(",");
            format!(r#"{{"data":{{"account":{{"balance":{{"booked":{{}}}},"transactions":{{"nodes":[{nodes}]}}}}}}}}"#)
        };
        assert_eq!(Expected::Account.check(answer(SCREEN).as_bytes()), Ok(()));
        assert!(Expected::Account.check(answer(SCREEN - 1).as_bytes()).is_err());
    }

    #[test]
    fn a_good_answer_has_every_payment_and_no_refusal() {
        let accepted = r#"{"payment":{"id":"pay_1","status":"ACCEPTED"},"errors":[]}"#;
        let refused = r#"{"payment":null,"errors":[{"code":"UNKNOWN_ACCOUNT","message":""}]}"#;
        let answer = |payloads: &[&str]| format!(r#"{{"data":{{"initiatePayments":[{}]}}}}"#, payloads.join(","));
        assert_eq!(Expected::Payments(2).check(answer(&[accepted, accepted]).as_bytes()), Ok(()));
        assert!(Expected::Payments(2).check(answer(&[accepted]).as_bytes()).is_err());
        assert!(Expected::Payments(2).check(answer(&[accepted, refused]).as_bytes()).is_err());
        assert!(Expected::Payments(1).check(answer(&[&accepted.replace("ACCEPTED", "REJECTED")]).as_bytes()).is_err());
        assert!(Expected::Typename.check(br#"{"errors":[{"message":"no"}]}"#).is_err());
    }
}
