//! Pictures of a measurement: a bar a series with its median, and a whisker from least to most, those of
//! one unit in one panel. This module must never measure.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::{
    result::{Series, System},
    table::{number, title},
};

const WIDTH_PX: u32 = 960;
const ROW_PX: u32 = 28;
const MARGIN_PX: u32 = 12;
const TITLE_PX: u32 = 40;
const UNIT_PX: u32 = 30;
/// Where bars begin: labels are left of it.
const LEFT_PX: i32 = 430;
/// What is kept free right of the longest whisker, for its number.
const RIGHT_PX: i32 = 120;
const INK: RGBColor = RGBColor(40, 40, 40);

const fn color(system: System) -> RGBColor {
    match system {
        System::Millrace => RGBColor(0, 114, 178),
        System::Postgres => RGBColor(230, 159, 0),
        System::Monolith => RGBColor(204, 121, 167),
    }
}

/// Draws the series of one measurement.
///
/// # Errors
/// Where the file cannot be written.
pub fn draw(file: &Path, measurement: u8, series: &[&Series]) -> anyhow::Result<()> {
    let panels = by_unit(series);
    let rows: usize = panels.iter().map(|(_, rows)| rows.len()).sum();
    let height = TITLE_PX + 2 * MARGIN_PX + u32::try_from(rows)? * ROW_PX + u32::try_from(panels.len())? * UNIT_PX;
    let area = SVGBackend::new(file, (WIDTH_PX, height)).into_drawing_area();
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    area.fill(&WHITE).map_err(|why| anyhow!("{why}"))?;
    let say = |words: String, x: i32, y: i32, size: i32| area.draw(&Text::new(words, (x, y), text(size))).map_err(|why| anyhow!("{why}"));
    say(title(measurement).replace('`', ""), 12, 14, 20)?;
    let mut top = i32::try_from(TITLE_PX + MARGIN_PX)?;
    for (unit, rows) in panels {
        say(unit.to_owned(), LEFT_PX, top, 15)?;
        top += i32::try_from(UNIT_PX)? - 6;
        let most = rows.iter().map(|series| series.spread.max).fold(f64::MIN_POSITIVE, f64::max);
        for series in rows {
            let spread = series.spread;
            let [least, median, highest] = [spread.min, spread.median, spread.max].map(|value| x_of(value, most));
            let (bar_top, middle) = (top + 3, top + 11);
            let bar = Rectangle::new([(LEFT_PX, bar_top), (median, bar_top + 16)], color(series.subject.system).filled());
            area.draw(&bar).map_err(|why| anyhow!("{why}"))?;
            let whisker = [
                (least, middle - 4),
                (least, middle + 4),
                (least, middle),
                (highest, middle),
                (highest, middle - 4),
                (highest, middle + 4),
            ];
            area.draw(&PathElement::new(whisker.to_vec(), INK)).map_err(|why| anyhow!("{why}"))?;
            say(format!("{}, {}", series.subject.what, series.subject.system.name()), 12, bar_top + 2, 13)?;
            say(number(spread.median), highest + 8, bar_top + 2, 13)?;
            top += i32::try_from(ROW_PX)?;
        }
        top += 6;
    }
    area.present().map_err(|why| anyhow!("{}: {why}", file.display()))
}

/// Where a value's end stands, from zero at [`LEFT_PX`].
#[expect(clippy::cast_possible_truncation, reason = "it lies between the edges")]
fn x_of(value: f64, most: f64) -> i32 {
    let width = f64::from(i32::try_from(WIDTH_PX).unwrap_or(i32::MAX) - LEFT_PX - RIGHT_PX);
    LEFT_PX + (width * (value / most).clamp(0.0, 1.0)).round() as i32
}

/// Series by unit, in the order in which units first come.
fn by_unit<'a>(series: &[&'a Series]) -> Vec<(&'a str, Vec<&'a Series>)> {
    let mut panels: Vec<(&str, Vec<&Series>)> = Vec::new();
    for series in series {
        match panels.iter_mut().find(|(unit, _)| *unit == series.subject.unit) {
            Some((_, rows)) => rows.push(series),
            None => panels.push((&series.subject.unit, vec![series])),
        }
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::series;

    #[test]
    fn a_picture_names_each_series_with_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("1.svg");
        let (ours, theirs) = (series("a", System::Millrace, 1_000.0), series("a", System::Postgres, 500.0));
        draw(&file, 1, &[&ours, &theirs]).expect("drawn");
        let text = std::fs::read_to_string(file).expect("written");
        for word in ["what a is, Millrace", "what a is, PostgreSQL", "1,000", "500", "payments/s"] {
            assert!(text.contains(word), "{word} is missing in {text}");
        }
    }

    #[test]
    fn bars_begin_at_zero() {
        assert_eq!(x_of(0.0, 10.0), LEFT_PX);
        let (half, whole) = (x_of(5.0, 10.0) - LEFT_PX, x_of(10.0, 10.0) - LEFT_PX);
        assert!((whole - 2 * half).abs() <= 1 && whole == 960 - LEFT_PX - RIGHT_PX);
    }
}
