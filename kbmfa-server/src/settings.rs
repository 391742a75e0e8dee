//! Reads a configuration file, and collects all faults in it. Each module takes its own keys from its
//! section. A key that no module took is a fault.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Everything that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: PathBuf,
    found: Vec<(usize, String)>,
}

impl fmt::Display for Faults {
    /// One line for each: `file:line: what`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (line, what)) in self.found.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{line}: {what}", self.file.display())?;
        }
        Ok(())
    }
}

impl Faults {
    /// Each fault with its line, counted from 1, sorted.
    pub fn found(&self) -> &[(usize, String)] {
        &self.found
    }
}

impl std::error::Error for Faults {}

/// A file while it is read.
pub struct File<'a> {
    path: &'a Path,
    text: &'a str,
    table: DeTable<'a>,
    sections: RefCell<BTreeSet<&'static str>>,
    found: RefCell<Vec<(usize, String)>>,
}

impl<'a> File<'a> {
    /// Parses the text of the file at `path`.
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let file = Self {
            path,
            text,
            table: table.into_inner(),
            sections: RefCell::default(),
            found: RefCell::default(),
        };
        for error in errors {
            file.fault(error.span().map_or(0, |span| span.start), error.message().trim());
        }
        file
    }

    /// The section `[name]`, empty if the file has none.
    pub fn section(&'a self, name: &'static str) -> Section<'a> {
        self.sections.borrow_mut().insert(name);
        let found = self.table.iter().find(|(key, _)| key.get_ref() == name);
        let table = match found.map(|(key, value)| (key, value.get_ref())) {
            Some((_, DeValue::Table(table))) => Some(table),
            Some((key, _)) => {
                self.fault(key.span().start, &format!("{name} must be a section: write [{name}]"));
                None
            }
            None => None,
        };
        let at = found.map_or(0, |(key, _)| key.span().start);
        Section { file: self, name, at, table, taken: RefCell::default(), replaced: RefCell::default() }
    }

    /// The tables `[[name]]`. Each is read and finished like a section.
    pub fn tables(&'a self, name: &'static str) -> Vec<Section<'a>> {
        self.sections.borrow_mut().insert(name);
        let found = self.table.iter().find(|(key, _)| key.get_ref() == name);
        let Some((key, value)) = found else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.fault(key.span().start, &format!("write [[{name}]]"));
            return Vec::new();
        };
        let table = |item: &'a Spanned<DeValue<'a>>| {
            let at = item.span().start;
            let DeValue::Table(table) = item.get_ref() else {
                self.fault(at, &format!("write [[{name}]]"));
                return None;
            };
            let (taken, replaced) = (RefCell::default(), RefCell::default());
            Some(Section { file: self, name, at, table: Some(table), taken, replaced })
        };
        items.iter().filter_map(table).collect()
    }

    /// Number of lines of the file; 1 for an empty one.
    pub fn lines(&self) -> usize {
        self.line(self.text.trim_end().len())
    }

    /// Returns all faults. Call it after every section was read.
    ///
    /// # Errors
    /// [`Faults`], if there are any.
    pub fn finish(self) -> Result<(), Faults> {
        for (key, _) in &self.table {
            if !self.sections.borrow().contains(key.get_ref().as_ref()) {
                self.fault(key.span().start, &format!("unknown section or key {:?}", key.get_ref()));
            }
        }
        let mut found = self.found.into_inner();
        found.sort();
        if found.is_empty() { Ok(()) } else { Err(Faults { file: self.path.to_owned(), found }) }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    fn fault(&self, at: usize, what: &str) {
        self.found.borrow_mut().push((self.line(at), what.to_owned()));
    }
}

/// A section while it is read. Keys that are not taken by the end are unknown, and so faults.
pub struct Section<'a> {
    file: &'a File<'a>,
    name: &'static str,
    at: usize,
    table: Option<&'a DeTable<'a>>,
    taken: RefCell<BTreeSet<&'static str>>,
    replaced: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// The tables `[[name.key]]`. Each is read and finished like a section.
    pub fn tables(&self, key: &'static str, name: &'static str) -> Vec<Section<'a>> {
        self.taken.borrow_mut().insert(key);
        let found = match self.find(key).map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => Some(items),
            Some(_) => {
                self.fault(key, &format!("write [[{name}]]"));
                None
            }
            None => None,
        };
        let table = |item: &'a Spanned<DeValue<'a>>| {
            let DeValue::Table(table) = item.get_ref() else {
                self.fault(key, &format!("write [[{name}]]"));
                return None;
            };
            let at = item.span().start;
            Some(Section {
                file: self.file,
                name,
                at,
                table: Some(table),
                taken: RefCell::default(),
                replaced: RefCell::default(),
            })
        };
        found.into_iter().flat_map(|items| items.iter()).filter_map(table).collect()
    }

    /// The section `[name]` inside this one; `key` is the last part of `name`. Empty if the file has none.
    #[must_use]
    pub fn section(&self, key: &'static str, name: &'static str) -> Section<'a> {
        self.taken.borrow_mut().insert(key);
        let found = self.find(key);
        let table = match found.map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            Some(_) => {
                self.fault(key, &format!("write [{name}]"));
                None
            }
            None => None,
        };
        let at = found.map_or(self.at, |value| value.span().start);
        Section { file: self.file, name, at, table, taken: RefCell::default(), replaced: RefCell::default() }
    }

    /// True if the file has the section.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// The line on which the section begins.
    pub fn line(&self) -> usize {
        self.file.line(self.at)
    }

    /// True or false.
    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        let read = |value: &DeValue<'_>| match value {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err("write true or false".to_owned()),
        };
        self.take(key, read).unwrap_or(default)
    }

    /// A list of texts to parse; invalid ones are faults.
    pub fn parsed_list<T: FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Option<Vec<T>> {
        let texts = self.list(key)?;
        if texts.is_empty() {
            self.fault(key, "an empty list matches nothing; leave the key out, or name something");
        }
        let parse = |text: &String| text.parse().map_err(|e: T::Err| self.fault(key, &e.to_string())).ok();
        Some(texts.iter().filter_map(parse).collect())
    }

    /// Declares a key that was true or false and is no longer read. If it is there, that is a fault;
    /// `instead` says what replaces the value.
    pub fn replaced(&self, key: &'static str, instead: impl FnOnce(bool) -> &'static str) {
        self.replaced.borrow_mut().insert(key);
        if let Some(value) = self.find(key) {
            let was = matches!(value.get_ref(), DeValue::Boolean(true));
            self.fault(key, &format!("is no longer read: {}", instead(was)));
        }
    }

    /// True if the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// A text to parse; `default` if it is absent or invalid.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, key: &'static str, default: T) -> T {
        self.take(key, |value| text(value)?.parse().map_err(|e: T::Err| e.to_string())).unwrap_or(default)
    }

    /// [`Self::parsed`], but `None` if the key is absent or invalid.
    pub fn parsed_or_none<T: FromStr<Err: fmt::Display>>(&self, key: &'static str) -> Option<T> {
        self.take(key, |value| text(value)?.parse().map_err(|e: T::Err| e.to_string()))
    }

    /// A list of texts. A single text counts as a list of one.
    pub fn list(&self, key: &'static str) -> Option<Vec<String>> {
        self.take(key, |value| match value {
            DeValue::Array(items) => {
                items.iter().map(|item| text(item.get_ref()).map(str::to_owned)).collect()
            }
            one => text(one).map(|one| vec![one.to_owned()]),
        })
    }

    /// A duration such as "60s" or "2m". One outside the bounds is a fault.
    pub fn duration(&self, key: &'static str, default: Duration, bounds: (Duration, Duration)) -> Duration {
        let read = |value: &DeValue<'_>| {
            let length =
                text(value)?.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
            match length {
                Some(length) if (bounds.0..=bounds.1).contains(&length) => Ok(length),
                _ => Err(format!("write a duration from {:?} to {:?}, such as \"60s\"", bounds.0, bounds.1)),
            }
        };
        self.take(key, read).unwrap_or(default)
    }

    /// A number of days such as "400d". One outside the bounds is a fault.
    pub fn days(&self, key: &'static str, default: u64, bounds: (u64, u64)) -> Duration {
        const DAY: u64 = 24 * 60 * 60;
        let read = |value: &DeValue<'_>| {
            let days = text(value)?.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
            match days {
                Some(days) if (bounds.0..=bounds.1).contains(&days) => Ok(days),
                _ => Err(format!("write a number of days from \"{}d\" to \"{}d\"", bounds.0, bounds.1)),
            }
        };
        Duration::from_secs(self.take(key, read).unwrap_or(default).saturating_mul(DAY))
    }

    /// A whole number. One outside the bounds is a fault.
    pub fn number(&self, key: &'static str, default: u64, bounds: (u64, u64)) -> u64 {
        let read = |value: &DeValue<'_>| {
            let DeValue::Integer(number) = value else { return Err("write a whole number".to_owned()) };
            match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) if (bounds.0..=bounds.1).contains(&number) => Ok(number),
                _ => Err(format!("write a whole number from {} to {}", bounds.0, bounds.1)),
            }
        };
        self.take(key, read).unwrap_or(default)
    }

    /// Records a fault of `key`. If the file does not have the key, the fault is one of the section.
    pub fn fault(&self, key: &'static str, what: &str) {
        let at = self.find(key).map_or(self.at, |value| value.span().start);
        self.file.fault(at, &format!("{}.{key}: {what}", self.name));
    }

    /// Ends the section. Every key that was not taken is a fault.
    pub fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !self.taken.borrow().contains(name) && !self.replaced.borrow().contains(name) {
                let known: Vec<_> = self.taken.borrow().iter().copied().collect();
                let what = format!(
                    "unknown key {:?} in [{}]; known: {}",
                    key.get_ref(),
                    self.name,
                    known.join(", ")
                );
                self.file.fault(key.span().start, &what);
            }
        }
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let (_, value) = self.table?.iter().find(|(found, _)| found.get_ref() == key)?;
        Some(value)
    }

    fn take<T>(&self, key: &'static str, read: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        self.taken.borrow_mut().insert(key);
        match read(self.find(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(what) => {
                self.fault(key, &what);
                None
            }
        }
    }
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| "write a string in quotes".to_owned())
}
