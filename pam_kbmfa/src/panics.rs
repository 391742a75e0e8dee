//! Turns a panic into a text for the log. No panic may write to standard error, which belongs to sshd, and
//! none may unwind into C.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;

/// Place and message of the last panic.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Runs `body`. If it panics, returns the place and the message.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    // This sets the hook of the standard library linked into this module; the host program's is not changed.
    panic::set_hook(Box::new(note));
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        // Dropping a payload may panic, so it is leaked.
        std::mem::forget(payload);
        LAST.try_lock().map_or_else(|_| "panic".to_owned(), |text| text.clone())
    })
}

/// Stores the place and message, but no backtrace: reading debug information can take seconds and megabytes.
fn note(info: &PanicHookInfo<'_>) {
    if let Ok(mut last) = LAST.try_lock() {
        *last = info.to_string().replace('\n', " ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_one_line_with_its_place() {
        let quiet = panic::take_hook();
        let line = catch(|| panic!("the sky\nfell")).unwrap_err();
        panic::set_hook(quiet);
        assert!(line.contains("panics.rs:") && line.ends_with("the sky fell"), "{line}");
    }
}
