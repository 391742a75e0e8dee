//! `machine add`: takes names as arguments, or a CSV file.

use clap::Args as ClapArgs;
use csv::StringRecord;
use kbmfa_proto::names::{MachineName, PoolName};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Admin, Failure};
use crate::db::Tx;
use crate::machines::{Error, store};
use crate::usecases::{self, machines as usecase};

/// Largest file of machines that is read, in bytes: some 100,000 lines.
const FILE_MAX: u64 = 8 << 20;

/// Maximum number of a file's faults that are printed.
const FAULTS_MAX: usize = 20;

/// The machines to add.
#[derive(ClapArgs)]
#[command(after_help = "The file of --from is CSV with a header line:
  name,pools
  web1,web
  db1,db backup
The pools of a machine are separated by blanks. Either every machine of the file is added, or none.")]
pub struct Args {
    /// The names, such as web1 web2.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    names: Vec<MachineName>,
    /// A pool to put them into, created if it does not exist; repeat it for each.
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<PoolName>,
    /// A CSV file with the machines.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Check everything and print what would be added, but add nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A machine to add.
#[derive(Debug, Clone, PartialEq, Eq)]
struct New {
    /// Line of the file, from 1; `None` for one that was named on the command line.
    line: Option<u64>,
    name: MachineName,
    pools: Vec<PoolName>,
}

pub(super) fn run(admin: &Admin, args: Args) -> Result<(), Failure> {
    let Args { names, pools, from, dry_run } = args;
    // Read before root is given up, because only root may be able to read the file.
    let machines = match &from {
        Some(path) => read(path, &pools)?,
        None => names.into_iter().map(|name| New { line: None, name, pools: pools.clone() }).collect(),
    };
    if dry_run {
        let (_, db) = admin.open()?;
        let checked = machines.clone();
        let taken = db.read_blocking(|tx| taken(tx, &checked)).map_err(Failure::new)?;
        refuse(from.as_deref(), taken)?;
        return match sentence(&machines) {
            None => admin.tell("the file names no machine", &json!({ "machines": [] })),
            Some(sentence) => admin.preview(&format!("enter {sentence}")),
        };
    }
    let wanted = machines.clone();
    let taken = admin.change("machine.add", move |tx, _, actor| {
        let taken = taken(tx, &wanted)?;
        if taken.is_empty() {
            for new in &wanted {
                usecase::add(tx, actor, &new.name, &new.pools)?;
            }
        }
        Ok::<_, usecases::Error>(taken)
    })?;
    refuse(from.as_deref(), taken)?;
    let names: Vec<&MachineName> = machines.iter().map(|new| &new.name).collect();
    let Some(sentence) = sentence(&machines) else {
        return admin.tell("the file names no machine", &json!({ "machines": names }));
    };
    let next = match names.as_slice() {
        [name] => name.to_string(),
        _ => "--never-joined".to_owned(),
    };
    let sentence = format!("added {sentence}; next: kbmfa-server machine join-token {next}");
    admin.tell(&sentence, &json!({ "machines": names }))
}

/// The machines as a phrase: `machine web1`, or `3 machines: web1, web2, web3`. `None` if there are none.
fn sentence(machines: &[New]) -> Option<String> {
    match machines {
        [] => None,
        [one] => Some(format!("machine {}", one.name)),
        many => {
            let names: Vec<String> = many.iter().take(10).map(|new| new.name.to_string()).collect();
            let more = if many.len() > names.len() { ", .." } else { "" };
            Some(format!("{} machines: {}{more}", many.len(), names.join(", ")))
        }
    }
}

/// Faults of the whole list: names that exist already, or appear twice.
fn taken(tx: &Tx<'_>, machines: &[New]) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    let mut first_use: HashMap<&MachineName, Option<u64>> = HashMap::new();
    for new in machines {
        let fault = |what: String| Fault { line: new.line, what };
        if let Some(before) = first_use.insert(&new.name, new.line) {
            let place = before.map(|line| format!(", in line {line}")).unwrap_or_default();
            faults.push(fault(format!("{} is named twice{place}", new.name)));
        } else if store::machine_by_name(tx, &new.name)?.is_some() {
            faults.push(fault(Error::MachineExists(new.name.clone()).to_string()));
        }
    }
    Ok(faults)
}

/// A fault in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    line: Option<u64>,
    what: String,
}

/// Fails if there are faults, and names each with its line.
fn refuse(file: Option<&Path>, faults: Vec<Fault>) -> Result<(), Failure> {
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    let mut lines: Vec<String> = faults
        .into_iter()
        .take(FAULTS_MAX)
        .map(|fault| match (file, fault.line) {
            (Some(file), Some(line)) => format!("{}:{line}: {}", file.display(), fault.what),
            _ => fault.what,
        })
        .collect();
    if more > 0 {
        lines.push(format!("and {more} more faults"));
    }
    Err(Failure::new(lines.join("\n")).hint("nothing was added"))
}

fn read(path: &Path, pools: &[PoolName]) -> Result<Vec<New>, Failure> {
    let unreadable = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_MAX {
        return Err(Failure::new(format!("{} is larger than {} MiB", path.display(), FILE_MAX >> 20)));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let (machines, faults) = parse(&text, pools);
    refuse(Some(path), faults)?;
    Ok(machines)
}

/// The machines of a CSV file, and every fault in it. Each machine gets these pools besides its own. Pure.
///
/// A name contains no line break, so each line is one record, and a fault can name its exact line.
fn parse(text: &str, pools_of_all: &[PoolName]) -> (Vec<New>, Vec<Fault>) {
    let lines = (1..).zip(text.trim_start_matches('\u{feff}').lines().map(str::trim));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let header = lines.next().map(|(at, line)| (at, fields(line)));
    let columns = match header {
        Some((at, Some(header))) => Columns::of(&header).map_err(|what| Fault { line: Some(at), what }),
        other => Err(Fault { line: Some(other.map_or(1, |(at, _)| at)), what: NO_HEADER.to_owned() }),
    };
    let columns = match columns {
        Ok(columns) => columns,
        Err(fault) => return (Vec::new(), vec![fault]),
    };
    let (mut machines, mut faults) = (Vec::new(), Vec::new());
    for (at, line) in lines {
        match fields(line).ok_or_else(|| "it is not CSV".to_owned()).and_then(|record| columns.read(&record))
        {
            Ok((name, own)) => {
                let mut pools = pools_of_all.to_vec();
                pools.extend(own.into_iter().filter(|pool| !pools_of_all.contains(pool)));
                machines.push(New { line: Some(at), name, pools });
            }
            Err(what) => faults.push(Fault { line: Some(at), what }),
        }
    }
    (machines, faults)
}

const NO_HEADER: &str = "the first line must name the columns: name,pools";

/// The index of each column.
struct Columns {
    count: usize,
    name: usize,
    pools: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(str::to_ascii_lowercase).collect();
        if let Some(unknown) = names.iter().find(|name| !["name", "pools"].contains(&name.as_str())) {
            return Err(format!("there is no column {unknown:?}; {NO_HEADER}"));
        }
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        let name = at("name").ok_or(NO_HEADER)?;
        Ok(Self { count: names.len(), name, pools: at("pools") })
    }

    fn read(&self, record: &StringRecord) -> Result<(MachineName, Vec<PoolName>), String> {
        if record.len() != self.count {
            return Err(format!("it has {} fields, the header has {}", record.len(), self.count));
        }
        let name = record.get(self.name).unwrap_or_default();
        let name = name.parse().map_err(|error| format!("{error}"))?;
        let pools = self.pools.and_then(|at| record.get(at)).unwrap_or_default().split_whitespace();
        let pools: Result<Vec<PoolName>, _> = pools.map(str::parse).collect();
        Ok((name, pools.map_err(|error| error.to_string())?))
    }
}

fn fields(line: &str) -> Option<StringRecord> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(line.as_bytes());
    reader.records().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Vec<String>) {
        let (machines, faults) = parse(text, &["all".parse().unwrap()]);
        let machine = |new: &New| {
            let pools: Vec<_> = new.pools.iter().map(PoolName::to_string).collect();
            format!("{}: {} in {}", new.line.unwrap(), new.name, pools.join(" "))
        };
        let fault = |fault: &Fault| format!("{}: {}", fault.line.unwrap(), fault.what);
        (machines.iter().map(machine).collect(), faults.iter().map(fault).collect())
    }

    #[test]
    fn a_file_is_read_as_a_spreadsheet_writes_it() {
        let (machines, faults) =
            parsed("Name,Pools\r\nweb1,web\r\n\"db1\",\"db backup\"\r\n# spare\r\nold1, all\r\n");
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(machines, ["2: web1 in all web", "3: db1 in all db backup", "5: old1 in all"]);
        assert_eq!(parsed("name\nweb1\n").0, ["2: web1 in all"]);
    }

    #[test]
    fn every_fault_is_reported_with_its_line() {
        let (_, faults) = parsed("name,pools\nweb 1,web\nweb2,\nweb3,web,extra\nweb4,we/b ok\n");
        let lines: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["2", "4", "5"], "{faults:?}");
    }

    #[test]
    fn a_header_that_is_not_understood_enters_nothing() {
        for text in ["", "web1,web\n", "pools\nweb\n", "name,pool\nweb1,web\n"] {
            let (machines, faults) = parsed(text);
            assert!(machines.is_empty() && faults.len() == 1, "{text:?}: {machines:?} {faults:?}");
        }
    }
}
