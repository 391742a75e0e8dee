//! Questions to the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use zeroize::Zeroizing;

use crate::Error;

/// Somebody who can be asked.
pub trait Ask {
    /// Whether somebody is there.
    fn is_present(&self) -> bool;
    /// The answer in one line. [`Error::NoAnswer`] with `instead` (the option to use) if nobody is there.
    fn line(&mut self, question: &str, instead: &'static str) -> Result<String, Error>;
    /// The same without an echo.
    fn secret(&mut self, question: &str, instead: &'static str) -> Result<Zeroizing<String>, Error>;
}

/// The person at the terminal.
pub struct Terminal;

impl Ask for Terminal {
    fn is_present(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn line(&mut self, question: &str, instead: &'static str) -> Result<String, Error> {
        if !self.is_present() {
            return Err(Error::NoAnswer(instead));
        }
        let mut to = io::stderr();
        write!(to, "{question} ")?;
        to.flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Err(Error::NoAnswer(instead));
        }
        Ok(line.trim().to_owned())
    }

    fn secret(&mut self, question: &str, instead: &'static str) -> Result<Zeroizing<String>, Error> {
        if !self.is_present() {
            return Err(Error::NoAnswer(instead));
        }
        Ok(Zeroizing::new(rpassword::prompt_password(format!("{question} "))?))
    }
}

/// Goes on after `yes`; stops after everything else.
pub(crate) fn confirm(ask: &mut dyn Ask, question: &str) -> Result<(), Error> {
    let answer = ask.line(&format!("{question} [yes/no]"), "nobody can be asked here: confirm with --yes")?;
    if answer == "yes" { Ok(()) } else { Err(Error::Stopped) }
}
