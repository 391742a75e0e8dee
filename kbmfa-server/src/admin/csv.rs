//! CSV (RFC 4180), as spreadsheets write and read it. Lists are printed in it; `sheet` reads it.

use super::{Failure, print};
use crate::audit::export::defused;

/// Prints a header line and a line for each row.
pub(super) fn print<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let mut out =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(std::io::stdout().lock());
    let cannot_print = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => print::cannot_print(&error),
        other => Failure::new(format!("cannot print: {other:?}")),
    };
    out.write_record(header).map_err(cannot_print)?;
    for row in rows {
        out.write_record(row.map(|field| defused(&field))).map_err(cannot_print)?;
    }
    out.flush().map_err(|error| print::cannot_print(&error))
}
