//! Every payment of one shard, from its acceptance to its end: a state machine over the events of
//! four logs, and of the ledgers of other shards. This module must never know balances.

use std::hash::{Hash as _, Hasher as _};

use domain::{
    AccountId, CommandId, Debtor, Initiator, Money, PaymentId, PaymentOrder, Reference, Review, ReviewDecision, Shard,
    fraud::{Checked, Verdict},
    ledger::{LedgerEvent, Leg, Transaction},
    payments::{PaymentCommand, PaymentEvent},
};
use rustc_hash::{FxHashMap, FxHasher};

use crate::{
    end::Unfinished,
    report::{Check, Findings, PaymentTotals, Place},
};

/// How far a payment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Accepted,
    Validated,
    Held,
    Passed,
    /// Debited; the credit is due on that shard.
    Outgoing(Shard),
    /// Refused by that shard; the return is due here.
    Bounced(Shard),
    Booked,
    Rejected,
    Returned,
}

/// A payment. About a hundred bytes, which is what memory is needed for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payment {
    pub stage: Stage,
    /// Where it came to its stage.
    pub seq: u64,
    pub event: u32,
    pub amount: Money,
    creditor: Option<AccountId>,
    /// A hash of what travels to the books, and one of all that was ordered.
    terms: u64,
    order: u64,
}

/// What a shard booked for a payment that was debited elsewhere, to be held against that debit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crossing {
    pub payment: PaymentId,
    /// Where it was debited.
    pub from: Shard,
    /// Where this was booked.
    pub at: Shard,
    pub seq: u64,
    pub event: u32,
    pub time: domain::Timestamp,
    /// The creditor could not take it.
    pub bounced: bool,
    /// How far the debit's log was read when this was decided.
    read: u64,
    terms: u64,
    creditor: AccountId,
}

/// What came back to a debtor, to be held against what was bounced elsewhere.
#[derive(Debug, Clone, Copy)]
struct Return {
    payment: PaymentId,
    from: Shard,
    seq: u64,
    event: u32,
    read: u64,
    terms: u64,
}

/// The payments of one shard.
#[derive(Debug)]
pub(crate) struct Payments {
    shard: Shard,
    shards: u16,
    table: FxHashMap<PaymentId, Payment>,
    /// Reviews as commands, and, once they are passed on, those of a payment by record.
    commanded: FxHashMap<CommandId, (PaymentId, ReviewDecision, u64)>,
    reviews: FxHashMap<PaymentId, Vec<(CommandId, ReviewDecision, u64)>>,
    pub crossings: Vec<Crossing>,
    returns: Vec<Return>,
}

impl Payments {
    pub(crate) fn new(shard: Shard, shards: u16) -> Self {
        let (table, commanded, reviews) = (FxHashMap::default(), FxHashMap::default(), FxHashMap::default());
        Self { shard, shards, table, commanded, reviews, crossings: Vec::new(), returns: Vec::new() }
    }

    pub(crate) fn command(&mut self, place: Place<'_>, command: &PaymentCommand, findings: &mut Findings) {
        match command {
            PaymentCommand::Initiated(order) => {
                let (terms, hash) = hashes(order);
                let payment = Payment {
                    stage: Stage::Accepted,
                    seq: place.seq,
                    event: place.event,
                    amount: order.amount,
                    creditor: None,
                    terms,
                    order: hash,
                };
                let is_here = order.debtor.shard(self.shards) == self.shard;
                findings.expect(Check::Payments, place, is_here, || format!("{} debits an account of another shard", order.id));
                // The first order with an id is the payment; what comes later under it is a repeat.
                self.table.entry(order.id).or_insert(payment);
            }
            PaymentCommand::Reviewed(Review { payment, command, decision, .. }) => {
                self.commanded.insert(*command, (*payment, *decision, place.seq));
            }
        }
    }

    /// `read`: how far the commands were read when it was decided.
    pub(crate) fn validated(&mut self, place: Place<'_>, event: &PaymentEvent, read: u64, findings: &mut Findings) {
        match event {
            PaymentEvent::Validated { order, creditor, .. } => {
                let (_, hash) = hashes(order);
                let Some(payment) = self.step(place, order.id, read, &[Stage::Accepted], Stage::Validated, findings) else { return };
                payment.creditor = Some(*creditor);
                let same = payment.order == hash;
                findings.expect(Check::Payments, place, same, || format!("{} is not the order that was accepted", order.id));
            }
            PaymentEvent::Rejected { payment, .. } => {
                self.step(place, *payment, read, &[Stage::Accepted], Stage::Rejected, findings);
            }
            PaymentEvent::Reviewed(review) => self.reviewed(place, review, findings),
        }
    }

    fn reviewed(&mut self, place: Place<'_>, review: &Review, findings: &mut Findings) {
        let asked = self.commanded.remove(&review.command);
        let was_asked = asked.is_some_and(|(payment, decision, _)| (payment, decision) == (review.payment, review.decision));
        findings.expect(Check::Payments, place, was_asked, || format!("{} is reviewed as nobody asked for", review.payment));
        // One that comes before the payment, or after its rejection, has no effect.
        if self.table.get(&review.payment).is_some_and(|payment| payment.stage == Stage::Validated) {
            self.reviews.entry(review.payment).or_default().push((review.command, review.decision, place.seq));
        }
    }

    /// `read`: how far the validated payments were read when it was decided.
    pub(crate) fn checked(&mut self, place: Place<'_>, checked: &Checked, read: u64, findings: &mut Findings) {
        let id = checked.order.id;
        let to = match checked.verdict {
            Verdict::Passed => Stage::Passed,
            Verdict::Held => Stage::Held,
            Verdict::Declined(_) => Stage::Rejected,
        };
        let (_, hash) = hashes(&checked.order);
        let from = if checked.review.is_some() { Stage::Held } else { Stage::Validated };
        let reviewed = checked.review.is_none_or(|command| self.review_says(id, command, checked.verdict, read));
        let Some(payment) = self.step(place, id, read, &[from], to, findings) else { return };
        let same = payment.order == hash && payment.creditor == Some(checked.creditor);
        findings.expect(Check::Payments, place, same, || format!("{id} is not the order that was validated"));
        findings.expect(Check::Payments, place, reviewed, || format!("{id} ends its hold without a review that says so"));
    }

    fn review_says(&self, payment: PaymentId, command: CommandId, verdict: Verdict, read: u64) -> bool {
        let decision = match verdict {
            Verdict::Passed => ReviewDecision::Release,
            Verdict::Declined(_) => ReviewDecision::Decline,
            Verdict::Held => return false,
        };
        let says = |(by, said, seq): &(CommandId, ReviewDecision, u64)| (*by, *said) == (command, decision) && *seq <= read;
        self.reviews.get(&payment).is_some_and(|reviews| reviews.iter().any(says))
    }

    /// An event of the own ledger; `read` says how far a log was read when it was decided.
    pub(crate) fn ledger(&mut self, place: Place<'_>, event: &LedgerEvent, read: Read<'_>, findings: &mut Findings) {
        match event {
            LedgerEvent::Booked(transaction) => self.booked(place, transaction, read, findings),
            LedgerEvent::Rejected { payment, .. } => {
                self.step(place, *payment, read.fraud, &[Stage::Passed], Stage::Rejected, findings);
            }
            LedgerEvent::AccountActivated { .. } | LedgerEvent::StatusApplied { .. } => {}
        }
    }

    fn booked(&mut self, place: Place<'_>, transaction: &Transaction, read: Read<'_>, findings: &mut Findings) {
        let Transaction { payment, creditor, at: time, .. } = *transaction;
        let (seq, event) = (place.seq, place.event);
        let terms = terms(transaction.debtor, transaction.amount, transaction.reference.as_ref());
        match transaction.leg {
            Leg::Transfer => self.debited(place, transaction, Stage::Booked, read, findings),
            Leg::Outgoing { to } => self.debited(place, transaction, Stage::Outgoing(to), read, findings),
            Leg::Incoming { from } | Leg::Bounced { to: from, .. } => {
                let bounced = matches!(transaction.leg, Leg::Bounced { .. });
                let read = (read.ledger)(from);
                self.crossings.push(Crossing { payment, from, at: self.shard, seq, event, time, bounced, read, terms, creditor });
            }
            Leg::Returned { from, .. } => {
                self.returns.push(Return { payment, from, seq, event, read: (read.ledger)(from), terms });
            }
        }
    }

    fn debited(&mut self, place: Place<'_>, transaction: &Transaction, to: Stage, read: Read<'_>, findings: &mut Findings) {
        let terms = terms(transaction.debtor, transaction.amount, transaction.reference.as_ref());
        let id = transaction.payment;
        let Some(payment) = self.step(place, id, read.fraud, &[Stage::Passed], to, findings) else { return };
        let same = payment.terms == terms && payment.creditor == Some(transaction.creditor);
        findings.expect(Check::Payments, place, same, || format!("{id} is booked otherwise than it was ordered"));
    }

    /// What another shard booked for a payment of this one.
    pub(crate) fn crossed(&mut self, place: Place<'_>, crossing: &Crossing, findings: &mut Findings) {
        findings.look(Check::Credits);
        let (id, at) = (crossing.payment, crossing.at);
        let what = if crossing.bounced { "bounced" } else { "credited" };
        let Some(payment) = self.table.get_mut(&id).filter(|payment| payment.stage == Stage::Outgoing(at)) else {
            let stage = self.table.get(&id).map_or_else(|| "never accepted".to_owned(), |payment| payment.stage.says());
            return findings.fail(Check::Credits, place, format!("{id} is {what} on shard {at}, but is {stage}"));
        };
        if (payment.terms, payment.creditor) != (crossing.terms, Some(crossing.creditor)) {
            findings.fail(Check::Credits, place, format!("{id} is {what} otherwise than it was debited"));
        }
        if crossing.read < payment.seq {
            findings.fail(Check::Cursors, place, format!("{id} is {what} before record {} with its debit was read", payment.seq));
        }
        payment.stage = if crossing.bounced { Stage::Bounced(at) } else { Stage::Booked };
        (payment.seq, payment.event) = (crossing.seq, crossing.event);
    }

    /// What came back, once all that was bounced is known.
    pub(crate) fn settle_returns(&mut self, log: &streams::LogName, findings: &mut Findings) {
        for back in std::mem::take(&mut self.returns) {
            let (id, place) = (back.payment, Place { log, seq: back.seq, event: back.event });
            findings.look(Check::Credits);
            let Some(payment) = self.table.get_mut(&id).filter(|payment| payment.stage == Stage::Bounced(back.from)) else {
                let stage = self.table.get(&id).map_or_else(|| "never accepted".to_owned(), |payment| payment.stage.says());
                findings.fail(Check::Credits, place, format!("{id} is returned from shard {}, but is {stage}", back.from));
                continue;
            };
            if payment.terms != back.terms {
                findings.fail(Check::Credits, place, format!("{id} is returned otherwise than it was debited"));
            }
            if back.read < payment.seq {
                findings.fail(Check::Cursors, place, format!("{id} is returned before record {} that bounced it was read", payment.seq));
            }
            payment.stage = Stage::Returned;
            (payment.seq, payment.event) = (back.seq, back.event);
        }
    }

    /// Moves a payment on from one of `from`; says of what that must not be.
    fn step(
        &mut self,
        place: Place<'_>,
        id: PaymentId,
        read: u64,
        from: &[Stage],
        to: Stage,
        findings: &mut Findings,
    ) -> Option<&mut Payment> {
        findings.look(Check::Payments);
        let Some(payment) = self.table.get_mut(&id) else {
            findings.fail(Check::Payments, place, format!("{id} becomes {} but was never accepted", to.says()));
            return None;
        };
        if !from.contains(&payment.stage) {
            let again = if to.is_debit() && payment.stage.is_debit() { " a second time" } else { "" };
            findings.fail(Check::Payments, place, format!("{id} becomes {}{again}, but is {}", to.says(), payment.stage.says()));
            return None;
        }
        if read < payment.seq {
            let what = format!("{id} becomes {} by a step that had read up to record {read}, before record {}", to.says(), payment.seq);
            findings.fail(Check::Cursors, place, what);
        }
        payment.stage = to;
        (payment.seq, payment.event) = (place.seq, place.event);
        Some(payment)
    }

    /// How payments ended, and each that has not.
    pub(crate) fn finish(&self) -> (PaymentTotals, Vec<Unfinished>) {
        let mut totals = PaymentTotals { accepted: self.table.len() as u64, ..PaymentTotals::default() };
        let mut unfinished = Vec::new();
        for (id, payment) in &self.table {
            match payment.stage {
                Stage::Booked => totals.booked += 1,
                Stage::Rejected => totals.rejected += 1,
                Stage::Returned => totals.returned += 1,
                Stage::Accepted | Stage::Validated | Stage::Held | Stage::Passed | Stage::Outgoing(_) | Stage::Bounced(_) => {
                    let first_review = self.reviews.get(id).and_then(|reviews| reviews.first()).map(|(_, _, seq)| *seq);
                    unfinished.push(Unfinished { id: *id, payment: *payment, first_review });
                }
            }
        }
        (totals, unfinished)
    }

    /// Reviews that were asked for up to record `read` of the commands and not passed on.
    pub(crate) fn lost_reviews(&self, read: u64) -> impl Iterator<Item = u64> {
        self.commanded.values().map(|(.., seq)| *seq).filter(move |seq| *seq <= read)
    }
}

/// How far logs were read when a record of the ledger was decided.
#[derive(Clone, Copy)]
pub(crate) struct Read<'a> {
    pub fraud: u64,
    pub ledger: &'a dyn Fn(Shard) -> u64,
}

impl Stage {
    const fn is_debit(self) -> bool {
        match self {
            Self::Outgoing(_) | Self::Bounced(_) | Self::Booked | Self::Returned => true,
            Self::Accepted | Self::Validated | Self::Held | Self::Passed | Self::Rejected => false,
        }
    }

    fn says(self) -> String {
        match self {
            Self::Accepted => "accepted".to_owned(),
            Self::Validated => "validated".to_owned(),
            Self::Held => "held".to_owned(),
            Self::Passed => "passed by fraud detection".to_owned(),
            Self::Outgoing(to) => format!("debited towards shard {to}"),
            Self::Bounced(at) => format!("refused by shard {at}"),
            Self::Booked => "debited and credited".to_owned(),
            Self::Rejected => "rejected".to_owned(),
            Self::Returned => "returned".to_owned(),
        }
    }
}

fn terms(debtor: Debtor, amount: Money, reference: Option<&Reference>) -> u64 {
    let mut hasher = FxHasher::default();
    (debtor, amount, reference).hash(&mut hasher);
    hasher.finish()
}

/// Hashes of an order: of what travels to the books, and of all of it.
pub(crate) fn hashes(order: &PaymentOrder) -> (u64, u64) {
    let terms = terms(order.debtor, order.amount, order.reference.as_ref());
    let by = match order.by {
        Initiator::Customer(customer) => Some(customer),
        Initiator::Bank => None,
    };
    let mut hasher = FxHasher::default();
    (terms, order.id, by, order.creditor.as_str(), order.at).hash(&mut hasher);
    (terms, hasher.finish())
}
