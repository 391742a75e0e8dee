//! `pam.toml`, the module's configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pam_kbmfa::fuzz::pam_toml(bytes));
