//! A terminal of 80 columns in which a program runs. Tests read it and type into it.

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::wait::until;

/// Columns of the terminal.
pub const COLUMNS: u16 = 80;

/// A program in a terminal. It is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program whose standard input, output and error are a terminal.
    pub fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(open(&name, flags, Mode::empty()).unwrap());
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
        command.stderr(Stdio::from(slave)).env("TERM", "xterm");
        let child = command.spawn().unwrap();
        // The command holds the other end open, too, so it is dropped.
        drop(command);
        let keyboard = File::from(master);
        let screen: Arc<Mutex<String>> = Arc::default();
        let (mut master, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of a terminal is reported as an error.
            while let Ok(count @ 1..) = master.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, keyboard, screen, reader: Some(reader) }
    }

    /// All output so far, including colours.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits until this text was printed.
    pub fn until(&self, text: &str) {
        until(&format!("{text:?} on the terminal"), || self.screen().contains(text).then_some(()));
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for a question, and then types the answer.
    pub fn answer(&mut self, question: &str, line: &str) {
        self.until(question);
        self.type_line(line);
    }

    /// The same, but the question is one whose answer is not shown: waits until the terminal shows nothing.
    pub fn answer_unseen(&mut self, question: &str, line: &str) {
        self.until(question);
        let is_hidden = || !tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO);
        until("a terminal without an echo", || is_hidden().then_some(()));
        self.type_line(line);
    }

    /// Waits until the program ends. Returns its exit code and all of its output.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = until("the program at the terminal to end", || self.child.try_wait().unwrap());
        // Nothing holds the other end now, so the thread reads everything and ends.
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
