//! Where a result is shown: its table and plots beside it, and the README. This module must never measure.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    plot, readme,
    result::{Report, Series},
    table::{MEASUREMENTS, markdown},
};

/// Writes the table and the plots of a result beside it; the table.
///
/// # Errors
/// Where they cannot be written.
pub fn write(report: &Report, result: &Path) -> anyhow::Result<String> {
    for (number, _, _) in MEASUREMENTS {
        let series: Vec<&Series> = report.of(number).collect();
        if !series.is_empty() {
            plot::draw(&picture(result, number), number, &series)?;
        }
    }
    let table = markdown(report, &|number| name(&picture(result, number)));
    let file = result.with_extension("md");
    fs::write(&file, &table).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(table)
}

/// Whether the README can point to a result.
///
/// # Errors
/// Where there is none.
pub fn lies_beside_readme(result: &Path) -> anyhow::Result<bool> {
    Ok(fs::canonicalize(result)?.starts_with(fs::canonicalize(env!("CARGO_MANIFEST_DIR"))?))
}

/// Shows a result in the README, which can point to it.
///
/// # Errors
/// Where it cannot be written.
pub fn show(report: &Report, result: &Path) -> anyhow::Result<()> {
    let home = fs::canonicalize(env!("CARGO_MANIFEST_DIR"))?;
    let file = fs::canonicalize(result)?;
    let file = file.strip_prefix(&home).with_context(|| format!("{} lies outside of {}", file.display(), home.display()))?;
    let link = |number: u8| Some(picture(file, number).display().to_string());
    readme::update(&home.join("README.md"), &markdown(report, &link))
}

fn picture(result: &Path, number: u8) -> PathBuf {
    result.with_extension(format!("{number}.svg"))
}

fn name(file: &Path) -> Option<String> {
    Some(file.file_name()?.to_str()?.to_owned())
}
