//! Output of the command line: JSON for programs, tables for people. Text from outside is printed only as a
//! type that has cleaned it.

mod table;

use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

pub(super) use table::{Column, Screen, heading, row, table};

use super::{Admin, Failure};
pub(super) use crate::admin_socket::rows::Moment;

/// Number of events from which on a terminal shows a progress bar.
const PROGRESS_FROM: i64 = 50_000;

/// Default width of a terminal.
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

    /// Prints the sentence for people, or the value as JSON.
    pub(super) fn tell(&self, sentence: &str, json: &impl Serialize) -> Result<(), Failure> {
        if self.json { print_json(json) } else { say(sentence) }
    }

    /// Prints what would be done with `--yes`, and returns [`Failure::would_change`].
    ///
    /// # Errors
    /// Always, because nothing was done.
    pub(super) fn preview<T>(&self, what: &str) -> Result<T, Failure> {
        let sentence = format!("would {what}\nhint: repeat the command with --yes");
        self.tell(&sentence, &serde_json::json!({ "would": what }))?;
        Err(Failure::would_change())
    }

    /// Prints what would be done, as JSON with these fields besides, and ends a verb that was called with `--dry-run`.
    pub(super) fn dry_run<T>(&self, what: &str, mut json: serde_json::Value) -> Result<T, Failure> {
        if let Some(fields) = json.as_object_mut() {
            fields.insert("would".to_owned(), what.into());
        }
        self.tell(&format!("would {what}\nhint: repeat the command without --dry-run"), &json)?;
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

    /// The time for people, or `-` if there is none.
    pub(super) fn time_or_dash(&self, moment: Option<Moment>) -> String {
        moment.map_or_else(|| "-".into(), |moment| self.time(moment))
    }
}

/// Width and colours of standard output. Only a terminal has either.
pub(super) fn screen() -> Screen {
    let out = io::stdout();
    let width = out.is_terminal().then(|| {
        let told = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        told.filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT)
    });
    let colour = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
    Screen { width, colour }
}

/// Prints a note to standard error, so that it does not get into a file or pipe.
pub(super) fn note(text: &str) {
    // If standard error is closed the note is lost.
    let _ = writeln!(io::stderr(), "note: {text}");
}

/// Notes that a list was cut at its `--limit`.
pub(super) fn note_cut(limit: i64) {
    note(&format!("these are the newest {limit}; --limit N prints more"));
}

/// A progress bar for `total` events on stderr; none if stderr is not a terminal, or for few events.
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

/// Prints a line at once.
///
/// # Errors
/// If it cannot be printed. If the reader, such as `head`, has closed the pipe, the program ends without an
/// error text.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| cannot_print(&error))
}

/// The failure for an error of standard output.
pub(super) fn cannot_print(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        Failure::reader_gone()
    } else {
        Failure::new(format!("cannot print: {error}"))
    }
}
