//! Input of the admin socket.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::admin_socket::fuzz::frames(bytes));
