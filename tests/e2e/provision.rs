//! Accounts and keys on machines: a real sshd, a real sudo, and real accounts. What the stories share is in
//! `kbmfa_tests::delivery`.

mod adopt;
mod faults;
mod fleet;
mod hostile;
mod keys;
mod orders;
mod own_login;
mod progress;
mod scope;
mod sessions;
mod sudo;
mod whole;
