//! What the server reads of a machine: who calls, which login, and the body of every route.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::http::fuzz::requests(bytes));
