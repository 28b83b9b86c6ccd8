//! Keeps the figures of a README true: what stands between two markers is written anew, the rest is
//! people's. This module must never know what figures mean.

use std::{fs, path::Path};

use anyhow::Context as _;

const BEGIN: &str = "<!-- figures: written by `just bench` -->";
const END: &str = "<!-- end of figures -->";

/// Writes the figures into a README.
///
/// # Errors
/// Where it has no markers, or cannot be written.
pub fn update(file: &Path, figures: &str) -> anyhow::Result<()> {
    let before = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let after = replaced(&before, figures).with_context(|| format!("{} has not the lines {BEGIN} and {END}", file.display()))?;
    fs::write(file, after).with_context(|| format!("{} cannot be written", file.display()))
}

fn replaced(text: &str, figures: &str) -> Option<String> {
    let (head, rest) = text.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_markers_is_written_anew() {
        let text = format!("# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nmore\n");
        let once = replaced(&text, "new\n").expect("markers");
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore\n"));
        assert_eq!(replaced(&once, "new").as_ref(), Some(&once));
        assert_eq!(replaced("nothing", "new"), None);
        assert_eq!(replaced(BEGIN, "new"), None);
    }
}
