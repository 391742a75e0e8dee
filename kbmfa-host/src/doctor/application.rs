//! The part of an application that calls PAM. It runs the one transaction of the dry run.

#![expect(unsafe_code, reason = "calls into C; the rest of the crate is safe code")]

use pam::constants::{PAM_ERROR_MSG, PAM_TEXT_INFO, PamResultCode};
use pam::module::PamHandle;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

/// `struct pam_message`
#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

/// `struct pam_response`
#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

/// `struct pam_conv`
#[repr(C)]
struct Conversation {
    converse: extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    data: *mut c_void,
}

const SUCCESS: c_int = PamResultCode::PAM_SUCCESS as c_int;
const BUF_ERR: c_int = PamResultCode::PAM_BUF_ERR as c_int;
/// `PAM_RHOST`
const RHOST: c_int = 4;
const CONV_ERR: c_int = PamResultCode::PAM_CONV_ERR as c_int;

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        confdir: *const c_char,
        handle: *mut *mut PamHandle,
    ) -> c_int;
    fn pam_set_item(handle: *mut PamHandle, item: c_int, value: *const c_void) -> c_int;
    fn pam_acct_mgmt(handle: *mut PamHandle, flags: c_int) -> c_int;
    fn pam_end(handle: *mut PamHandle, status: c_int) -> c_int;
    fn pam_strerror(handle: *mut PamHandle, code: c_int) -> *const c_char;
}

/// The outcome of the transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The name service knows the account.
    pub(super) is_known: bool,
    /// PAM let the account in.
    pub(super) success: bool,
    /// libpam's text for the code.
    pub(super) meaning: String,
    /// Every text that a module showed.
    pub(super) texts: Vec<String>,
}

/// Runs the account phase of a service whose stack lies in `confdir`, for this user who comes from `rhost`.
pub(super) fn account(service: &CStr, user: &CStr, rhost: &CStr, confdir: &CStr) -> Told {
    let mut texts: Vec<String> = Vec::new();
    let conversation = Conversation { converse, data: ptr::from_mut(&mut texts).cast() };
    let mut handle = ptr::null_mut();
    // SAFETY: all strings end in a zero byte and outlive the call. The conversation and the texts outlive the
    // transaction, which ends below.
    let started = unsafe {
        pam_start_confdir(
            service.as_ptr(),
            user.as_ptr(),
            &raw const conversation,
            confdir.as_ptr(),
            &raw mut handle,
        )
    };
    if started != SUCCESS {
        let meaning = format!("libpam cannot start a transaction: code {started}");
        return Told { is_known: true, success: false, meaning, texts };
    }
    // SAFETY: the handle comes from a start that succeeded, and libpam copies the string.
    let set = unsafe { pam_set_item(handle, RHOST, rhost.as_ptr().cast()) };
    // SAFETY: as above.
    let code = if set == SUCCESS { unsafe { pam_acct_mgmt(handle, 0) } } else { set };
    let meaning = meaning(handle, code);
    // SAFETY: as above, and the handle is not used again.
    unsafe { pam_end(handle, code) };
    Told { is_known: is_known(user), success: code == SUCCESS, meaning, texts }
}

/// Whether the name service knows an account. libpam's own function for this is for modules only: it blocks
/// forever in an application.
fn is_known(user: &CStr) -> bool {
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut texts = vec![0; 64 * 1024];
    let mut found = ptr::null_mut();
    // SAFETY: the name ends in a zero byte, and everything that the call writes to outlives it.
    let code = unsafe {
        libc::getpwnam_r(user.as_ptr(), entry.as_mut_ptr(), texts.as_mut_ptr(), texts.len(), &raw mut found)
    };
    code == 0 && !found.is_null()
}

fn meaning(handle: *mut PamHandle, code: c_int) -> String {
    // SAFETY: the handle is alive.
    let text = unsafe { pam_strerror(handle, code) };
    if text.is_null() {
        return format!("code {code}");
    }
    // SAFETY: not null, so a C string of libpam's own.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Collects every text. A prompt is refused, because nobody can answer it.
extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    let Ok(length) = usize::try_from(count) else { return CONV_ERR };
    // SAFETY: libpam passes back the pointer that `account` gave it. Its target is alive, and nothing else
    // borrows it now.
    let texts = unsafe { &mut *data.cast::<Vec<String>>() };
    for index in 0..length {
        // SAFETY: libpam passes an array of `count` pointers.
        let message = unsafe { messages.add(index) };
        // SAFETY: the pointer is inside that array.
        let message = unsafe { *message };
        // SAFETY: the pointer leads to a message that is alive for this call.
        let message = unsafe { &*message };
        if !matches!(message.style, PAM_ERROR_MSG | PAM_TEXT_INFO) || message.text.is_null() {
            return CONV_ERR;
        }
        // SAFETY: not null, so a C string.
        texts.push(unsafe { CStr::from_ptr(message.text) }.to_string_lossy().into_owned());
    }
    // SAFETY: plain allocation; the caller frees it.
    let answers = unsafe { libc::calloc(length.max(1), size_of::<Response>()) };
    if answers.is_null() {
        return BUF_ERR;
    }
    // SAFETY: libpam passes a valid place for the answers.
    unsafe { *responses = answers.cast() };
    SUCCESS
}
