//! How the program was called: the global flags, the command, and the note about them for the cloud.

use super::environment::{cloud_socket, get, is_on};
use super::failure::{Failure, Result};
use super::fate;
use super::flags::{Flag, Flags};
use super::place::Place;
use crate::link::Link;
use crate::wire::{Fate, Note, ToCloud};

const GLOBAL: &[Flag] = &[
    (&["home", "H"], true),
    (&["no-auto-fork", "F"], false),
    (&["auto-fork"], false),
    (&["no-debug"], false),
    (&["debug", "d"], false),
    (&["enable-bot-lite-mode"], false),
    (&["socket-file"], true),
    (&["pid-file"], true),
    (&["log-file"], true),
    (&["log-format"], true),
    (&["log-prefix"], true),
    (&["use-default-log-file"], false),
    (&["run-mode"], true),
    (&["standalone"], false),
    (&["local-rpc-debug-unsafe"], true),
];

#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) place: Place,
    pub(crate) auto_fork: bool,
    /// The words of the command, with its flags.
    pub(crate) command: Vec<String>,
    arguments: Vec<String>,
}

/// Reads the global flags.
pub(crate) fn parse(words: &[String]) -> Result<Invocation> {
    let arguments = words.to_vec();
    let borrowed: Vec<&str> = words.iter().map(String::as_str).collect();
    let (flags, command) = Flags::read(GLOBAL, &borrowed)?;
    Ok(Invocation {
        place: Place::find(&flags)?,
        auto_fork: !flags.is_on("no-auto-fork") && !is_on("KEYBASE_NO_AUTO_FORK"),
        command: command.iter().map(ToString::to_string).collect(),
        arguments,
    })
}

impl Invocation {
    /// Refuses to run as root, as the real program does.
    pub(crate) fn refuse_root(&self) -> Result<()> {
        let is_known = self.command.first().is_none_or(|command| command != "version");
        if rustix::process::geteuid().is_root()
            && get("KEYBASE_ALLOW_ROOT").as_deref() != Some("1")
            && is_known
        {
            return Err(Failure::new(
                "Oops, you are trying to run as an admin user (root). This isn't supported.",
            ));
        }
        Ok(())
    }

    /// Reports to the cloud how this program was started, and stores the fault that was ordered for it.
    /// Without a cloud it does nothing.
    pub(crate) fn note(&self, kind: &str, forks: bool, objections: Vec<String>) -> Result<()> {
        let note = Note {
            kind: kind.into(),
            arguments: self.arguments.clone(),
            auto_fork: forks && self.auto_fork,
            objections,
        };
        let told =
            Link::dial(&cloud_socket()).and_then(|mut link| link.exchange::<_, Fate>(&ToCloud::Note(note)));
        fate::learn(told.unwrap_or_default())
    }
}
