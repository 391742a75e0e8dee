//! What the server reads from a machine: credential, login id, and the body of every route.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::http::fuzz::requests(bytes));
