//! The cloud: one process in place of Keybase's servers. It holds all state in memory and loses it when it
//! ends.

mod acts;
mod deliver;
mod faults;
mod listeners;
mod look;
mod orders;
mod requests;
mod roster;
mod serve;
mod session;
mod store;
mod waits;
mod world;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Runs the cloud until its stdin is closed. If stdin is not a pipe, it runs until its parent ends.
pub(crate) fn run(socket: &Path, out: &mut impl Write) -> io::Result<()> {
    let listener = serve::listen(socket)?;
    writeln!(out, "cloud ready at {}", socket.display())?;
    out.flush()?;
    let (end, ended) = channel();
    end_with_parent(end.clone())?;
    thread::spawn(move || {
        serve::accept(&listener);
        end.send(()).ok();
    });
    ended.recv().ok();
    std::fs::remove_file(socket).ok(); // whoever ended it may have removed the socket already
    Ok(())
}

fn end_with_parent(end: Sender<()>) -> io::Result<()> {
    let mode = rustix::fs::fstat(rustix::stdio::stdin())?.st_mode;
    if !matches!(
        rustix::fs::FileType::from_raw_mode(mode),
        rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket
    ) {
        return Ok(set_parent_process_death_signal(Some(Signal::TERM))?);
    }
    thread::spawn(move || {
        let mut rest = [0; 64];
        while io::stdin().read(&mut rest).is_ok_and(|count| count > 0) {}
        end.send(()).ok();
    });
    Ok(())
}
