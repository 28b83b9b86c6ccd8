//! Whether a result is worse than a stored one, beyond noise. This module must never measure.

use crate::{
    plan::Plan,
    result::{Better, Report, Series, System},
    stats::Spread,
};

/// Differences of less than this part are no news, however narrow the spreads: identical binaries drift
/// by more between two days on a shared machine.
const LEAST_DIFFERENCE: f64 = 0.05;
/// The same where one of the two has fewer runs than a full result: of two and two, one in three lie apart by chance.
const LEAST_OF_FEW: f64 = 1.0 / 3.0;
/// How far runs must lie apart, as a part of the wider of both spreads. Of five runs and five of the same, one in 126 has none in common
/// by chance, and one in 650 to 1,100 this far (normal, log-normal and Student's t of 3 degrees, two million draws of each):
/// a table has a hundred series. What differs by four standard deviations is seen in 82 to 86 % of cases, not in 93 to 96.
const LEAST_GAP: f64 = 0.25;

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
    /// What both have, sizes and durability being equal.
    pub compared: Vec<Compared<'a>>,
    /// What only the new one has, or has otherwise.
    pub alone: Vec<&'a Series>,
    /// What only the old one has, or has otherwise.
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
                    let is_few = series.values.len().min(before.values.len()) < Plan::full().runs;
                    let least = if is_few { LEAST_OF_FEW } else { LEAST_DIFFERENCE };
                    let verdict = judge(series.subject.better, series.spread, before.spread, least);
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
        let alone = self.alone.iter().map(|series| unmatched(series, "not in the stored result, or with other sizes or durability"));
        let gone = self.gone.iter().map(|series| unmatched(series, "only in the stored result, or with other sizes or durability"));
        compared.chain(alone).chain(gone).collect()
    }
}

fn is_same(one: &Series, other: &Series) -> bool {
    let (one, other) = (&one.subject, &other.subject);
    (&one.id, one.system, &one.parameters, &one.durability) == (&other.id, other.system, &other.parameters, &other.durability)
}

/// Beyond noise is what lies apart: between all that one side saw and all that the other saw is a gap of [`LEAST_GAP`] at least, and
/// medians differ by more than the part `least`.
fn judge(better: Better, now: Spread, then: Spread, least: f64) -> Verdict {
    let gap = (now.min - then.max).max(then.min - now.max);
    let is_apart = gap > LEAST_GAP * (now.max - now.min).max(then.max - then.min);
    if !is_apart || (now.median - then.median).abs() <= least * then.median.abs() {
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
            (spread(70.0, 80.0, 84.0), Verdict::Worse),
            (spread(70.0, 80.0, 86.0), Verdict::Same),
            (spread(60.0, 80.0, 84.0), Verdict::Same),
            (spread(70.0, 80.0, 91.0), Verdict::Same),
            (spread(117.0, 130.0, 140.0), Verdict::Better),
            (spread(115.0, 130.0, 140.0), Verdict::Same),
            (spread(109.0, 130.0, 140.0), Verdict::Same),
        ];
        for (now, expected) in cases {
            assert_eq!(judge(Better::Higher, now, then, LEAST_DIFFERENCE), expected, "{now:?}");
        }
        assert_eq!(judge(Better::Lower, spread(70.0, 80.0, 84.0), then, LEAST_DIFFERENCE), Verdict::Better);
        assert_eq!(judge(Better::Lower, spread(117.0, 130.0, 140.0), then, LEAST_DIFFERENCE), Verdict::Worse);
    }

    #[test]
    fn narrow_spreads_make_no_news_of_little() {
        let judged = |now| judge(Better::Higher, now, spread(99.9, 100.0, 100.1), LEAST_DIFFERENCE);
        assert_eq!(judged(spread(96.0, 96.1, 96.2)), Verdict::Same);
        assert_eq!(judged(spread(93.0, 93.1, 93.2)), Verdict::Worse);
    }

    #[test]
    fn few_runs_make_no_news_of_what_may_be_chance() {
        let with = |median: f64, runs: usize| {
            let mut series = series("a", System::Millrace, median);
            series.values = vec![median; runs];
            report(vec![series])
        };
        let verdict = |now: &Report, then: &Report| Comparison::of(now, then).compared[0].verdict;
        assert_eq!(verdict(&with(80.0, 5), &with(100.0, 5)), Verdict::Worse);
        assert_eq!(verdict(&with(80.0, 2), &with(100.0, 5)), Verdict::Same);
        assert_eq!(verdict(&with(80.0, 5), &with(100.0, 2)), Verdict::Same);
        assert_eq!(verdict(&with(60.0, 2), &with(100.0, 2)), Verdict::Worse);
    }

    #[test]
    fn series_of_other_sizes_or_durability_are_not_compared_and_only_ours_count() {
        let of = |system, median| ["a", "b", "c"].map(|id| series(id, system, median)).to_vec();
        let then = report([of(System::Millrace, 100.0), vec![series("a", System::Postgres, 100.0)]].concat());
        let mut now = report([of(System::Millrace, 10.0), vec![series("a", System::Postgres, 10.0)]].concat());
        now.series[1].subject.parameters.insert("accounts".to_owned(), 7);
        now.series[2].subject.durability = "sync_interval: 2m".to_owned();
        let comparison = Comparison::of(&now, &then);
        assert_eq!(comparison.worse().map(|worse| worse.now.subject.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!((comparison.compared.len(), comparison.alone.len(), comparison.gone.len()), (2, 2, 2));
        assert!(comparison.lines()[0].contains("WORSE"), "{:?}", comparison.lines());
    }
}
