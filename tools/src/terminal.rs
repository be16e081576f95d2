//! What the terminal can show, and small grey pictures in it.

use std::cmp::Ordering;
use std::env;
use std::io::{self, IsTerminal};

/// How to write to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Unicode half blocks and rules, else plain ASCII.
    pub(crate) unicode: bool,
    /// Escape sequences for colour.
    pub(crate) color: bool,
    /// Columns of a line.
    pub(crate) width: usize,
}

/// Columns where nothing tells how many there are.
const DEFAULT_WIDTH: usize = 80;

impl Style {
    /// Asks the environment: colour only on a terminal, never with `NO_COLOR` or `TERM=dumb`; Unicode where the locale
    /// says UTF-8.
    pub(crate) fn detect(ascii: bool) -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(set)
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8") || cfg!(any(windows, target_os = "macos"));
        let terminal = io::stdout().is_terminal();
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let width = if terminal { terminal_size::terminal_size().map(|(width, _)| width.0.into()) } else { None };
        Self {
            unicode: utf8 && !ascii,
            color: terminal && !dumb && set("NO_COLOR").is_none(),
            width: width.unwrap_or(DEFAULT_WIDTH),
        }
    }

    /// Text in one of the colours, if colours are shown.
    pub(crate) fn paint(self, color: Color, text: &str) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", color as u8) } else { text.to_owned() }
    }

    /// Rows of text that show `size` x `size` grey pixels, two pixel rows a line, without the given margin.
    pub(crate) fn picture(self, pixels: &[u8], size: usize, margin: usize) -> Vec<String> {
        let inside = margin..size - margin;
        let pixel = |row: usize, column: usize| pixels.get(row * size + column).copied().unwrap_or(0);
        let line = |row: usize| {
            let cells = inside.clone().map(|column| (pixel(row, column), pixel(row + 1, column)));
            match (self.unicode, self.color) {
                (true, true) => shaded(cells),
                (true, false) => cells.map(|(top, bottom)| block(top > INK, bottom > INK)).collect(),
                (false, _) => cells.map(|(top, bottom)| ramp(top, bottom)).collect(),
            }
        };
        inside.clone().step_by(2).map(line).collect()
    }
}

/// Blocks in the greys of the 256-colour palette (232 to 255), which every terminal with colours has. The block follows the
/// shades, so that a copy without colours still shows the picture.
fn shaded(cells: impl Iterator<Item = (u8, u8)>) -> String {
    let grey = |value: u8| 232 + u16::from(value) * 23 / 255;
    let (mut line, mut shades) = (String::new(), None);
    for (top, bottom) in cells {
        let (top, bottom) = (grey(top), grey(bottom));
        let (block, front, back) = match top.cmp(&bottom) {
            Ordering::Equal => (if top < MIDDLE_GREY { ' ' } else { '█' }, top, top),
            Ordering::Greater => ('▀', top, bottom),
            Ordering::Less => ('▄', bottom, top),
        };
        if shades.replace((front, back)) != Some((front, back)) {
            line += &format!("\x1b[38;5;{front};48;5;{back}m");
        }
        line.push(block);
    }
    line + "\x1b[0m"
}

fn block(top: bool, bottom: bool) -> char {
    match (top, bottom) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

/// Greys below this are dark.
const MIDDLE_GREY: u16 = 244;
/// Above this a pixel without shades counts as ink.
const INK: u8 = 100;

/// A character as dark as the two pixels.
fn ramp(top: u8, bottom: u8) -> char {
    const RAMP: &[u8] = b" .:-=+*#%@";
    let mean = (usize::from(top) + usize::from(bottom)) / 2;
    char::from(RAMP[mean * (RAMP.len() - 1) / 255])
}

/// Colours by what they say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Color {
    /// Right.
    Green = 32,
    /// Wrong.
    Red = 31,
    /// A heading.
    Bold = 1,
    /// Beside the point.
    Dim = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: [u8; 16] = [0, 255, 0, 255, 0, 0, 255, 255, 128, 128, 0, 0, 128, 128, 0, 0];

    #[test]
    fn blocks_and_ascii() {
        let style = Style { unicode: true, color: false, width: 80 };
        assert_eq!(style.picture(&PIXELS, 4, 0), [" ▀▄█", "██  "]);
        assert_eq!(style.picture(&PIXELS, 4, 1), ["▄▀"]);
        let ascii = Style { unicode: false, ..style };
        assert_eq!(ascii.picture(&PIXELS, 4, 0), [" ==@", "==  "]);
    }

    #[test]
    fn colour_ends_with_a_reset_and_plain_text_has_no_escape() {
        let style = Style { unicode: true, color: true, width: 80 };
        let rows = style.picture(&PIXELS, 4, 0);
        let escape = |shades: &str| format!("\x1b[38;5;{shades}m");
        let first = [escape("232;48;5;232"), " ".into(), escape("255;48;5;232"), "▀▄".into(), escape("255;48;5;255")];
        assert_eq!(rows[0], first.concat() + "█\x1b[0m");
        let plain = Style { color: false, ..style };
        assert_eq!(plain.paint(Color::Red, "no"), "no");
        assert!(!plain.picture(&PIXELS, 4, 0).concat().contains('\x1b'));
    }
}
