//! What the terminal can show.

use std::env;

/// How to write to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Unicode rules, else plain ASCII.
    pub(crate) unicode: bool,
}

impl Style {
    /// Asks the environment: Unicode where the locale says UTF-8.
    pub(crate) fn detect() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8") || cfg!(any(windows, target_os = "macos"));
        Self { unicode: utf8 }
    }
}
