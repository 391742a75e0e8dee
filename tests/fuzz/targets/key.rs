//! A person's public key, as it is sent or typed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_proto::key::fuzz::key(bytes));
