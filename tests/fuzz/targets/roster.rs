//! The roster file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::roster_file::fuzz::roster(bytes));
