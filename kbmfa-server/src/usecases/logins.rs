//! Actions of an operator on a login.

use kbmfa_proto::text::SafeText;

use crate::channels::Answer;
use crate::db::Tx;
use crate::logins::decide::{Answered, AtConsole, answer_at_console};
use crate::logins::{Error, Rules, service};

pub use crate::logins::service::{end_start, poll_broke, sweep};

/// An answer at the console to the login whose id begins with `prefix`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`].
pub fn decide(
    tx: &Tx<'_>,
    rules: &Rules,
    prefix: &str,
    who: &AtConsole,
    answer: Answer,
    reason: Option<&SafeText>,
) -> Result<Answered, Error> {
    let login = service::find(tx, prefix)?;
    answer_at_console(tx, rules, &login.id, who, answer, reason)
}
