//! Payments on whose way something was planted.

use domain::{
    CommandId, Currency, Debtor, Initiator, Money, PaymentId, PaymentOrder, RejectionCode, Review, ReviewDecision, Shard, Timestamp,
    account_iban,
    fraud::{Checked, Verdict},
    ledger::{LedgerAccount, LedgerEvent, Leg, Posting, Transaction},
    payments::{PaymentCommand, PaymentEvent},
};
use streams::{Cursor, LogName};
use uuid::Uuid;

use crate::{
    books_tests::account,
    ends::Ends,
    payments::{Payments, Read},
    report::{Check, Findings, PaymentTotals, Place},
};

const AT: Timestamp = Timestamp::from_micros(0);
const ID: PaymentId = PaymentId::from_uuid(Uuid::from_u128(7));
const CODE: RejectionCode = RejectionCode::AccountClosed;

/// An event and the log it stands in; a record each.
#[derive(Clone)]
enum Said {
    Command(PaymentCommand),
    Payment(PaymentEvent),
    Fraud(Checked),
    Ledger(u16, LedgerEvent),
}

fn order() -> PaymentOrder {
    PaymentOrder {
        id: ID,
        by: Initiator::Bank,
        debtor: Debtor::Account(account(0, 0)),
        creditor: account_iban(1).expect("a number"),
        amount: Money::from_minor(5, Currency::parse("EUR").expect("in use")),
        reference: None,
        at: AT,
    }
}

fn initiated() -> Said {
    Said::Command(PaymentCommand::Initiated(order()))
}

fn validated() -> Said {
    Said::Payment(PaymentEvent::Validated { order: order(), creditor: account(1, 0), at: AT })
}

fn checked(verdict: Verdict, review: Option<CommandId>) -> Said {
    Said::Fraud(Checked { order: order(), creditor: account(1, 0), verdict, review, at: AT })
}

fn booked(shard: u16, leg: Leg) -> Said {
    let order = order();
    let posting =
        Posting { account: LedgerAccount::Settlement(order.amount.currency()), amount_minor: 0, balance_after_minor: 0, version: 1 };
    Said::Ledger(
        shard,
        LedgerEvent::Booked(Transaction {
            payment: ID,
            leg,
            debtor: order.debtor,
            creditor: account(1, 0),
            amount: order.amount,
            reference: None,
            postings: [posting; 2],
            at: AT,
        }),
    )
}

fn review() -> Review {
    Review { command: CommandId::from_uuid(Uuid::nil()), payment: ID, decision: ReviewDecision::Release, note: None, at: AT }
}

fn outgoing() -> Said {
    booked(0, Leg::Outgoing { to: Shard(1) })
}

fn incoming() -> Said {
    booked(1, Leg::Incoming { from: Shard(0) })
}

fn passed() -> Vec<Said> {
    vec![initiated(), validated(), checked(Verdict::Passed, None)]
}

/// All that is found, where every log was read to `read`; every event is record 1, 2, 3 … of its log.
fn audit(said: &[Said], read: u64) -> (Vec<(Check, String, u64)>, PaymentTotals) {
    let (mut findings, mut payments) = (Findings::default(), [Payments::new(Shard(0), 2), Payments::new(Shard(1), 2)]);
    let mut last: std::collections::HashMap<LogName, u64> = std::collections::HashMap::new();
    for said in said {
        let (base, shard) = match said {
            Said::Command(_) => ("payment-commands", 0),
            Said::Payment(_) => ("payments", 0),
            Said::Fraud(_) => ("fraud", 0),
            Said::Ledger(shard, _) => ("ledger", *shard),
        };
        let log = LogName::new(base, Some(shard));
        let seq = last.entry(log.clone()).or_default();
        *seq += 1;
        let place = Place { log: &log, seq: *seq, event: 1 };
        let state = &mut payments[usize::from(shard)];
        match said {
            Said::Command(event) => state.command(place, event, &mut findings),
            Said::Payment(event) => state.validated(place, event, u64::MAX, &mut findings),
            Said::Fraud(event) => state.checked(place, event, u64::MAX, &mut findings),
            Said::Ledger(_, event) => state.ledger(place, event, Read { fraud: u64::MAX, ledger: &|_| u64::MAX }, &mut findings),
        }
    }
    let [zero, one] = &mut payments;
    for crossing in std::mem::take(&mut one.crossings) {
        let log = LogName::new("ledger", Some(1));
        zero.crossed(Place { log: &log, seq: crossing.seq, event: crossing.event }, &crossing, &mut findings);
    }
    zero.settle_returns(&LogName::new("ledger", Some(0)), &mut findings);
    let logs = ["payment-commands-0", "payments-0", "fraud-0", "ledger-0", "ledger-1"].map(|name| LogName::new(name, None));
    let cursor: Cursor = logs.iter().map(|log| (log.clone(), read)).collect();
    let ends = Ends::of(&logs.map(|log| (log, cursor.clone())));
    let (mut totals, unfinished) = zero.finish();
    unfinished.iter().for_each(|payment| payment.judge(Shard(0), &ends, &mut totals, &mut findings));
    (findings.listed.into_iter().map(|found| (found.check, found.log.to_string(), found.seq)).collect(), totals)
}

fn found(said: &[Said]) -> Vec<(Check, String, u64)> {
    audit(said, u64::MAX).0
}

fn one(check: Check, log: &str, seq: u64) -> Vec<(Check, String, u64)> {
    vec![(check, log.to_owned(), seq)]
}

#[test]
fn every_good_way_passes() {
    let declined = vec![initiated(), validated(), checked(Verdict::Declined(CODE), None)];
    let rejected = vec![initiated(), Said::Payment(PaymentEvent::Rejected { payment: ID, code: CODE, at: AT })];
    let (bounced, returned) =
        (booked(1, Leg::Bounced { to: Shard(0), code: CODE }), booked(0, Leg::Returned { from: Shard(1), code: CODE }));
    let reviewed = vec![
        initiated(),
        Said::Command(PaymentCommand::Reviewed(review())),
        validated(),
        Said::Payment(PaymentEvent::Reviewed(review())),
        checked(Verdict::Held, None),
        checked(Verdict::Passed, Some(review().command)),
        booked(0, Leg::Transfer),
    ];
    let ways = [
        [passed(), vec![booked(0, Leg::Transfer)]].concat(),
        [passed(), vec![outgoing(), incoming()]].concat(),
        [passed(), vec![outgoing(), bounced, returned]].concat(),
        [vec![initiated()], passed(), vec![booked(0, Leg::Transfer)]].concat(),
        declined,
        rejected,
        reviewed,
    ];
    for way in ways {
        let (found, totals) = audit(&way, u64::MAX);
        assert_eq!(found, []);
        assert_eq!(totals.accepted, totals.booked + totals.rejected + totals.returned);
    }
}

#[test]
fn a_duplicated_debit_is_named() {
    let said = [passed(), vec![outgoing(), incoming(), outgoing()]].concat();
    assert_eq!(found(&said[..]).first(), Some(&(Check::Payments, "ledger-0".to_owned(), 2)));
    let said = [passed(), vec![booked(0, Leg::Transfer), booked(0, Leg::Transfer)]].concat();
    assert_eq!(found(&said), one(Check::Payments, "ledger-0", 2));
}

#[test]
fn a_missing_credit_is_named_once_the_other_shard_has_read_the_debit() {
    let said = [passed(), vec![outgoing()]].concat();
    assert_eq!(found(&said), one(Check::Credits, "ledger-0", 1));
    let (found, totals) = audit(&said, 0);
    assert_eq!((found, totals.under_way), (vec![], 1));
}

#[test]
fn a_missing_return_is_named() {
    let bounced = booked(1, Leg::Bounced { to: Shard(0), code: CODE });
    assert_eq!(found(&[passed(), vec![outgoing(), bounced]].concat()), one(Check::Credits, "ledger-1", 1));
}

#[test]
fn a_second_credit_and_one_without_a_debit_are_named() {
    assert_eq!(found(&[passed(), vec![outgoing(), incoming(), incoming()]].concat()), one(Check::Credits, "ledger-1", 2));
    let found = found(&[passed(), vec![incoming()]].concat());
    assert_eq!(found[0], (Check::Credits, "ledger-1".to_owned(), 1));
}

#[test]
fn a_payment_that_was_lost_on_its_way_is_named() {
    assert_eq!(found(&passed()[..1]), one(Check::Payments, "payment-commands-0", 1));
    assert_eq!(found(&passed()[..2]), one(Check::Payments, "payments-0", 1));
    assert_eq!(found(&passed()), one(Check::Payments, "fraud-0", 1));
    assert_eq!(audit(&passed(), 0).1.under_way, 1);
}

#[test]
fn a_held_payment_waits_and_a_lost_review_is_named() {
    let held = vec![initiated(), validated(), checked(Verdict::Held, None)];
    assert_eq!((found(&held), audit(&held, u64::MAX).1.held), (vec![], 1));
    let review = vec![Said::Command(PaymentCommand::Reviewed(review())), Said::Payment(PaymentEvent::Reviewed(review()))];
    let said = [held[..2].to_vec(), review, held[2..].to_vec()].concat();
    assert_eq!(found(&said), one(Check::Payments, "payments-0", 2));
    let declined = Review { decision: ReviewDecision::Decline, ..self::review() };
    let other = vec![Said::Command(PaymentCommand::Reviewed(self::review())), Said::Payment(PaymentEvent::Reviewed(declined))];
    assert_eq!(found(&[held, other].concat()), one(Check::Payments, "payments-0", 2), "what was passed on is not what was asked for");
}

#[test]
fn an_order_that_changed_on_its_way_and_a_second_end_are_named() {
    let changed = PaymentOrder { amount: Money::from_minor(6, order().amount.currency()), ..order() };
    let said = [initiated(), Said::Payment(PaymentEvent::Validated { order: changed, creditor: account(1, 0), at: AT })];
    assert_eq!(audit(&said, 0).0, one(Check::Payments, "payments-0", 1));
    let again = Said::Payment(PaymentEvent::Rejected { payment: ID, code: CODE, at: AT });
    assert_eq!(found(&[passed(), vec![booked(0, Leg::Transfer), again]].concat()), one(Check::Payments, "payments-0", 2));
}
