//! SIGINT and SIGTERM end the program with an exit code of its own.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::thread;

/// The exit code of a program that was ended by a signal.
pub(crate) const INTERRUPTED: u8 = 3;

/// Calls this function at the first signal.
pub(crate) fn on_signal(react: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || signals.forever().next().map(|_| react()));
    Ok(())
}

/// Ends a client at a signal, whatever it is doing.
#[expect(
    clippy::disallowed_methods,
    reason = "a client that blocks in a read has nothing that needs to be dropped"
)]
pub(crate) fn interrupt() {
    std::process::exit(INTERRUPTED.into());
}
