//! The files of the old tool for keys.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::roster_file::fuzz::ssh_handler(bytes));
