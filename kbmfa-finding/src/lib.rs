//! Findings of a `doctor`. `kbmfa-server` and `kbmfa-host` share this form: text for people, JSON for other
//! programs.

#![forbid(unsafe_code)]

use serde::Serialize;
use std::fmt;

/// How bad a finding is. A table of findings prints it, and a fault decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// It works, but could be safer.
    Weak,
    /// It does not work, or will soon stop working.
    Fault,
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was checked.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// The faults among the findings.
pub fn faults(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.level == Level::Fault)
}

/// One sentence, without the fix.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.found)
    }
}

impl Finding {
    fn new(level: Level, what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { level, what: what.into(), found: found.to_string(), fix: None }
    }

    /// A finding without anything to do.
    pub fn ok(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::new(Level::Ok, what, found)
    }

    /// A finding of something that works, but could be safer.
    pub fn weak(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::new(Level::Weak, what, found)
    }

    /// A finding of something that does not work, or will soon stop working.
    pub fn fault(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::new(Level::Fault, what, found)
    }

    /// The finding of a check: `Ok` has what was found, `Err` the fault. It has no separate fix.
    pub fn of(what: &str, looked: Result<String, String>) -> Self {
        match looked {
            Ok(found) => Self::ok(what, found),
            Err(fault) => Self::fault(what, fault),
        }
    }

    /// Adds the fix.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// The cells of a table row. The fix is in the last cell, on a line of its own.
    pub fn cells(&self) -> Vec<String> {
        let mark = match self.level {
            Level::Ok => "ok",
            Level::Weak => "weak",
            Level::Fault => "FAULT",
        };
        let fix = self.fix.as_ref().map(|fix| format!("\n-> {fix}")).unwrap_or_default();
        vec![mark.to_owned(), self.what.clone(), format!("{}{fix}", self.found)]
    }
}
