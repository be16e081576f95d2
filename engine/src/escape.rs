//! Text from outside in messages, logs and terminals.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};

/// Text or a path from outside, to be shown on one line: what prints, prints as it is, and everything else by its number.
///
/// A file's names and notes and the names of files may hold what moves a cursor, ends a line or turns the direction of
/// writing, and so forge what a terminal or a log shows. Here control characters, separators of lines and paragraphs, marks
/// of direction, characters without width, and code points that stand for nothing become `\n`, `\u{1b}` and so on, bytes of
/// a path that are no text `\xff`. Letters of any script, quotes and backslashes stay, so that escaping twice changes
/// nothing. [`crate::Error`] shows all that comes from outside this way.
///
/// ```
/// assert_eq!(horq::escaped("Größe 漢字").to_string(), "Größe 漢字");
/// assert_eq!(horq::escaped("conv1\n\u{1b}[2Jdone").to_string(), r"conv1\n\u{1b}[2Jdone");
/// ```
pub fn escaped<T: AsRef<OsStr> + ?Sized>(text: &T) -> Escaped<'_> {
    Escaped(text.as_ref().as_encoded_bytes())
}

/// What [`escaped`] gives.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            // The standard library knows what prints, but also escapes what would end a literal of Rust.
            for piece in chunk.valid().split_inclusive(LITERAL) {
                let plain = piece.strip_suffix(LITERAL);
                write!(f, "{}", plain.unwrap_or(piece).escape_debug())?;
                if let Some(plain) = plain {
                    f.write_str(&piece[plain.len()..])?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What `escape_debug` escapes though it prints.
const LITERAL: [char; 3] = ['\'', '"', '\\'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_stays() {
        let names =
            ["", "conv1", "Größe", "漢字", "имя", "שם", "u\u{308}ber", "it's \"new\"", r"C:\nets\a.horq", "a b", "😀"];
        for name in names {
            assert_eq!(escaped(name).to_string(), name);
        }
    }

    #[test]
    fn what_does_not_print_is_told_by_its_number() {
        for (text, shown) in [
            ("a\nb\r\tc\0", r"a\nb\r\tc\0"),
            ("\u{1b}[31m\u{7}", r"\u{1b}[31m\u{7}"),
            // Delete, and the control characters of Latin-1: next line, and the start of a sequence.
            ("\u{7f}\u{85}\u{9b}2J", r"\u{7f}\u{85}\u{9b}2J"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            // A mark that would join the character before it.
            ("\u{301}a", r"\u{301}a"),
        ] {
            assert_eq!(escaped(text).to_string(), shown);
        }
        // Direction, zero width, byte order mark, soft hyphen, tags.
        let hidden = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{ad}', '\u{feff}', '\u{2060}', '\u{e0041}', '\u{fff9}'];
        for c in hidden
            .into_iter()
            .chain('\u{200b}'..='\u{200d}')
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
        {
            assert_eq!(escaped(&format!("a{c}b")).to_string(), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
    }

    #[test]
    fn twice_is_as_once() {
        let once = escaped("\u{202e}x\\n\n'").to_string();
        assert_eq!(escaped(&once).to_string(), once);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text() {
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(OsStr::from_bytes(b"a\xffb\xc3\n/\xed\xa0\x80.horq"));
        assert_eq!(escaped(path).to_string(), r"a\xffb\xc3\n/\xed\xa0\x80.horq");
    }
}
