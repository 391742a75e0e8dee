//! The few calls to libpam and libc that pam-bindings and the standard library lack, each behind a safe
//! function. This file decides nothing and passes no pointer on.
#![expect(unsafe_code, reason = "calls into C; the rest of the crate is safe code")]

use pam::module::PamHandle;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

mod allocator;

use crate::ssh::Origin;

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_syslog(handle: *const PamHandle, priority: c_int, format: *const c_char, ...);
    fn pam_getenv(handle: *mut PamHandle, name: *const c_char) -> *const c_char;
    fn pam_modutil_getpwnam(handle: *mut PamHandle, user: *const c_char) -> *mut libc::passwd;
    fn pam_modutil_getpwuid(handle: *mut PamHandle, uid: libc::uid_t) -> *mut libc::passwd;
    fn pam_modutil_getspnam(handle: *mut PamHandle, user: *const c_char) -> *mut libc::spwd;
}

/// Writes one line to the system log, facility AUTHPRIV.
pub(crate) fn syslog(handle: &PamHandle, priority: c_int, text: &CStr) {
    // SAFETY: the handle is alive while it is borrowed; "%s" takes exactly the one C string that follows.
    unsafe { pam_syslog(handle, priority, c"%s".as_ptr(), text.as_ptr()) }
}

/// A variable of PAM's own environment, which is separate from the process's. Invalid UTF-8 is replaced, so
/// that a variable that is set never looks unset.
pub(crate) fn getenv(handle: &mut PamHandle, name: &CStr) -> Option<String> {
    // SAFETY: the handle is alive while it is borrowed, and the name ends in a zero byte.
    let value = unsafe { pam_getenv(handle, name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: not null, so a C string that libpam keeps until the variable changes; it is copied here.
    let value = unsafe { CStr::from_ptr(value) };
    Some(value.to_string_lossy().into_owned())
}

/// The PAM data key of a login's origin. It contains the version, because another version of this module may
/// store another layout.
const ORIGIN: &str = concat!("kbmfa-origin-", env!("CARGO_PKG_VERSION"));

/// Stores an origin for the lifetime of the handle.
pub(crate) fn remember(handle: &mut PamHandle, origin: Origin) {
    // Without memory nothing is stored, and later calls find no origin.
    let _ = handle.set_data(ORIGIN, Box::new(origin));
}

/// The stored origin.
pub(crate) fn recall(handle: &PamHandle) -> Option<Origin> {
    // SAFETY: under this name only `remember` stores a value, of this type. It is copied here.
    unsafe { handle.get_data::<Origin>(ORIGIN) }.ok().copied()
}

/// An entry of the name service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name as the name service spells it; empty if that is not UTF-8.
    pub(crate) name: String,
    pub(crate) uid: u32,
}

/// The account of this name; `None` if the name service knows none, or cannot be asked.
pub(crate) fn entry_of_name(handle: &mut PamHandle, name: &str) -> Option<Entry> {
    let name = CString::new(name).ok()?;
    // SAFETY: the handle is alive while it is borrowed, and the name ends in a zero byte.
    let found = unsafe { pam_modutil_getpwnam(handle, name.as_ptr()) };
    entry(found)
}

/// The account that the name service has for a uid.
pub(crate) fn entry_of_uid(handle: &mut PamHandle, uid: u32) -> Option<Entry> {
    // SAFETY: the handle is alive while it is borrowed.
    let found = unsafe { pam_modutil_getpwuid(handle, uid) };
    entry(found)
}

/// Copies an entry of libpam's, which is valid as long as the handle.
fn entry(found: *const libc::passwd) -> Option<Entry> {
    // SAFETY: null, or an entry of libpam's, which nothing changes during the copy.
    let found = unsafe { found.as_ref() }?;
    if found.pw_name.is_null() {
        return None;
    }
    // SAFETY: not null, so a C string that lives as long as the entry.
    let name = unsafe { CStr::from_ptr(found.pw_name) };
    Some(Entry { name: name.to_str().unwrap_or_default().to_owned(), uid: found.pw_uid })
}

/// The first day on which the account has expired, by the shadow file, in days since 1970. `None` if it never
/// expires, or the process may not read that file.
pub(crate) fn expiry_day(handle: &mut PamHandle, name: &str) -> Option<i64> {
    let name = CString::new(name).ok()?;
    // SAFETY: the handle is alive while it is borrowed, and the name ends in a zero byte.
    let found = unsafe { pam_modutil_getspnam(handle, name.as_ptr()) };
    // SAFETY: null, or an entry of libpam's, which nothing changes during the read.
    let found = unsafe { found.as_ref() }?;
    (found.sp_expire >= 0).then_some(found.sp_expire)
}

/// The real uid of the process.
pub(crate) fn real_uid() -> u32 {
    // SAFETY: it has no arguments, touches no memory and cannot fail.
    unsafe { libc::getuid() }
}

/// A duplicate of one of this process's descriptors, not inherited by children.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not -1, and borrowed for the next call only. If it is not open, that call returns EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned()
}

/// The effective uid of the process.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: it has no arguments, touches no memory and cannot fail.
    unsafe { libc::geteuid() }
}

/// Signals by which people, or the end of their terminal, interrupt a program.
const BREAKS_OFF: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Blocks, in this thread, the signals in [`BREAKS_OFF`] that the application does not ignore. Dropping it
/// restores the mask, and the application then receives pending signals. Not used in sshd, whose
/// LoginGraceTime needs its signals.
pub(crate) struct HeldSignals {
    before: libc::sigset_t,
    held: Vec<c_int>,
}

impl HeldSignals {
    pub(crate) fn hold() -> Self {
        let held: Vec<c_int> = BREAKS_OFF.into_iter().filter(|signal| !is_ignored(*signal)).collect();
        let (mut set, mut before) = (no_signals(), no_signals());
        for signal in &held {
            // SAFETY: the set was initialised above, and this is the number of a signal.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        // SAFETY: both sets live as long as the call, which cannot fail for these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        Self { before, held }
    }

    /// The blocked signals.
    pub(crate) fn list(&self) -> Vec<c_int> {
        self.held.clone()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: the set lives as long as the call. The old mask is not requested.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Whether one of these signals waits to be delivered.
pub(crate) fn is_pending(signals: &[c_int]) -> bool {
    let mut set = no_signals();
    // SAFETY: the set lives as long as the call, which only writes to it.
    unsafe { libc::sigpending(&raw mut set) };
    // SAFETY: the set was filled above, and this is the number of a signal.
    signals.iter().any(|signal| unsafe { libc::sigismember(&raw const set, *signal) } == 1)
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call changes nothing, and writes only to a place that lives as long as the call.
    let told = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the place was all zeros, which is a valid value, or was written by the call.
    let action = unsafe { action.assume_init() };
    told == 0 && action.sa_sigaction == libc::SIG_IGN
}

fn no_signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::zeroed();
    // SAFETY: it writes only to a place that lives as long as the call.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the place was all zeros, which is a valid value, or was written by the call.
    unsafe { set.assume_init() }
}

/// Ends the process at once and successfully without running any handler, as a bug in a library might.
#[cfg(feature = "faults")]
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(0) }
}

/// Reads a byte beyond a block of memory, as a bug in unsafe code might.
#[cfg(feature = "faults")]
#[inline(never)]
pub(crate) fn read_too_far() -> u8 {
    let block = std::hint::black_box(vec![7; 16]);
    let end = block.as_ptr_range().end;
    // SAFETY: none. This is the injected fault; malloc happens to leave this byte readable.
    unsafe { end.read_volatile() }
}
