//! What every verb needs: the computer, the server, the person at the terminal, and where the answer goes.

use kbmfa_proto::enrolment::{DEVICE_MAX, PersonView};
use kbmfa_proto::text::SafeText;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ask::Ask;
use crate::key::{self, Held};
use crate::os::Computer;
use crate::print::Report;
use crate::profile::Profile;
use crate::server::Server;
use crate::{Error, config, files, keygen};

/// Most command lines that are printed at the end.
const COMMANDS_MAX: usize = 10;

/// Which key, and the name of the computer that has it.
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args)]
pub(crate) struct Which {
    /// The key to enrol; made if it is not there [default: ask, or a new one in `~/.ssh`]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A key that is made gets no passphrase
    #[arg(long)]
    pub(crate) no_passphrase: bool,
    /// The computer that has the key, as you call it [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
}

/// One run of the program.
pub(crate) struct Session<'a> {
    pub(crate) computer: &'a Computer,
    pub(crate) server: &'a dyn Server,
    pub(crate) ask: &'a mut dyn Ask,
    pub(crate) out: Report<'a>,
    /// What is remembered of this server.
    pub(crate) profile: Profile,
    /// The public keys in the agent, one line for each.
    pub(crate) in_agent: &'a dyn Fn() -> Vec<String>,
    /// Waits.
    pub(crate) sleep: &'a dyn Fn(Duration),
}

impl Session<'_> {
    pub(crate) fn pause(&self, time: Duration) {
        (self.sleep)(time);
    }

    /// The name of the computer that has the key.
    pub(crate) fn device(&self, which: &Which) -> SafeText {
        let name = which.device.as_deref().unwrap_or(&self.computer.name);
        let clean = SafeText::new(name.trim());
        SafeText::new(&clean.as_str().chars().take(DEVICE_MAX).collect::<String>())
    }

    /// The key of `--key`, the one that the person chooses, or a new one.
    pub(crate) fn choose(&mut self, which: &Which) -> Result<Held, Error> {
        if let Some(path) = &which.key {
            return self.read_or_make(path, which);
        }
        let mut found = key::find(self.computer, &(self.in_agent)())?;
        for (path, why) in &found.refused {
            self.out.say(&format!("{} cannot be enrolled: {why}", safe(path)))?;
        }
        if found.usable.is_empty() {
            return self.make(&key::free_path(self.computer), which);
        }
        let mut question = String::from("Keys of this computer:\n");
        for (number, candidate) in found.usable.iter().enumerate() {
            let place = match candidate {
                key::Candidate::File(held) => safe(&held.file),
                key::Candidate::Agent(_) => SafeText::new("in the agent"),
            };
            let (key, number) = (candidate.key(), number + 1);
            let _ = writeln!(question, "  {number}  {}  {}  {place}", key.fingerprint(), key.algorithm());
        }
        question.push_str("Number of the key to enrol, or `new` for a new one:");
        let instead = "this computer has keys already: choose one with --key FILE";
        let answer = self.ask.line(&question, instead)?;
        if answer == "new" {
            return self.make(&key::free_path(self.computer), which);
        }
        let at = number(&answer, found.usable.len()).ok_or(Error::Stopped)?;
        found.usable.swap_remove(at).settle(self.computer)
    }

    pub(crate) fn read_or_make(&mut self, path: &Path, which: &Which) -> Result<Held, Error> {
        match Held::read(self.computer.os, path) {
            Err(Error::File(_, e)) if e.kind() == io::ErrorKind::NotFound => self.make(path, which),
            read => read,
        }
    }

    pub(crate) fn make(&mut self, path: &Path, which: &Which) -> Result<Held, Error> {
        if !which.no_passphrase && !self.ask.is_present() {
            return Err(Error::NoAnswer(
                "nobody can be asked for the passphrase of a new key: use --no-passphrase, or --key with a key \
                 that is there",
            ));
        }
        self.out.say(&format!("Making a new key: {}", safe(path)))?;
        let comment = self.device(which);
        key::make(self.computer.os, path, comment.as_str(), !which.no_passphrase)
    }

    /// Signs a text. `ssh-keygen` does not say whose passphrase it asks for.
    pub(crate) fn sign(&mut self, held: &Held, text: &str) -> Result<String, Error> {
        self.out.say(&format!("Signing with {}", safe(&held.file)))?;
        keygen::sign(self.computer.os, &held.file, text)
    }

    /// Remembers the key, writes ssh's configuration if that was asked for, and says how to connect.
    pub(crate) fn finish(
        &mut self,
        person: &PersonView,
        held: &Held,
        write_config: bool,
    ) -> Result<(), Error> {
        let afterwards = |error| Error::Afterwards(Box::new(error));
        let file = std::path::absolute(&held.file)?;
        self.profile.put_first(&file);
        self.profile.write(self.computer).map_err(afterwards)?;
        if write_config {
            self.write_config(person, &file).map_err(afterwards)?;
        }
        let identity = Some(file.as_path()).filter(|file| !key::is_tried_by_ssh(self.computer, file));
        self.how_to_connect(person, identity, write_config)
    }

    pub(crate) fn write_config(&mut self, person: &PersonView, identity: &Path) -> Result<(), Error> {
        let dir = self.computer.ssh_dir();
        let (hosts, path) = (dir.join("known_hosts_kbmfa"), dir.join("config"));
        let known = config::known_hosts(&person.machines)?;
        let block = config::block(self.computer.os, person, identity, &hosts)?;
        let old = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|e| Error::file(&path, e))?,
        };
        let new = config::with_block(&old, &block)?;
        files::make_dir(self.computer.os, &dir)?;
        files::replace(&hosts, &known)?;
        files::replace(&path, &new)?;
        Ok(self.out.say(&format!("Wrote your machines into {} and {}.", safe(&path), safe(&hosts)))?)
    }

    fn how_to_connect(
        &mut self,
        person: &PersonView,
        identity: Option<&Path>,
        written: bool,
    ) -> Result<(), Error> {
        if person.machines.is_empty() {
            return Ok(self.out.say("You have no machine yet. Ask your administrator for access.")?);
        }
        self.out.say("To connect:")?;
        for machine in person.machines.iter().take(COMMANDS_MAX) {
            let name = SafeText::new(&machine.name);
            let line = match config::command(self.computer.os, person, machine, identity) {
                Ok(Some(_)) if written => format!("ssh {name}"),
                Ok(Some(line)) => line,
                Ok(None) => format!("{name}: ask your administrator for its address"),
                Err(why) => format!("{name}: {why}"),
            };
            self.out.say(&format!("  {line}"))?;
        }
        let more = person.machines.len().saturating_sub(COMMANDS_MAX);
        if more > 0 {
            self.out.say(&format!("  and {more} more, which `kbmfa-enroll status` lists"))?;
        }
        Ok(())
    }
}

/// The index behind a number from 1 to `count`, as a person types it.
pub(crate) fn number(answer: &str, count: usize) -> Option<usize> {
    answer.parse::<usize>().ok()?.checked_sub(1).filter(|index| *index < count)
}

fn safe(path: &Path) -> SafeText {
    SafeText::new(&path.display().to_string())
}
