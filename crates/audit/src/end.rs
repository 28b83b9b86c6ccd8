//! Whether a payment that has not ended is under way or lost: lost, if whoever has to act next has
//! read beyond the record that it had to act on. This module must never read a log.

use domain::{PaymentId, Shard};
use streams::LogName;

use crate::{
    ends::Ends,
    payments::{Payment, Stage},
    report::{Check, Findings, PaymentTotals, Place},
};

/// A payment that has not ended.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub id: PaymentId,
    pub payment: Payment,
    /// The record of the payments log with its first review that counts.
    pub first_review: Option<u64>,
}

/// What has to happen next.
struct Next {
    /// The log with the record to act on, and that record.
    log: LogName,
    seq: u64,
    event: u32,
    /// The log in which the answer is due.
    due: LogName,
    check: Check,
    says: &'static str,
}

impl Unfinished {
    /// Counts it as under way or held, or says that it is lost.
    pub(crate) fn judge(&self, shard: Shard, ends: &Ends, totals: &mut PaymentTotals, findings: &mut Findings) {
        let next = self.next(shard);
        let is_lost = next.as_ref().is_some_and(|next| ends.cursor(&next.due).get(&next.log) >= next.seq);
        match next {
            Some(Next { log, seq, event, due, check, says }) if is_lost => {
                let what = format!("{} {says}, and {due} has read beyond this without saying what became of it", self.id);
                findings.fail(check, Place { log: &log, seq, event }, what);
            }
            Some(_) if self.payment.stage != Stage::Held => totals.under_way += 1,
            Some(_) | None => totals.held += 1,
        }
    }

    fn next(&self, shard: Shard) -> Option<Next> {
        let of = |base: &str, shard: Shard| LogName::new(base, Some(shard.0));
        let Payment { seq, event, .. } = self.payment;
        let next = |log, due, check, says| Some(Next { log, seq, event, due, check, says });
        match self.payment.stage {
            Stage::Accepted => next(of("payment-commands", shard), of("payments", shard), Check::Payments, "was accepted"),
            Stage::Validated => next(of("payments", shard), of("fraud", shard), Check::Payments, "was validated"),
            Stage::Held => {
                let (log, due) = (of("payments", shard), of("fraud", shard));
                let says = "was held and then reviewed";
                self.first_review.map(|seq| Next { log, seq, event: 0, due, check: Check::Payments, says })
            }
            Stage::Passed => next(of("fraud", shard), of("ledger", shard), Check::Payments, "was passed"),
            Stage::Outgoing(to) => next(of("ledger", shard), of("ledger", to), Check::Credits, "was debited"),
            Stage::Bounced(at) => next(of("ledger", at), of("ledger", shard), Check::Credits, "was refused by the creditor's shard"),
            Stage::Booked | Stage::Rejected | Stage::Returned => None,
        }
    }
}
