//! The program named `keybase`.

use std::process::ExitCode;

fn main() -> ExitCode {
    keybase_double::run()
}
