//! Reads a CSV file with a header line, and collects every fault with its line. Pure but for [`read`].

use csv::StringRecord;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Failure;

/// Largest file that is read, in bytes: some 100,000 lines.
const FILE_MAX: u64 = 8 << 20;

/// Maximum number of a file's faults that are printed.
const FAULTS_MAX: usize = 20;

/// A fault in a line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) what: String,
}

/// A line's fields by the names of their columns.
pub(super) struct Line<'a> {
    columns: &'a [&'static str],
    record: &'a StringRecord,
}

impl Line<'_> {
    /// The text in this column; empty if the file does not have it.
    pub(super) fn field(&self, column: &str) -> &str {
        let at = self.columns.iter().position(|name| *name == column);
        at.and_then(|at| self.record.get(at)).unwrap_or_default()
    }
}

/// Reads the lines of CSV `text`. `known` are the columns that it may have, of which the first `needed` must be
/// there. No field contains a line break, so each line is one record, and a fault can name its exact line.
pub(super) fn parse<T>(
    text: &str,
    known: &[&'static str],
    needed: usize,
    read: impl Fn(&Line<'_>) -> Result<T, String>,
) -> (Vec<(u64, T)>, Vec<Fault>) {
    let lines = (1..).zip(text.trim_start_matches('\u{feff}').lines().map(str::trim));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (line, header) = lines.next().unwrap_or((1, ""));
    let columns = match columns(header, known, needed) {
        Ok(columns) => columns,
        Err(what) => return (Vec::new(), vec![Fault { line, what }]),
    };
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (line, text) in lines {
        let one = fields(text).ok_or_else(|| "it is not CSV".to_owned()).and_then(|record| {
            if record.len() != columns.len() {
                return Err(format!("it has {} fields, the header has {}", record.len(), columns.len()));
            }
            read(&Line { columns: &columns, record: &record })
        });
        match one {
            Ok(one) => found.push((line, one)),
            Err(what) => faults.push(Fault { line, what }),
        }
    }
    (found, faults)
}

/// The columns that a header names, in its order.
fn columns(header: &str, known: &[&'static str], needed: usize) -> Result<Vec<&'static str>, String> {
    let rule = || {
        let (needed, optional) = known.split_at(needed.min(known.len()));
        format!(
            "the first line must name the columns: {}; and may name {}",
            needed.join(","),
            optional.join(",")
        )
    };
    let mut columns = Vec::new();
    for name in &fields(header).ok_or_else(rule)? {
        let name = name.to_ascii_lowercase();
        let column = known.iter().find(|column| **column == name);
        let column = column.ok_or_else(|| format!("there is no column {name:?}; {}", rule()))?;
        if columns.contains(column) {
            return Err(format!("column {name:?} is there twice"));
        }
        columns.push(*column);
    }
    let is_there = |column: &&'static str| columns.contains(column);
    if known.iter().take(needed).all(is_there) { Ok(columns) } else { Err(rule()) }
}

fn fields(line: &str) -> Option<StringRecord> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(line.as_bytes());
    reader.records().next()?.ok()
}

/// Faults that were found later, by the indices of the items that the lines gave.
pub(super) fn at_lines(lines: &[u64], faults: Vec<(usize, impl Display)>) -> Vec<Fault> {
    let line = |at: usize| lines.get(at).copied().unwrap_or_default();
    faults.into_iter().map(|(at, what)| Fault { line: line(at), what: what.to_string() }).collect()
}

/// The text of a file that is not too large. A pipe or a device has no size, so no more than that is read either.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    if text.len() as u64 > FILE_MAX {
        return Err(Failure::new(format!("{} is larger than {} MiB", path.display(), FILE_MAX >> 20)));
    }
    Ok(text)
}

/// Fails if there are faults, and names each with its line.
pub(super) fn refuse(path: &Path, mut faults: Vec<Fault>) -> Result<(), Failure> {
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort_by_key(|fault| fault.line);
    let line = |fault: &Fault| format!("{}:{}: {}", path.display(), fault.line, fault.what);
    Err(refusal(faults.iter().map(line), "nothing was added"))
}

/// The failure for these faults, of which the first ones are named.
pub(super) fn refusal(faults: impl ExactSizeIterator<Item = String>, done: &str) -> Failure {
    let more = faults.len().saturating_sub(FAULTS_MAX);
    let mut lines: Vec<String> = faults.take(FAULTS_MAX).collect();
    if more > 0 {
        lines.push(format!("and {more} more faults"));
    }
    Failure::new(lines.join("\n")).hint(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(u64, String)>, Vec<u64>) {
        let read = |line: &Line<'_>| {
            let both = format!("{}+{}", line.field("name"), line.field("pools"));
            if both.contains('!') { Err("bad".to_owned()) } else { Ok(both) }
        };
        let (found, faults) = parse(text, &["name", "pools"], 1, read);
        (found, faults.into_iter().map(|fault| fault.line).collect())
    }

    #[test]
    fn a_sheet_is_read_as_a_spreadsheet_writes_it() {
        let (found, faults) = parsed("\u{feff}Pools,Name\r\n\"a b\",\"x\"\r\n# no\r\n\r\n,y\r\n");
        assert_eq!(faults, Vec::<u64>::new());
        assert_eq!(found, [(2, "x+a b".to_owned()), (5, "y+".to_owned())]);
        assert_eq!(parsed("name\nx\n").0, [(2, "x+".to_owned())]);
    }

    #[test]
    fn a_file_without_an_end_is_refused_when_it_is_too_large() {
        let refused = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(refused.contains("/dev/zero is larger than 8 MiB"), "{refused}");
    }

    proptest::proptest! {
        #[test]
        fn each_line_of_any_sheet_is_read_or_is_a_fault_with_its_line(
            lines in proptest::collection::vec("[a-z!,\"; ]{0,8}|\\PC{0,8}", 0..12),
        ) {
            let text = format!("name,pools\n{}", lines.join("\n"));
            let (found, faults) = parsed(&text);
            let mut told: Vec<u64> = found.iter().map(|(line, _)| *line).chain(faults).collect();
            told.sort_unstable();
            let all = (1_u64..).zip(text.lines().map(str::trim)).skip(1);
            let meant: Vec<u64> =
                all.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(at, _)| at).collect();
            proptest::prop_assert_eq!(told, meant);
        }
    }

    #[test]
    fn each_fault_of_a_sheet_has_its_line_and_a_wrong_header_reads_nothing() {
        assert_eq!(parsed("name,pools\n!,a\nx,a,b\nx,a\nx\n").1, [2, 3, 5]);
        for text in ["", "x,y\n", "pools\na\n", "name,name\nx,y\n"] {
            let (found, faults) = parsed(text);
            assert!(found.is_empty() && faults == [1], "{text:?}");
        }
    }
}
