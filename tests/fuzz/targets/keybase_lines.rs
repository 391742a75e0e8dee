//! Every line from the `keybase` program: replies of `chat api` and `team api`, events of `api-listen`,
//! `whoami`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The program's lines are read the same way: what is no UTF-8 is replaced.
    kbmfa_server::channels::keybase::wire::parse_all(&String::from_utf8_lossy(bytes));
});
