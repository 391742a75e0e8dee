//! `login watch`: a line for each login that comes or ends, and for each notice. At a terminal it also takes answers.

use nix::unistd::{getpgrp, tcgetpgrp};
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use kbmfa_proto::names::LoginId;

use super::super::print::{self, Column, Screen};
use super::super::{Admin, Failure};
use super::dialog::{Dialog, Step, Waiting};
use super::{COLUMNS, Decision, Shown, decide, needs_reason};
use crate::clock::{Clock, SystemClock, Time};
use crate::db::Db;
use crate::logins::Error;
use crate::logins::state::State;
use crate::logins::store::{self, Filter};
use crate::relay::Answer;

/// How often it looks for changes.
const INTERVAL: Duration = Duration::from_millis(200);

/// Logins that it looks at: those that changed lately are among the newest.
const NEWEST_MAX: i64 = 1000;

/// Widths of the columns of `list`, but for the session: rows to come cannot be measured.
const WIDTHS: [usize; 9] = [8, 20, 12, 16, 8, 15, 50, 9, 20];

pub(super) fn run(admin: &Admin) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let changes = db.watch().map_err(Failure::new)?;
    let mut watch = Watch::new(admin, needs_reason(&config));
    let mut version = None;
    watch.print_heading()?;
    loop {
        let now = Some(changes.version().map_err(Failure::new)?);
        if now != version {
            version = now;
            watch.print_news(&db)?;
        }
        match watch.wait()? {
            Some(Step::Quit) => return Ok(()),
            Some(Step::Decide(answer, id, reason)) => watch.decide(answer, &id, reason)?,
            Some(Step::Say(text)) if !text.is_empty() => print::say(&text)?,
            Some(Step::Say(_)) | None => {}
        }
        watch.print_question()?;
    }
}

struct Watch<'a> {
    admin: &'a Admin,
    columns: Vec<(Column, usize)>,
    screen: Screen,
    /// What was last printed of each login; `None` before the first look.
    printed: Option<HashMap<LoginId, State>>,
    /// Logins that wait, the oldest first.
    waiting: Vec<Waiting>,
    noticed: Time,
    keyboard: Option<Keyboard>,
    dialog: Dialog,
    /// The question that is on the screen.
    asked: Option<String>,
    needs_reason: bool,
}

impl<'a> Watch<'a> {
    fn new(admin: &'a Admin, needs_reason: bool) -> Self {
        Self {
            admin,
            columns: COLUMNS.into_iter().zip(WIDTHS).collect(),
            screen: print::screen(),
            printed: None,
            waiting: Vec::new(),
            noticed: SystemClock.now(),
            keyboard: Keyboard::open(admin),
            dialog: Dialog::default(),
            asked: None,
            needs_reason,
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
    fn print_news(&mut self, db: &Db) -> Result<(), Failure> {
        let is_first = self.printed.is_none();
        let printed = self.printed.get_or_insert_default();
        let mut newest = db
            .read_blocking(|tx| Ok::<_, Error>(store::newest(tx, &Filter::default(), NEWEST_MAX)?))
            .map_err(Failure::new)?;
        newest.reverse();
        self.waiting =
            newest.iter().filter(|login| login.life.state == State::Pending).map(waiting).collect();
        let mut lines = Vec::new();
        for login in newest {
            let state = login.life.state;
            let is_news = printed.insert(login.id.clone(), state) != Some(state);
            // What had ended before the watch began is history, not news.
            if is_news && !(is_first && state != State::Pending) {
                let login = Shown::from(login);
                lines.push(if self.admin.json {
                    serde_json::to_string(&login).map_err(Failure::new)?
                } else {
                    print::row(&self.columns, &login.cells(self.admin), self.screen)
                });
            }
        }
        lines.extend(self.notices(db)?);
        if !lines.is_empty() {
            self.interrupt_question()?;
        }
        lines.iter().try_for_each(|line| print::say(line))
    }

    /// The notices since the last look, as lines.
    fn notices(&mut self, db: &Db) -> Result<Vec<String>, Failure> {
        let after = self.noticed;
        let notices = db.read_blocking(|tx| store::notices::after(tx, after)).map_err(Failure::new)?;
        let line = |(at, notice): (Time, store::notices::Notice)| {
            if self.admin.json {
                serde_json::json!({ "notice": notice.text, "at": at.to_string() }).to_string()
            } else {
                format!("!  {}  {}", self.admin.time(at.into()), notice.text)
            }
        };
        self.noticed = notices.last().map_or(after, |(at, _)| *at);
        Ok(notices.into_iter().map(line).collect())
    }

    /// Waits for the next look; returns what was typed meanwhile.
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

    fn decide(&self, answer: Answer, id: &LoginId, reason: Option<String>) -> Result<(), Failure> {
        match decide(self.admin, Decision { id: id.to_string(), reason }, answer) {
            // The line of the login says what came of it.
            Ok(_) => Ok(()),
            Err(failure) => print::say(&failure.to_string()),
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

    /// Leaves the line on which somebody is being asked; the question comes again after the news.
    fn interrupt_question(&mut self) -> Result<(), Failure> {
        if self.asked.take().is_some() { write("\n") } else { Ok(()) }
    }
}

/// A login that waits, as the dialog names it.
fn waiting(login: &store::Login) -> Waiting {
    let source = login.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
    let what = format!("{} on {} by {}{source}", login.user(), login.machine, login.opened.service);
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

/// Lines that are typed at the terminal. It keeps its line mode: an answer takes Enter, and Ctrl-C works as ever.
struct Keyboard {
    typed: Vec<u8>,
}

enum Typed {
    Line(String),
    Nothing,
    End,
}

impl Keyboard {
    /// If a person sits there to be answered.
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
        // In the background a read would stop the program.
        if tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
            pause();
            return Ok(Typed::Nothing);
        }
        if !is_readable().map_err(failed)? {
            return Ok(Typed::Nothing);
        }
        let mut buffer = [0; 4096];
        // The terminal hands out a line at a time; `StdinLock` would buffer several behind the poll's back.
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
