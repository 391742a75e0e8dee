//! The module's allocator: the system's, but it wipes each block before it frees it.
//!
//! After a login sshd continues in child processes that run as the person who logged in and inherit its heap.
//! No freed block may still contain the credential, for example in a header, in a buffer of the HTTP client
//! or in a vector that grew. An allocator also covers the libraries, which do not know which of their data is
//! secret.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;
use std::slice;
use zeroize::Zeroize;

struct Wiping;

#[global_allocator]
static WIPING: Wiping = Wiping;

// SAFETY: every call passes its arguments on to the system's allocator. `realloc` is the trait's default: it
// allocates, copies and calls `dealloc` below, so that a block that moves is wiped, too.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what this call requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees what this call requires.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block belongs to the caller, has this size, and is not used any more.
        let bytes = unsafe { slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>(), layout.size()) };
        bytes.zeroize();
        // SAFETY: the caller guarantees what this call requires.
        unsafe { System.dealloc(block, layout) }
    }
}
