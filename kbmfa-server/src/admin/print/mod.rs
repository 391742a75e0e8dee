//! Output of the command line: JSON for programs, tables for people. Text from outside is printed only in
//! types that have cleaned it.

mod table;

use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

pub(super) use table::{Column, Screen, heading, row, table};

use super::{Admin, Failure};
pub(super) use crate::admin_socket::rows::Moment;

/// Events from which on somebody at a terminal is shown how far it is.
const PROGRESS_FROM: i64 = 50_000;

/// Width of a terminal that does not tell its own.
const WIDTH_DEFAULT: usize = 80;

impl Admin {
    /// Prints `rows` as a JSON array, or as a table.
    pub(super) fn print<R: Serialize>(
        &self,
        rows: &[R],
        columns: &[Column],
        cells: impl Fn(&R) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.json {
            return print_json(&rows);
        }
        let rows: Vec<_> = rows.iter().map(cells).collect();
        say(&table(columns, &rows, screen()))
    }

    /// Prints a sentence, or the same as JSON.
    pub(super) fn tell(&self, sentence: &str, json: &impl Serialize) -> Result<(), Failure> {
        if self.json { print_json(json) } else { say(sentence) }
    }

    /// Says what would be done without `--yes`, and ends with [`Failure::would_change`].
    ///
    /// # Errors
    /// Always: nothing was done.
    pub(super) fn preview<T>(&self, what: &str) -> Result<T, Failure> {
        let sentence = format!("would {what}\nhint: repeat the command with --yes");
        self.tell(&sentence, &serde_json::json!({ "would": what }))?;
        Err(Failure::would_change())
    }

    /// A time as people read it: in their own time zone, or in UTC with `--utc`.
    pub(super) fn time(&self, Moment(time): Moment) -> String {
        match Timestamp::from_microsecond(time.micros()) {
            Ok(moment) if !self.utc => {
                moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
            }
            _ => time.to_string(),
        }
    }

    /// The same, or `-`.
    pub(super) fn time_or_dash(&self, moment: Option<Moment>) -> String {
        moment.map_or_else(|| "-".into(), |moment| self.time(moment))
    }
}

/// How wide standard output is, and whether it takes colour. Only a terminal has either.
pub(super) fn screen() -> Screen {
    let out = io::stdout();
    let width = out.is_terminal().then(|| {
        let told = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        told.filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT)
    });
    let colour = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
    Screen { width, colour }
}

/// Prints a note beside the output proper: on standard error, so that it gets into no file or pipe.
pub(super) fn note(text: &str) {
    // Nowhere to say it if stderr is gone.
    let _ = writeln!(io::stderr(), "note: {text}");
}

/// Says that a list was cut at its `--limit`.
pub(super) fn note_cut(limit: i64) {
    note(&format!("these are the newest {limit}; --limit N prints more"));
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

/// Prints a line now.
///
/// # Errors
/// If it cannot be printed. A reader that has seen enough, such as `head`, ends the program without a word.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| cannot_print(&error))
}

/// Why standard output takes no more.
pub(super) fn cannot_print(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        Failure::reader_gone()
    } else {
        Failure::new(format!("cannot print: {error}"))
    }
}
