//! Printing, in one place: JSON for programs, tables for people. Nothing from outside is printed that a
//! type has not cleaned.

use comfy_table::{Table, presets};
use serde::Serialize;
use std::io::{self, Write};

use super::{Admin, Failure};

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
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(headings);
        table.add_rows(rows.iter().map(cells));
        say(&table.trim_fmt())
    }

    /// Prints a sentence, or the same as JSON.
    pub(super) fn tell(&self, sentence: &str, json: &impl Serialize) -> Result<(), Failure> {
        if self.json { print_json(json) } else { say(sentence) }
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
