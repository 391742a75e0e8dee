//! The module in the session phase: sshd has let the person in, and the module holds or ends the session
//! without displaying anything.

use kbmfa_tests::builder::Root;
use kbmfa_tests::recipe::Phase;

use crate::story::{Case, stories};

const CASE: Case = Case(Phase::Session, Root::Debian12);

stories!(CASE);
