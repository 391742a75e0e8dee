//! Where the `login` verbs read and answer. Root and the owner of the state directory use the database,
//! whether a server runs or not. Everybody else uses the running server's socket.

use nix::unistd::Uid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{Admin, Failure, privileges};
use crate::admin_socket::DEFAULT_PATH;
use crate::admin_socket::client::{self, Client};
use crate::admin_socket::logins::{self as verbs, LoginDetails, LoginList, News};
use crate::admin_socket::request::{Decision, ListQuery, Request, WatchQuery};
use crate::admin_socket::rows::LoginRow;
use crate::channels::Answer;
use crate::config::{self, Config};
use crate::db::Db;
use crate::logins::decide::AtConsole;
use crate::policy::Approver;
use crate::usecases::logins as usecase;

/// See the module.
pub(super) enum Source {
    Database(Box<Config>, Db),
    Server(Client),
}

impl Source {
    /// The server at this socket, if one is named; else the database or the default socket, depending on the
    /// account that runs this.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub(super) fn open(admin: &Admin, socket: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = socket.or_else(|| socket_of_others(admin.config_path())) {
            return Ok(Self::Server(Client::At(path)));
        }
        let (config, db) = admin.open().map_err(|failure| {
            let is_somebody_else = !Uid::effective().is_root() && admin.config_path().exists();
            let hint = "[admin] group in server.toml names a group whose members may list and answer logins \
                 without root";
            if is_somebody_else { failure.hint(hint) } else { failure }
        })?;
        Ok(Self::Database(Box::new(config), db))
    }

    pub(super) fn list(&self, query: ListQuery) -> Result<LoginList, Failure> {
        Ok(match self {
            Self::Database(_, db) => db.read_blocking(|tx| verbs::list(tx, &query))?,
            Self::Server(client) => client.ask(&Request::List(query))?,
        })
    }

    pub(super) fn show(&self, id: &str) -> Result<LoginDetails, Failure> {
        Ok(match self {
            Self::Database(_, db) => db.read_blocking(|tx| verbs::show(tx, id))?,
            Self::Server(client) => client.ask(&Request::Show { id: id.to_owned() })?,
        })
    }

    pub(super) fn news(&self, query: WatchQuery) -> Result<News, Failure> {
        Ok(match self {
            Self::Database(config, db) => {
                let rules = config.rules(None);
                db.read_blocking(|tx| verbs::news(tx, &rules, &query))?
            }
            Self::Server(client) => client.ask(&Request::Watch(query))?,
        })
    }

    /// Answers a login in the name of the person who runs this.
    pub(super) fn decide(
        &self,
        admin: &Admin,
        decision: Decision,
        answer: Answer,
    ) -> Result<LoginRow, Failure> {
        Ok(match self {
            Self::Database(config, db) => decide_in_database(admin, (config, db), decision, answer)?,
            Self::Server(client) => client.ask(&match answer {
                Answer::Approve => Request::Approve(decision),
                Answer::Deny => Request::Deny(decision),
            })?,
        })
    }
}

fn decide_in_database(
    admin: &Admin,
    (config, db): (&Config, &Db),
    decision: Decision,
    answer: Answer,
) -> Result<LoginRow, Failure> {
    let name = admin.actor.who.strip_prefix("console:").unwrap_or(&admin.actor.who);
    let person = Approver::console(name).map_err(Failure::new)?;
    let who = AtConsole { person, claim: admin.actor.claim.clone(), has_login: privileges::has_login() };
    let rules = config.rules(None);
    verbs::check(&decision, &rules)?;
    let Decision { id, reason } = decision;
    let answered = db.write_blocking("login.answer", move |tx| {
        usecase::decide(tx, &rules, &id, &who, answer, reason.as_ref())
    });
    let answered = answered.map_err(Failure::new)?;
    client::notify_server(&config.state_dir);
    Ok(verbs::decided(answered)?)
}

/// The socket for somebody who is neither root nor the owner of the state directory. They may not be able to
/// read the configuration, or the files that it names; then the default path is used.
fn socket_of_others(config: &Path) -> Option<PathBuf> {
    let uid = Uid::effective();
    if uid.is_root() {
        return None;
    }
    match Config::read(config) {
        Ok(config) if owns(uid, &config.state_dir) => None,
        Ok(config) => config.admin.group.map(|_| config.admin.socket),
        Err(config::Error::Unreadable { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists()),
    }
}

fn owns(uid: Uid, dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|found| found.uid() == uid.as_raw())
}
