//! What is wrong with a file, and where: rendered as compilers do.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_saphyr::{DefaultMessageFormatter, Location, MessageFormatter};

use super::spanned::Spanned;

/// Why a file is no scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1; `None` when it is the file as a whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what was expected.
    pub message: String,
    /// The line in question with carets under it, ready to print.
    snippet: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n --> {}", self.message, self.path.display())?;
        let Some((line, column)) = self.place else { return Ok(()) };
        write!(f, ":{line}:{column}\n{}", self.snippet)
    }
}

/// A finding before it is known which file it is in.
#[derive(Debug)]
pub(super) struct Finding {
    location: Option<Location>,
    message: String,
}

/// A finding at no value: something is not there.
pub(super) fn nowhere(message: impl Into<String>) -> Finding {
    Finding { location: None, message: message.into() }
}

/// A finding at a value.
pub(super) fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Finding {
    Finding { location: Some(value.referenced), message: message.into() }
}

impl From<serde_saphyr::Error> for Finding {
    fn from(error: serde_saphyr::Error) -> Self {
        let location = error.location();
        let message = DefaultMessageFormatter.format_message(error.without_snippet()).into_owned();
        Self { location, message: in_our_words(message) }
    }
}

/// What the parser says of its own options, and what it leaves out, means nothing to a reader of scenarios.
fn in_our_words(message: String) -> String {
    if message == "invalid IP address syntax" {
        return "not an IP address: expected one as in 192.168.0.91 (of a NIC with its prefix length, as in 192.168.0.3/24)".to_owned();
    }
    match message.split_once(", set DuplicateKeyPolicy") {
        Some((duplicate, _)) => format!("{duplicate}: expected each key once"),
        None => message,
    }
}

impl Finding {
    /// With the file's name and its line.
    pub(super) fn within(self, path: &Path, text: &str) -> Refusal {
        let place = self.location.and_then(|location| {
            let (line, column) = (usize::try_from(location.line()).ok()?, usize::try_from(location.column()).ok()?);
            (line > 0 && column > 0).then_some((line, column))
        });
        let width = self.location.map_or(1, |location| usize::try_from(location.span().len()).unwrap_or(1));
        let snippet = place.map(|(line, column)| snippet(text, line, column, width)).unwrap_or_default();
        // One line, whatever the parser quotes from the file.
        let message = self.message.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
        Refusal { path: path.to_owned(), place, message: message.chars().filter(|c| !c.is_control()).collect(), snippet }
    }
}

/// About a whole file.
pub(super) fn whole(path: &Path, message: impl Into<String>) -> Refusal {
    Refusal { path: path.to_owned(), place: None, message: message.into(), snippet: String::new() }
}

/// The line with carets below; long lines are cut around the place.
fn snippet(text: &str, line: usize, column: usize, width: usize) -> String {
    /// What fits a terminal beside the margin.
    const SHOWN: usize = 110;
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let cut = if column > SHOWN { column - SHOWN / 2 } else { 0 };
    let shown: String = source.chars().skip(cut).take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let room = shown.chars().count().saturating_sub(column - 1 - cut);
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let carets = "^".repeat(width.clamp(1, room.max(1)));
    format!("{margin} |\n{number} | {shown}\n{margin} | {}{carets}", " ".repeat(column - 1 - cut))
}
