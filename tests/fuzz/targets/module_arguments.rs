//! The module's arguments in `/etc/pam.d`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pam_kbmfa::fuzz::module_arguments(bytes));
