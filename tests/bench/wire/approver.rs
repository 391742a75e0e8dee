//! Approves logins as soon as they are named, in the same way as `kbmfa-server login approve`: it decides in
//! the database, from a process other than the server's, and then notifies the server. Unlike the command
//! line, it starts no program for each login.

use kbmfa_proto::names::LoginId;
use kbmfa_server::admin_socket::client;
use kbmfa_server::channels::Answer;
use kbmfa_server::config::Config;
use kbmfa_server::db::Db;
use kbmfa_server::logins::decide::{self, Answered};
use kbmfa_server::logins::{Error, Rules};
use kbmfa_server::policy::Approver as Person;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;

/// Maximum number of approvals in one transaction, as in the server's group commit.
pub(crate) const BATCH: usize = 256;

/// A person at the console.
pub(crate) struct Approver {
    db: Db,
    rules: Rules,
    state_dir: PathBuf,
}

impl Approver {
    pub(crate) fn new(config: &Path) -> Self {
        let config = Config::read(config).unwrap();
        Self {
            db: Db::open(&config.state_dir).unwrap(),
            rules: config.rules(None),
            state_dir: config.state_dir,
        }
    }

    /// Approves these logins in one transaction.
    pub(crate) fn approve(&self, ids: Vec<LoginId>) {
        let rules = self.rules.clone();
        let person: Person = "console:bench".parse().unwrap();
        let approved = self.db.write_blocking("bench", move |tx| {
            for id in &ids {
                let answered = decide::answer(tx, &rules, id, &person, Answer::Approve, None)?;
                assert!(matches!(answered, Answered::Decided(_)), "{id}: {answered:?}");
            }
            Ok::<_, Error>(())
        });
        approved.unwrap();
    }

    /// Notifies the server that the database has changed.
    pub(crate) fn notify_server(&self) {
        client::notify_server(&self.state_dir);
    }

    /// Approves every login that is named at this socket, until [`end`].
    pub(crate) fn listen(self, socket: &Path) -> thread::JoinHandle<()> {
        let socket = UnixDatagram::bind(socket).unwrap();
        thread::spawn(move || {
            while let Some(first) = next(&socket) {
                let mut ids = vec![first];
                socket.set_nonblocking(true).unwrap();
                ids.extend(std::iter::from_fn(|| next(&socket)).take(BATCH - 1));
                socket.set_nonblocking(false).unwrap();
                self.approve(ids);
                self.notify_server();
            }
        })
    }
}

/// Tells the approver at this socket that no login will follow.
pub(crate) fn end(socket: &Path) {
    UnixDatagram::unbound().unwrap().send_to(&[], socket).unwrap();
}

/// The next login that is named. `None` if there is none now, or none will follow.
fn next(socket: &UnixDatagram) -> Option<LoginId> {
    let mut name = [0; 32];
    let length = socket.recv(&mut name).ok().filter(|length| *length > 0)?;
    Some(str::from_utf8(&name[..length]).unwrap().parse().unwrap())
}
