//! Questions to the operator at the terminal.

use std::io::{self, BufRead as _, Write as _};

use super::super::super::Failure;

/// True for the answer "yes" alone.
pub(super) fn ask(question: &str) -> Result<bool, Failure> {
    let mut to = io::stderr();
    write!(to, "{question} [yes/no] ").and_then(|()| to.flush()).map_err(Failure::new)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Failure::new)?;
    Ok(line.trim() == "yes")
}
