//! Traces of payments, as OpenTelemetry has them: a record's header says where in its trace each followed
//! payment stands, and whoever acts on the record goes on from there. Only what is sampled is carried.
//! This module must never know where spans go, nor what becomes of a payment.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use domain::{PaymentId, Timestamp};
use opentelemetry::{
    Context, KeyValue, Value,
    global::{self, BoxedTracer},
    trace::{FutureExt as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _},
};

use crate::LogName;

/// Payments of one record that are followed at most, so that its header stays below 8 KiB whatever is
/// sampled; of others the trace ends there.
const MAX_FOLLOWED: usize = 64;
const TRACER: &str = "millrace";

/// Whether requests begin or continue traces here. Services go on with what records carry in any case.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Begins to trace requests; OpenTelemetry's global provider says where spans go.
pub fn trace_requests() {
    IS_ON.store(true, Ordering::Relaxed);
}

fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// A place in a sampled trace, from which it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace(SpanContext);

impl Trace {
    fn of(context: &Context) -> Option<Self> {
        let place = context.span().span_context().clone();
        (place.is_valid() && place.is_sampled()).then_some(Self(place))
    }

    /// Where the running task stands, if it is followed.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(&Context::current())
    }

    /// Goes on in a span.
    #[must_use]
    pub fn span(&self, name: impl Into<Cow<'static, str>>) -> TraceSpan {
        TraceSpan::start(name, SpanKind::Internal, None, &self.context())
    }

    fn context(&self) -> Context {
        Context::new().with_remote_span_context(self.0.clone())
    }

    /// Reads a `traceparent`, see W3C Trace Context.
    fn parse(traceparent: &str) -> Option<Self> {
        parse(traceparent).map(Self).filter(|trace| trace.0.is_sampled())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.0.trace_id(), self.0.span_id(), self.0.trace_flags())
    }
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fields: Vec<_> = traceparent.split('-').take(5).collect();
    let [version, trace, span, flags] = fields[..] else { return None };
    let is_well_formed = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let place = SpanContext::new(trace, span, flags, true, TraceState::default());
    (is_well_formed && place.is_valid()).then_some(place)
}

fn tracer() -> BoxedTracer {
    global::tracer(TRACER)
}

/// A part of a trace that is under way; it ends when this is dropped.
#[derive(Debug)]
pub struct TraceSpan(Context);

impl TraceSpan {
    fn start(name: impl Into<Cow<'static, str>>, kind: SpanKind, since: Option<SystemTime>, parent: &Context) -> Self {
        let mut builder = tracer().span_builder(name).with_kind(kind);
        builder.start_time = since;
        let span = builder.start_with_context(&tracer(), parent);
        Self(parent.with_span(span))
    }

    /// A request that begins to be answered, in its caller's trace where it names one, else in a new
    /// one; none where requests are not traced.
    #[must_use]
    pub fn request(name: impl Into<Cow<'static, str>>, traceparent: Option<&str>) -> Option<Self> {
        let caller = || traceparent.and_then(parse).map_or_else(Context::new, |place| Context::new().with_remote_span_context(place));
        is_on().then(|| Self::start(name, SpanKind::Server, None, &caller()))
    }

    /// What the running task does now, in the trace that it is in, else in a new one; none where
    /// requests are not traced.
    #[must_use]
    pub fn here(name: impl Into<Cow<'static, str>>) -> Option<Self> {
        is_on().then(|| Self::start(name, SpanKind::Internal, None, &Context::current()))
    }

    /// Does something within it.
    pub async fn during<F: Future>(&self, work: F) -> F::Output {
        work.with_context(self.0.clone()).await
    }

    /// Notes something about it.
    pub fn note(&self, key: &'static str, value: impl Into<Value>) {
        self.0.span().set_attribute(KeyValue::new(key, value));
    }
}

/// The places at which a record leaves the traces of the payments that it is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces(BTreeMap<PaymentId, Trace>);

impl Traces {
    /// Whether no payment is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the trace of a payment stands, if it is followed.
    #[must_use]
    pub fn get(&self, payment: PaymentId) -> Option<&Trace> {
        self.0.get(&payment)
    }

    /// Follows a payment from here.
    pub(crate) fn follow(&mut self, payment: PaymentId, trace: Trace) {
        if self.0.len() < MAX_FOLLOWED {
            self.0.insert(payment, trace);
        }
    }

    /// Those of two records; where both follow a payment, from the later one.
    pub(crate) fn extend(&mut self, later: &Self) {
        self.0.extend(later.0.iter().map(|(payment, trace)| (*payment, trace.clone())));
    }

    /// Goes on with those of `payments` that are followed, each in a span of the `work` that is done to
    /// them since `since` by `who`, a log or a read model.
    pub fn go_on(
        &self,
        work: &str,
        who: &LogName,
        since: Timestamp,
        payments: impl IntoIterator<Item = PaymentId>,
    ) -> (Self, Vec<TraceSpan>) {
        let (mut next, mut spans) = (Self::default(), Vec::new());
        if self.is_empty() {
            return (next, spans);
        }
        let since = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(since.micros()).unwrap_or(0));
        for payment in payments {
            let Some(before) = self.get(payment).filter(|_| next.get(payment).is_none()) else { continue };
            let span = TraceSpan::start(format!("{} {work}", who.base()), SpanKind::Internal, Some(since), &before.context());
            span.note("millrace.by", who.to_string());
            span.note("millrace.payment", payment.to_string());
            if let Some(place) = Trace::of(&span.0) {
                next.follow(payment, place);
            }
            spans.push(span);
        }
        (next, spans)
    }

    /// The payments that are followed.
    pub fn payments(&self) -> impl Iterator<Item = PaymentId> {
        self.0.keys().copied()
    }

    /// Reads a header. What it does not understand it leaves out: a trace is about a record's way, and
    /// nothing in the bank rests on it.
    pub(crate) fn parse(header: &str) -> Self {
        let entry = |entry: &str| {
            let (payment, traceparent) = entry.split_once('=')?;
            Some((payment.parse().ok()?, Trace::parse(traceparent)?))
        };
        Self(header.split(' ').take(MAX_FOLLOWED).filter_map(entry).collect())
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (payment, trace)) in self.0.iter().take(MAX_FOLLOWED).enumerate() {
            write!(f, "{}{payment}={trace}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn places_read_back_and_what_is_none_is_left_out() {
        assert_eq!(Trace::parse(PLACE).expect("a place").to_string(), PLACE);
        let unsampled = PLACE.replace("-01", "-00");
        let bad = ["", "00", unsampled.as_str(), "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &PLACE.to_uppercase()];
        assert!(bad.iter().all(|text| Trace::parse(text).is_none()));
        let payment = "pay_01a205c9d65276489813914a6930e5e4";
        let header = format!("{payment}={PLACE} nonsense pay_1={PLACE} {}={PLACE}-", payment.replace('4', "5"));
        assert_eq!(Traces::parse(&header).to_string(), format!("{payment}={PLACE}"));
    }

    #[test]
    fn no_header_grows_without_bound() {
        let mut traces = Traces::default();
        for number in 0..1_000 {
            let payment = PaymentId::from_bytes(u128::to_be_bytes(number));
            traces.follow(payment, Trace::parse(PLACE).expect("a place"));
        }
        assert_eq!(traces.payments().count(), MAX_FOLLOWED);
        assert!(traces.to_string().len() < 8 * 1024);
    }

    #[test]
    fn a_process_that_does_not_trace_passes_on_what_records_carry() {
        let (followed, other) = (PaymentId::from_bytes([1; 16]), PaymentId::from_bytes([2; 16]));
        let before = Traces([(followed, Trace::parse(PLACE).expect("a place"))].into());
        let (next, _spans) = before.go_on("step", &LogName::new("payments", Some(0)), Timestamp::default(), [other, followed]);
        assert_eq!(next, before);
    }
}
