//! CSV files of employees, machines and keys.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::admin::fuzz::csv(bytes));
