//! Faults on the machine: in what surrounds the module, and in the programs that call it.

mod files;
mod signals;
mod sshd;

/// What the person reads when something on the machine keeps the module from asking.
const NOT_SET_UP: &str = "Your login needs an approval, and this machine is not set up to ask for it.";

/// What the record tells of a login that nobody waits for any more.
const CANCELLED: [&str; 3] = ["login.opened", "ask.posted", "login.cancelled"];

/// The shortest time after which the server takes a silent machine for gone.
const SHORT_GRACE: [(&str, &str, &str); 1] = [("login", "poll_grace", "\"6s\"")];
