//! The values that sshd puts into `SSH_CONNECTION` and `SSH_AUTH_INFO_0`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pam_kbmfa::fuzz::ssh_environment(bytes));
