//! The findings of a `doctor`, in one form for both programs: as text for people and as JSON for programs.

#![forbid(unsafe_code)]

use serde::Serialize;
use std::fmt;

/// The severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and could be safer.
    Weak,
    /// It does not work, or not for long.
    Fault,
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The severity.
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

/// As a sentence, without the fix.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.found)
    }
}

impl Finding {
    fn new(level: Level, what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { level, what: what.into(), found: found.to_string(), fix: None }
    }

    /// It is as it should be.
    pub fn ok(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::new(Level::Ok, what, found)
    }

    /// It works, and could be safer.
    pub fn weak(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::new(Level::Weak, what, found)
    }

    /// It does not work, or not for long.
    pub fn fault(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::new(Level::Fault, what, found)
    }

    /// A finding without a separate fix.
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

    /// For a table; the fix stands below what was found.
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
