//! Whether a result is worse than a stored one, beyond noise. This module must never measure.

use crate::{
    result::{Better, Report, Series, System},
    stats::Spread,
};

/// Differences of less than this part are no news, however narrow the spreads: identical binaries drift
/// by more between two days on a shared machine.
const LEAST_DIFFERENCE: f64 = 0.05;

/// How a series of now stands to that of then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Better beyond noise.
    Better,
    /// No difference that could be told from noise.
    Same,
    /// Worse beyond noise.
    Worse,
}

/// A series that both results have.
#[derive(Debug, Clone)]
pub struct Compared<'a> {
    /// As it is now.
    pub now: &'a Series,
    /// Where it was.
    pub then: Spread,
    /// How that stands to one another.
    pub verdict: Verdict,
}

/// The comparison of two results.
#[derive(Debug, Default)]
pub struct Comparison<'a> {
    /// What both have, sizes being equal.
    pub compared: Vec<Compared<'a>>,
    /// What only the new one has, or has with other sizes.
    pub alone: Vec<&'a Series>,
    /// What only the old one has, or has with other sizes.
    pub gone: Vec<&'a Series>,
}

impl<'a> Comparison<'a> {
    /// Compares `now` with `then`.
    #[must_use]
    pub fn of(now: &'a Report, then: &'a Report) -> Self {
        let mut comparison = Self::default();
        for series in &now.series {
            match then.series.iter().find(|before| is_same(series, before)) {
                Some(before) => {
                    let verdict = judge(series.subject.better, series.spread, before.spread);
                    comparison.compared.push(Compared { now: series, then: before.spread, verdict });
                }
                None => comparison.alone.push(series),
            }
        }
        comparison.gone = then.series.iter().filter(|before| !now.series.iter().any(|series| is_same(series, before))).collect();
        comparison
    }

    /// What of ours got worse. What the comparisons do is not ours to answer for.
    pub fn worse(&self) -> impl Iterator<Item = &Compared<'a>> {
        self.compared.iter().filter(|compared| compared.verdict == Verdict::Worse && compared.now.subject.system == System::Millrace)
    }

    /// In words, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |compared: &Compared<'_>| {
            let (subject, now, then) = (&compared.now.subject, compared.now.spread, compared.then);
            let word = match compared.verdict {
                Verdict::Better => "better",
                Verdict::Same => "same",
                Verdict::Worse => "WORSE",
            };
            let change = 100.0 * (now.median - then.median) / then.median.abs().max(f64::MIN_POSITIVE);
            format!(
                "{word:<6} ({}) {}, {}: {:.4} ({:.4} to {:.4}) {}, was {:.4} ({:.4} to {:.4}): {change:+.1} %",
                subject.number,
                subject.what,
                subject.system.name(),
                now.median,
                now.min,
                now.max,
                subject.unit,
                then.median,
                then.min,
                then.max
            )
        };
        let unmatched = |series: &&Series, why: &str| {
            format!("{:<6} ({}) {}, {}: {why}", "-", series.subject.number, series.subject.what, series.subject.system.name())
        };
        let compared = self.compared.iter().map(line);
        let alone = self.alone.iter().map(|series| unmatched(series, "not in the stored result, or with other sizes"));
        let gone = self.gone.iter().map(|series| unmatched(series, "only in the stored result, or with other sizes"));
        compared.chain(alone).chain(gone).collect()
    }
}

fn is_same(one: &Series, other: &Series) -> bool {
    let key = |series: &Series| (series.subject.id.clone(), series.subject.system, series.subject.parameters.clone());
    key(one) == key(other)
}

/// Beyond noise is what lies apart: each median outside of all that the other side saw, by more than [`LEAST_DIFFERENCE`].
fn judge(better: Better, now: Spread, then: Spread) -> Verdict {
    let outside = |value: f64, spread: Spread| value < spread.min || value > spread.max;
    let is_apart = outside(now.median, then) && outside(then.median, now);
    if !is_apart || (now.median - then.median).abs() <= LEAST_DIFFERENCE * then.median.abs() {
        return Verdict::Same;
    }
    match (better, now.median > then.median) {
        (Better::Higher, true) | (Better::Lower, false) => Verdict::Better,
        (Better::Higher, false) | (Better::Lower, true) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{report, series};

    const fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    #[test]
    fn only_what_lies_apart_is_news() {
        let then = spread(90.0, 100.0, 110.0);
        let cases = [
            (spread(95.0, 105.0, 111.0), Verdict::Same),
            (spread(70.0, 80.0, 89.0), Verdict::Worse),
            (spread(70.0, 80.0, 101.0), Verdict::Same),
            (spread(115.0, 130.0, 140.0), Verdict::Better),
            (spread(99.0, 130.0, 140.0), Verdict::Same),
        ];
        for (now, expected) in cases {
            assert_eq!(judge(Better::Higher, now, then), expected, "{now:?}");
        }
        assert_eq!(judge(Better::Lower, spread(70.0, 80.0, 89.0), then), Verdict::Better);
        assert_eq!(judge(Better::Lower, spread(115.0, 130.0, 140.0), then), Verdict::Worse);
    }

    #[test]
    fn narrow_spreads_make_no_news_of_little() {
        assert_eq!(judge(Better::Higher, spread(96.0, 96.1, 96.2), spread(99.9, 100.0, 100.1)), Verdict::Same);
        assert_eq!(judge(Better::Higher, spread(93.0, 93.1, 93.2), spread(99.9, 100.0, 100.1)), Verdict::Worse);
    }

    #[test]
    fn series_of_other_sizes_are_not_compared_and_only_ours_count() {
        let mut other_size = series("b", System::Millrace, 10.0);
        other_size.subject.parameters.insert("accounts".to_owned(), 7);
        let then =
            report(vec![series("a", System::Millrace, 100.0), series("a", System::Postgres, 100.0), series("b", System::Millrace, 100.0)]);
        let now = report(vec![series("a", System::Millrace, 10.0), series("a", System::Postgres, 10.0), other_size]);
        let comparison = Comparison::of(&now, &then);
        assert_eq!(comparison.worse().map(|worse| worse.now.subject.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!((comparison.compared.len(), comparison.alone.len(), comparison.gone.len()), (2, 1, 1));
        assert!(comparison.lines()[0].contains("WORSE"), "{:?}", comparison.lines());
    }
}
