//! Takes values from the variables and collects all faults in them, as `settings` does for a file.

use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::variables::Variables;

/// What is wrong with a variable, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) variable: &'static str,
    pub(super) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)
    }
}

/// A secret.
pub(super) enum Given {
    /// It stood in the variable itself.
    Here(String),
    /// It stands in this file.
    InFile(PathBuf),
}

/// Variables being read.
pub(super) struct Reading<'a> {
    vars: &'a Variables,
    faults: Vec<Fault>,
}

impl<'a> Reading<'a> {
    /// Begins with nothing wrong.
    pub(super) fn new(vars: &'a Variables) -> Self {
        Self { vars, faults: Vec::new() }
    }

    /// The value as it is.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.vars.get(name)
    }

    /// A text that stands for something else, which must be there.
    pub(super) fn required<T>(&mut self, name: &'static str, missing: &str) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let Some(text) = self.text(name) else {
            self.fault(name, &format!("missing: {missing}"));
            return None;
        };
        self.parse(name, text)
    }

    /// The same with a default.
    pub(super) fn parsed_or<T>(&mut self, name: &'static str, default: &str) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.parse(name, self.text(name).unwrap_or(default))
    }

    /// Texts with commas between them; those that do not stand for anything are faults.
    pub(super) fn list<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Vec<T> {
        let texts = self.text(name).unwrap_or_default().split(',').map(str::trim);
        texts.filter(|text| !text.is_empty()).filter_map(|text| self.parse(name, text)).collect()
    }

    /// An address with a port.
    pub(super) fn address(&mut self, name: &'static str, default: &str) -> Option<SocketAddr> {
        let address = self.text(name).unwrap_or(default).parse();
        address.map_err(|_| self.fault(name, &format!("write an address and a port, such as {default}"))).ok()
    }

    /// A path that means the same wherever the server is started.
    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        if !path.is_absolute() {
            self.fault(name, "write the whole path, from / on");
            return None;
        }
        Some(path)
    }

    /// A secret, in a variable or in the file that the twin names.
    pub(super) fn given(&mut self, name: &'static str, twin: &'static str) -> Option<Given> {
        let file = self.path(twin);
        match self.text(name) {
            None => file.map(Given::InFile),
            Some(secret) => {
                if file.is_some() {
                    self.fault(name, &format!("{twin} is set too; keep one of them"));
                }
                Some(Given::Here(secret.to_owned()))
            }
        }
    }

    /// Records what is wrong.
    pub(super) fn fault(&mut self, variable: &'static str, what: &str) {
        self.faults.push(Fault { variable, what: what.to_owned() });
    }

    /// True if something is wrong with this one.
    pub(super) fn is_faulty(&self, variable: &str) -> bool {
        self.faults.iter().any(|fault| fault.variable == variable)
    }

    /// True if something is wrong with any.
    pub(super) fn found_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// All that was found wrong.
    pub(super) fn take_faults(&mut self) -> Vec<Fault> {
        mem::take(&mut self.faults)
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.fault(name, &error.to_string())).ok()
    }
}
