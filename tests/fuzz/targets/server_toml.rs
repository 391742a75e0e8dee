//! `server.toml`, the server's configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kbmfa_server::config::fuzz::server_toml(bytes));
