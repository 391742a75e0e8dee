//! `audit export`: all events, or those of a time range, as JSON lines or as CSV.

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::json;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::super::output::Output;
use super::super::time_arg::When;
use super::super::{Admin, Failure, print};
use crate::audit::chain::Link;
use crate::audit::export::{CSV_HEADER, to_line, to_row};
use crate::audit::store;
use crate::db::Db;

/// What to write, and where.
#[derive(ClapArgs)]
pub struct Args {
    /// jsonl can be verified by anybody (`audit verify --file`); csv is for spreadsheets.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// From the first event at or after this time: 2026-11-21T21:00:00Z, 2026-11-21, or how long ago: 2h, 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// To the last event before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// The file to create; it must not exist. Without one, or with -, standard output.
    file: Option<PathBuf>,
}

/// The format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object in each line.
    Jsonl,
    /// RFC 4180.
    Csv,
}

pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let path = args.file.as_ref().filter(|path| path.as_os_str() != "-");
    let output = path.map(|path| Output::create(path)).transpose()?;
    let (_, db) = admin.open()?;
    let part = db.read_blocking(|tx| {
        let moment = |when: Option<When>| when.map(|when| when.seen_from(tx.now));
        store::between(tx, moment(args.since), moment(args.until))
    });
    let part = part.map_err(Failure::new)?;
    let Some(output) = output else {
        return write(&db, part, args.format, io::stdout().lock()).map(drop);
    };
    let events = write(&db, part, args.format, output.file())?;
    output.sync()?;
    let name = output.name();
    output.keep();
    admin.tell(&format!("{name}: {events} events"), &json!({ "file": name, "events": events }))
}

/// Writes these events page by page; returns how many.
pub(super) fn write(
    db: &Db,
    part: RangeInclusive<i64>,
    format: Format,
    to: impl Write,
) -> Result<i64, Failure> {
    let refused = |error: io::Error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::new(format!("cannot write: {error}")),
    };
    let mut out = BufWriter::new(to);
    let (mut done, mut before, last) = (0, part.start() - 1, *part.end());
    let progress = print::progress(last - before);
    if format == Format::Csv {
        out.write_all(CSV_HEADER.as_bytes()).map_err(refused)?;
    }
    loop {
        let page = db.read_blocking(|tx| store::links(tx, before, last)).map_err(Failure::new)?;
        let Some(end) = page.last() else { break };
        before = end.seq;
        for link in &page {
            out.write_all(rendered(link, format)?.as_bytes()).map_err(refused)?;
            done += 1;
        }
        progress.inc(page.len() as u64);
    }
    progress.finish_and_clear();
    out.flush().map_err(refused)?;
    Ok(done)
}

fn rendered(link: &Link, format: Format) -> Result<String, Failure> {
    match format {
        Format::Jsonl => to_line(link).map_err(Failure::new),
        Format::Csv => Ok(to_row(link)),
    }
}
