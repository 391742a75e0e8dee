//! A person's public key, and a signature by it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_proto::sshsig::fuzz::signature(bytes));
