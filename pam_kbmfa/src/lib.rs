//! The PAM module: six entry points. Each reads its arguments, catches every panic and returns a code.
//!
//! There is one file for each step, in reading order. Nothing here may print, or leave a thread, a signal
//! handler or an open descriptor behind. Nothing may succeed without a fresh approval; `outcome` has the one
//! exception.

#![allow(missing_docs, reason = "only kbmfa-host uses the public items, and their names are clear")]

mod account;
mod attempt;
mod connection;
mod facts;
mod flow;
mod pam;
mod panics;
mod peer;
mod presence;
mod report;
mod server;
mod ssh;
mod sys;

// The code that reads a machine's files and the module's arguments is public only for `kbmfa-host`, so that
// both agree.
pub mod args;
pub mod clock;
pub mod config;
pub mod files;
pub mod host_id;
pub mod outcome;
pub mod procfs;
pub mod random;
pub mod spool;

#[cfg(feature = "faults")]
mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use ::pam::constants::{PAM_SILENT, PamFlag, PamResultCode};
use ::pam::module::{PamHandle, PamHooks};
use kbmfa_proto::login::Phase;
use std::ffi::CStr;

use crate::args::{Args, Purpose};
use crate::outcome::Outcome;
use crate::pam::{Handle, Level, Pam};

struct Module;

/// The six symbols that libpam looks up.
mod symbols {
    use super::Module;
    ::pam::pam_hooks!(Module);
}

impl PamHooks for Module {
    fn sm_authenticate(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        guarded(pamh, &args, flags, Phase::Auth)
    }

    fn acct_mgmt(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        guarded(pamh, &args, flags, Phase::Account)
    }

    fn sm_open_session(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        guarded(pamh, &args, flags, Phase::Session)
    }

    // libpam calls this for every login, even if it called no other entry point before. There is nothing to
    // do or to refuse.
    fn sm_setcred(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }

    fn sm_close_session(pamh: &mut PamHandle, args: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        let close = || {
            if let Ok(args) = Args::parse(&args)
                && args.purpose == Purpose::LogOnly
            {
                attempt::close(&mut Handle::new(pamh, true, args.debug), &args);
            }
        };
        // Succeeds even if the report was not sent, because the session is over.
        let _ = panics::catch(close);
        PamResultCode::PAM_SUCCESS
    }

    fn sm_chauthtok(pamh: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        let log = || {
            let handle = Handle::new(pamh, true, false);
            handle.log(Level::Error, "this module does not work on a password line");
        };
        // Refuses even if the log line cannot be written.
        let _ = panics::catch(log);
        PamResultCode::PAM_SERVICE_ERR
    }
}

/// Runs one phase. A panic is logged, and the login is refused.
fn guarded(pamh: &mut PamHandle, args: &[&CStr], flags: PamFlag, phase: Phase) -> PamResultCode {
    let outcome = panics::catch(|| {
        let args = Args::parse(args);
        let (silent, debug) = args.as_ref().map_or((false, false), |args| (args.silent, args.debug));
        let mut handle = Handle::new(&mut *pamh, silent || flags & PAM_SILENT != 0, debug);
        attempt::run(&mut handle, phase, args)
    });
    let outcome = outcome.unwrap_or_else(|panic| {
        Handle::new(pamh, true, false).log(Level::Critical, &format!("refused after a fault: {panic}"));
        Outcome::Panicked
    });
    outcome.code(phase)
}
