//! What the module reads from a server: the answer as it comes over the wire, and its body.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_proto::client::fuzz::answers(bytes));
