//! The contents of `/proc/PID/stat` and `/proc/PID/fd`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pam_kbmfa::fuzz::proc_files(bytes));
