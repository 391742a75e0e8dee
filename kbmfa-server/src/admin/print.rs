//! Printing, in one place: JSON for programs, tables for people. Nothing from outside is printed that a
//! type has not cleaned.

use comfy_table::{Table, presets};
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{self, Write};

use super::{Admin, Failure};

/// Events from which on somebody at a terminal is shown how far it is.
const PROGRESS_FROM: i64 = 50_000;

impl Admin {
    /// Prints `rows` as a JSON array, or as a table with these headings.
    pub(super) fn print<R: Serialize>(
        &self,
        rows: &[R],
        headings: &[&str],
        cells: impl Fn(&R) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.json {
            return print_json(&rows);
        }
        say(&table(headings, rows.iter().map(cells)))
    }

    /// Prints a sentence, or the same as JSON.
    pub(super) fn tell(&self, sentence: &str, json: &impl Serialize) -> Result<(), Failure> {
        if self.json { print_json(json) } else { say(sentence) }
    }
}

/// A table for people.
pub(super) fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings);
    table.add_rows(rows);
    table.trim_fmt()
}

/// How far `total` events are, on stderr; nothing where that is no terminal, or where it is soon done.
pub(super) fn progress(total: i64) -> ProgressBar {
    match u64::try_from(total) {
        Ok(length) if total >= PROGRESS_FROM => ProgressBar::new(length),
        _ => ProgressBar::hidden(),
    }
}

/// Prints one thing as JSON.
pub(super) fn print_json(thing: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string(thing).map_err(Failure::new)?)
}

/// Prints a line now; a closed pipe is an error, not a panic.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Failure::new(format!("cannot print: {e}")))
}
