//! Another program that locks the server's database.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::process::program;

const HOLD: &str = "import signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute('BEGIN IMMEDIATE')
print('held', flush=True)
signal.pause()";

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct Lock(Child);

impl Lock {
    /// Locks the database, and returns once it is locked.
    pub fn on(state_dir: &Path) -> Self {
        let mut command = program("python3");
        command.args(["-c", HOLD]).arg(state_dir.join("kbmfa.db")).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
