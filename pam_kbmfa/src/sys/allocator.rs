//! The module's allocator: the system's, but each block is wiped before it is freed.
//!
//! After a login sshd goes on in children that run as the person who logged in and inherit its heap. No freed
//! block may still contain the credential, for example in a header, in a buffer of the HTTP client or in a
//! vector that grew. Wiping here covers the libraries, too, which do not know about secrets.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;
use std::slice;
use zeroize::Zeroize;

struct Wiping;

#[global_allocator]
static WIPING: Wiping = Wiping;

// SAFETY: every call reaches the system's allocator with the arguments that it came with. `realloc` is the trait's own:
// it allocates, copies and calls `dealloc` below, so that a block which moves leaves nothing behind either.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same as the one that is demanded here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same as the one that is demanded here.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, of this size, and nobody uses it any more.
        let bytes = unsafe { slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), layout.size()) };
        bytes.zeroize();
        // SAFETY: the caller's promise is the same as the one that is demanded here.
        unsafe { System.dealloc(block, layout) }
    }
}
