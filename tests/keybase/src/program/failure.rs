//! Failures of a command: the text on stderr, and the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::fate;
use super::signals::INTERRUPTED;
use crate::clock::wall_ms;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The exit code of every failed command.
const FAILED: u8 = 2;

#[derive(Debug)]
pub(crate) struct Failure {
    text: Option<String>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), code: FAILED }
    }

    /// Fails without a message.
    pub(crate) fn silent() -> Self {
        Self { text: None, code: FAILED }
    }

    /// Fails because of a signal.
    pub(crate) fn interrupted() -> Self {
        Self { text: None, code: INTERRUPTED }
    }

    pub(crate) fn text(self) -> String {
        self.text.unwrap_or_default()
    }

    pub(crate) fn report(self) -> ExitCode {
        if let Some(text) = self.text {
            log("ERRO", "main.go:86", &text);
        }
        ExitCode::from(self.code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(if error.kind() == io::ErrorKind::UnexpectedEof { "EOF".into() } else { error.to_string() })
    }
}

/// Writes a log line to stderr: short at a terminal, elsewhere with time and source location.
pub(crate) fn log(level: &str, place: &str, text: &str) {
    let mut stderr = io::stderr().lock();
    let written = if stderr.is_terminal() {
        let level = if level == "ERRO" { "ERROR" } else { "INFO" };
        writeln!(stderr, "▶ {level} {text}")
    } else {
        writeln!(stderr, "{} ▶ [{level} keybase {place}] 001 {text}", rfc3339(wall_ms()))
    };
    written.unwrap_or_default();
}

/// Writes a line for people to stderr, without the prefix of a log line.
pub(crate) fn say(text: &str) {
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Writes to stdout. Fails if the reader has closed it.
pub(crate) fn print(text: &str) -> Result<()> {
    fate::before_words();
    if fate::is_mute() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?)
}

/// A time in UTC. The calendar is Howard Hinnant's `civil_from_days`.
fn rfc3339(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000 + 719_468, ms % 86_400_000);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    let (year, micros) = (year + era * 400, rest % 1000 * 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000000Z");
    }
}
