//! `login watch`: prints a line for each login that begins or ends, and for each notice. At a terminal it
//! also takes answers.

use nix::unistd::{getpgrp, tcgetpgrp};
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use kbmfa_proto::names::LoginId;

use super::super::print::{self, Column, Screen};
use super::super::{Admin, Failure};
use super::dialog::{Dialog, Step, Waiting};
use super::source::Source;
use super::{COLUMNS, cells};
use crate::admin_socket::logins::{News, NoticeRow};
use crate::admin_socket::request::{Decision, WatchQuery};
use crate::admin_socket::rows::LoginRow;
use crate::clock::{self, Clock, SystemClock, Time};
use crate::db::Changes;
use crate::logins::state::State;

/// Interval at which the database is checked for changes.
const INTERVAL: Duration = Duration::from_millis(200);

/// Interval at which a server is asked. Each request costs a connection and a look-up of the peer.
const SERVER_INTERVAL: Duration = Duration::from_secs(1);

/// Widths of the columns of `list` without the session. They are fixed, because later rows are not known yet.
const WIDTHS: [usize; 9] = [8, 20, 12, 16, 8, 15, 50, 9, 20];

pub(super) fn run(admin: &Admin, source: &Source) -> Result<(), Failure> {
    let mut polling = Polling::of(source)?;
    let mut watch = Watch::new(admin);
    watch.print_heading()?;
    loop {
        if polling.is_due()? {
            let news = source.news(WatchQuery { seen: watch.seen, noticed: watch.noticed })?;
            watch.print_news(news)?;
        }
        match watch.wait()? {
            Some(Step::Quit) => return Ok(()),
            Some(Step::Decide(answer, id, reason)) => {
                let decision = Decision { id: id.to_string(), reason: reason.map(Into::into) };
                // On success the login's own line shows the result.
                if let Err(failure) = source.decide(admin, decision, answer) {
                    print::say(&failure.to_string())?;
                }
            }
            Some(Step::Say(text)) if !text.is_empty() => print::say(&text)?,
            Some(Step::Say(_)) | None => {}
        }
        watch.print_question()?;
    }
}

/// When to check again: at a change of the database, or at intervals with a server.
enum Polling {
    Database { changes: Changes, version: Option<i64> },
    Server { looked: Option<Duration> },
}

impl Polling {
    fn of(source: &Source) -> Result<Self, Failure> {
        Ok(match source {
            Source::Database(_, db) => {
                Self::Database { changes: db.watch().map_err(Failure::new)?, version: None }
            }
            Source::Server(_) => Self::Server { looked: None },
        })
    }

    fn is_due(&mut self) -> Result<bool, Failure> {
        Ok(match self {
            Self::Database { changes, version } => {
                let now = Some(changes.version().map_err(Failure::new)?);
                std::mem::replace(version, now) != now
            }
            Self::Server { looked } => {
                let now = clock::monotonic();
                let is_due = looked.is_none_or(|looked| now.saturating_sub(looked) >= SERVER_INTERVAL);
                if is_due {
                    *looked = Some(now);
                }
                is_due
            }
        })
    }
}

struct Watch<'a> {
    admin: &'a Admin,
    columns: Vec<(Column, usize)>,
    screen: Screen,
    /// The last printed state of each login; `None` before the first check.
    printed: Option<HashMap<LoginId, State>>,
    /// Logins that wait, the oldest first.
    waiting: Vec<Waiting>,
    noticed: Time,
    /// Number of the newest event at the last check.
    seen: Option<i64>,
    keyboard: Option<Keyboard>,
    dialog: Dialog,
    /// The question that is on the screen.
    asked: Option<String>,
    needs_reason: bool,
}

impl<'a> Watch<'a> {
    fn new(admin: &'a Admin) -> Self {
        Self {
            admin,
            columns: COLUMNS.into_iter().zip(WIDTHS).collect(),
            screen: print::screen(),
            printed: None,
            waiting: Vec::new(),
            noticed: SystemClock.now(),
            seen: None,
            keyboard: Keyboard::open(admin),
            dialog: Dialog::default(),
            asked: None,
            needs_reason: false,
        }
    }

    fn print_heading(&self) -> Result<(), Failure> {
        if self.admin.json {
            return Ok(());
        }
        if self.keyboard.is_some() {
            print::say("a and Enter approves a login that waits, d denies, ? explains, q ends")?;
        }
        print::say(&print::heading(&self.columns, self.screen))
    }

    /// Prints each login that is new or has changed, and each notice.
    fn print_news(&mut self, news: News) -> Result<(), Failure> {
        (self.seen, self.needs_reason) = (Some(news.head), news.needs_reason);
        let mut lines = Vec::new();
        if let Some(mut newest) = news.logins {
            newest.reverse();
            self.waiting =
                newest.iter().filter(|login| login.state.0 == State::Pending).map(waiting).collect();
            lines = self.changed(&newest)?;
        }
        lines.extend(self.notices(&news.notices));
        if !lines.is_empty() {
            self.interrupt_question()?;
        }
        lines.iter().try_for_each(|line| print::say(line))
    }

    /// The logins that are new or have changed, as lines.
    fn changed(&mut self, newest: &[LoginRow]) -> Result<Vec<String>, Failure> {
        let is_first = self.printed.is_none();
        let printed = self.printed.get_or_insert_default();
        let mut lines = Vec::new();
        for login in newest {
            let state = login.state.0;
            let is_news = printed.insert(login.id.clone(), state) != Some(state);
            // Logins that ended before the watch began are not printed.
            if is_news && !(is_first && state != State::Pending) {
                lines.push(if self.admin.json {
                    serde_json::to_string(login).map_err(Failure::new)?
                } else {
                    print::row(&self.columns, &cells(self.admin, login), self.screen)
                });
            }
        }
        Ok(lines)
    }

    /// The notices since the last check, as lines.
    fn notices(&mut self, notices: &[NoticeRow]) -> Vec<String> {
        let line = |NoticeRow { at, text }: &NoticeRow| {
            if self.admin.json {
                serde_json::json!({ "notice": text, "at": at.to_string() }).to_string()
            } else {
                format!("!  {}  {text}", self.admin.time((*at).into()))
            }
        };
        let lines = notices.iter().map(line).collect();
        self.noticed = notices.last().map_or(self.noticed, |notice| notice.at);
        lines
    }

    /// Waits for the next check; returns a line that was typed meanwhile.
    fn wait(&mut self) -> Result<Option<Step>, Failure> {
        let Some(keyboard) = &mut self.keyboard else {
            pause();
            return Ok(None);
        };
        match keyboard.line()? {
            Typed::Nothing => Ok(None),
            Typed::End => Ok(Some(Step::Quit)),
            Typed::Line(line) => {
                self.asked = None;
                Ok(Some(self.dialog.take(&line, &self.waiting, self.needs_reason)))
            }
        }
    }

    fn print_question(&mut self) -> Result<(), Failure> {
        let question = self.dialog.question();
        if question != self.asked {
            self.asked.clone_from(&question);
            write(&question.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Ends the line of an open question. The question is printed again after the new lines.
    fn interrupt_question(&mut self) -> Result<(), Failure> {
        if self.asked.take().is_some() { write("\n") } else { Ok(()) }
    }
}

/// A login that waits, as the dialog names it.
fn waiting(login: &LoginRow) -> Waiting {
    let source = login.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
    let what = format!("{} on {} by {}{source}", login.user, login.machine, login.service);
    Waiting { id: login.id.clone(), what }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| print::cannot_print(&error))
}

#[expect(clippy::disallowed_methods, reason = "the command line has nothing to do between two looks")]
fn pause() {
    std::thread::sleep(INTERVAL);
}

/// Lines typed at the terminal, which stays in line mode: an answer needs Enter, and Ctrl-C works as usual.
struct Keyboard {
    typed: Vec<u8>,
}

enum Typed {
    Line(String),
    Nothing,
    End,
}

impl Keyboard {
    /// The keyboard, if standard input and standard output are a terminal.
    fn open(admin: &Admin) -> Option<Self> {
        let is_there = io::stdin().is_terminal() && io::stdout().is_terminal() && !admin.json;
        is_there.then(|| Self { typed: Vec::new() })
    }

    /// The next line, if one comes within the interval.
    fn line(&mut self) -> Result<Typed, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot read from the terminal: {error}"));
        if let Some(line) = self.complete_line() {
            return Ok(Typed::Line(line));
        }
        // In the background, reading from the terminal would stop the program.
        if tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
            pause();
            return Ok(Typed::Nothing);
        }
        if !is_readable().map_err(failed)? {
            return Ok(Typed::Nothing);
        }
        let mut buffer = [0; 4096];
        // A terminal returns one line at a time. `StdinLock` could read several lines into its buffer, where
        // the poll would not see them.
        let count = nix::unistd::read(io::stdin(), &mut buffer).map_err(io::Error::from).map_err(failed)?;
        self.typed.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count == 0 {
            return Ok(Typed::End);
        }
        Ok(self.complete_line().map_or(Typed::Nothing, Typed::Line))
    }

    fn complete_line(&mut self) -> Option<String> {
        let end = self.typed.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.typed.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

/// Waits one interval for something to read on standard input.
fn is_readable() -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let input = io::stdin();
    let mut input = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::ZERO);
    match poll(&mut input, timeout) {
        Err(nix::errno::Errno::EINTR) => Ok(false),
        ready => Ok(ready? > 0),
    }
}
