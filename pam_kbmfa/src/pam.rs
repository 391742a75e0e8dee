//! What a login needs from PAM, as a trait, and its implementation with pam-bindings.
//!
//! Every text is cleaned before it is passed on. A text that cannot be displayed is dropped, which never
//! affects the decision.

use kbmfa_proto::text::SafeText;
use pam::constants::{PAM_ERROR_MSG, PAM_TEXT_INFO};
use pam::conv::Conv;
use pam::items::{RHost, RUser, Service, Tty};
use pam::module::PamHandle;
use std::ffi::{CStr, CString, c_int};

use crate::ssh::Origin;
use crate::sys::{self, Entry};

/// How urgent a log line is; the levels of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

/// A PAM item that the application sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    Service,
    RHost,
    RUser,
    Tty,
}

/// The style of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Info,
    Error,
}

/// The functions of PAM that a login needs.
pub(crate) trait Pam {
    /// The account to log in to, as the application named it.
    fn user(&mut self) -> Option<String>;
    /// An item; `None` if it is not set or not text.
    fn item(&self, item: Item) -> Option<String>;
    /// A variable of PAM's environment; `None` if it is not set.
    fn env(&mut self, name: &CStr) -> Option<String>;
    /// Stores the connection's origin for later calls about the same login.
    fn remember(&mut self, origin: Origin);
    /// The origin that an earlier call stored, if any.
    fn recall(&self) -> Option<Origin>;
    /// The account with this name in the name service.
    fn entry_of_name(&mut self, name: &str) -> Option<Entry>;
    /// The account that the name service has for a uid.
    fn entry_of_uid(&mut self, uid: u32) -> Option<Entry>;
    /// The first day on which the account has expired, in days since 1970.
    fn expiry_day(&mut self, name: &str) -> Option<i64>;
    /// Whether the application allows texts (no `PAM_SILENT`).
    fn shows_text(&self) -> bool;
    /// Shows a text to the person, if possible.
    fn tell(&self, tone: Tone, text: &SafeText);
    /// Writes one line to the system log.
    fn log(&self, level: Level, line: &str);
}

/// PAM during one call.
pub(crate) struct Handle<'a> {
    pamh: &'a mut PamHandle,
    silent: bool,
    debug: bool,
}

impl<'a> Handle<'a> {
    pub(crate) fn new(pamh: &'a mut PamHandle, silent: bool, debug: bool) -> Self {
        Self { pamh, silent, debug }
    }
}

impl Pam for Handle<'_> {
    fn user(&mut self) -> Option<String> {
        self.pamh.get_user(None).ok()
    }

    fn item(&self, item: Item) -> Option<String> {
        let text = match item {
            Item::Service => self.pamh.get_item::<Service<'_>>().ok()??.0,
            Item::RHost => self.pamh.get_item::<RHost<'_>>().ok()??.0,
            Item::RUser => self.pamh.get_item::<RUser<'_>>().ok()??.0,
            Item::Tty => self.pamh.get_item::<Tty<'_>>().ok()??.0,
        };
        text.to_str().ok().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn env(&mut self, name: &CStr) -> Option<String> {
        sys::getenv(self.pamh, name)
    }

    fn remember(&mut self, origin: Origin) {
        sys::remember(self.pamh, origin);
    }

    fn recall(&self) -> Option<Origin> {
        sys::recall(self.pamh)
    }

    fn entry_of_name(&mut self, name: &str) -> Option<Entry> {
        sys::entry_of_name(self.pamh, name)
    }

    fn entry_of_uid(&mut self, uid: u32) -> Option<Entry> {
        sys::entry_of_uid(self.pamh, uid)
    }

    fn expiry_day(&mut self, name: &str) -> Option<i64> {
        sys::expiry_day(self.pamh, name)
    }

    fn shows_text(&self) -> bool {
        !self.silent
    }

    fn tell(&self, tone: Tone, text: &SafeText) {
        let style = match tone {
            Tone::Info => PAM_TEXT_INFO,
            Tone::Error => PAM_ERROR_MSG,
        };
        if let (false, Ok(Some(conversation))) = (self.silent, self.pamh.get_item::<Conv<'_>>()) {
            // Errors are ignored, because some applications return one although they have shown the text.
            let _ = conversation.send(style, text.as_str());
        }
    }

    fn log(&self, level: Level, line: &str) {
        if level == Level::Debug && !self.debug {
            return;
        }
        if let Ok(line) = CString::new(SafeText::new(line).as_str()) {
            sys::syslog(self.pamh, priority(level), &line);
        }
    }
}

fn priority(level: Level) -> c_int {
    match level {
        Level::Alert => libc::LOG_ALERT,
        Level::Critical => libc::LOG_CRIT,
        Level::Error => libc::LOG_ERR,
        Level::Warning => libc::LOG_WARNING,
        Level::Notice => libc::LOG_NOTICE,
        Level::Info => libc::LOG_INFO,
        Level::Debug => libc::LOG_DEBUG,
    }
}
