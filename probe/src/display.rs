//! What programs show of text from outside: names in files, paths, arguments. Nothing of it may move a cursor, forge a line or
//! push a table out of the screen.

use clap::error::ContextValue;
use horq::escaped;
use std::io::{self, Write};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of the longest name that a table shows whole.
pub const LONGEST: usize = 120;

/// Text on one line and of at most [`LONGEST`] columns and characters; what is longer ends in `...`.
pub fn name(text: &str) -> String {
    const ELLIPSIS: &str = "...";
    let mut name = escaped(text).to_string();
    // Marks that join the character before them have no width, but may be many.
    let size = |c: char| c.width().unwrap_or(0).max(1);
    if name.chars().map(size).sum::<usize>() > LONGEST {
        let mut columns = ELLIPSIS.len();
        let end = name.char_indices().find(|&(_, c)| {
            columns += size(c);
            columns > LONGEST
        });
        name.truncate(end.map_or(name.len(), |(at, _)| at));
        name += ELLIPSIS;
    }
    name
}

/// The columns that text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Text with spaces behind it up to that many columns.
///
/// The widths of format strings count characters, not columns, and panic beyond 65535.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", gap(text, columns))
}

/// Text with spaces before it up to that many columns.
pub fn padded_left(text: &str, columns: usize) -> String {
    format!("{}{text}", gap(text, columns))
}

fn gap(text: &str, columns: usize) -> String {
    " ".repeat(columns.saturating_sub(text.width()))
}

/// A JSON document that says the same and shows what does not print by its number: JSON itself does so only up to U+001F.
pub fn printable(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for c in document.chars() {
        // Outside of strings there are only printable characters and ends of lines.
        if c == '\n' || matches!(c, '"' | '\\' | '\'') || c.escape_debug().len() == 1 {
            shown.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        }
    }
    shown
}

/// Prints what the command line comes to where nothing can run: help and version on standard output, errors on standard
/// error. Gives the exit code.
///
/// # Errors
/// If standard output cannot take the help. An error that nobody can read is still told by its exit code.
pub fn usage(mut error: clap::Error) -> io::Result<u8> {
    let shown = |text: &String| escaped(text).to_string();
    let context: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(shown(text)))),
            ContextValue::Strings(texts) => Some((kind, ContextValue::Strings(texts.iter().map(shown).collect()))),
            // Advice, which quotes the argument.
            ContextValue::StyledStrs(texts) => {
                let texts = texts.iter().map(|text| shown(&text.to_string()).into()).collect();
                Some((kind, ContextValue::StyledStrs(texts)))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in context {
        error.insert(kind, value);
    }
    let printed = error.print().and_then(|()| io::stdout().flush());
    if !error.use_stderr() {
        printed?;
    }
    Ok(error.exit_code() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(name("conv1"), "conv1");
        assert_eq!(name(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
        assert_eq!(name(&"x".repeat(70_000)), "x".repeat(LONGEST - 3) + "...");
        // Two columns a character.
        assert_eq!(name(&"漢".repeat(70_000)), "漢".repeat((LONGEST - 3) / 2) + "...");
        assert_eq!(name(&"a\n".repeat(50)), "a\\n".repeat(39) + "...");
        let marks = format!("a{}", "\u{301}".repeat(70_000));
        assert_eq!(name(&marks).chars().count(), LONGEST);
    }

    #[test]
    fn columns_line_up_and_no_width_is_too_large() {
        assert_eq!(padded("漢", 4) + "|", "漢  |");
        assert_eq!(padded_left("u\u{308}", 3), "  u\u{308}");
        assert_eq!(padded("longer", 3), "longer");
        assert_eq!(padded("", 100_000).len(), 100_000);
    }

    #[test]
    fn json_says_the_same() {
        for text in
            ["plain ü 漢 \"it's\" \\ /", "\u{1b}[2J\n\t", "\u{7f}\u{9b}\u{2028}\u{202e}\u{feff}", "\u{e0041}e\u{301}"]
        {
            let document = format!("{:#}", serde_json::json!({ text: [text] }));
            let shown = printable(&document);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), serde_json::json!({ text: [text] }));
            assert!(shown.lines().all(|line| escaped(line).to_string() == line), "{shown}");
        }
    }
}
