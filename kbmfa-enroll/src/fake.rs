//! A server in the tests' own memory, which checks each signature with `ssh-keygen` and the texts of
//! `kbmfa-proto`, and a computer in a temporary directory.

#![expect(clippy::disallowed_methods, reason = "ssh-keygen, ssh and openssl are the judges of what is made")]

use kbmfa_proto::client::Error as CallError;
use kbmfa_proto::enrolment::{
    Challenge, Enrol, Enrolled, Follow, Invited, KeyView, Lookup, MachineProgress, MachineView, NAMESPACE,
    PersonView, Progress, Request, Signed, enrol_text, possession_text, request_text,
};
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::pin::Pin;
use kbmfa_proto::text::SafeText;
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::Error;
use crate::ask::Ask;
use crate::key::{self, Held};
use crate::os::{Computer, Os};
use crate::print::Report;
use crate::profile::Profile;
use crate::server::Server;
use crate::session::Session;

/// The one invite.
pub(crate) const INVITE: &str = "id.secret";

/// Whether this key signed this text for enrolment.
pub(crate) fn verifies(key: &PublicKey, text: &str, pem: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (allowed, signature) = (dir.path().join("allowed"), dir.path().join("sig"));
    std::fs::write(&allowed, format!("anna {}\n", key.line())).unwrap();
    std::fs::write(&signature, pem).unwrap();
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", NAMESPACE, "-I", "anna", "-f"])
        .arg(&allowed)
        .arg("-s")
        .arg(&signature)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// How ssh reads this configuration for a host.
pub(crate) fn ssh_reads(config: &Path, host: &str) -> String {
    printed("ssh", &["-GF", config.to_str().unwrap(), host])
}

/// What `ssh-keygen` prints.
pub(crate) fn ssh_keygen(arguments: &[&str]) -> String {
    printed("ssh-keygen", arguments)
}

/// The crypt hash with SHA-512 that openssl makes.
pub(crate) fn openssl_passwd(salt: &str, password: &str) -> String {
    printed("openssl", &["passwd", "-6", "-salt", salt, password]).trim().to_owned()
}

/// A computer whose home is this directory.
pub(crate) fn computer(home: &Path) -> Computer {
    Computer { os: Os::here(), home: home.to_owned(), name: "laptop".into() }
}

/// A computer, and the server that it calls.
pub(crate) struct Room {
    pub(crate) home: TempDir,
    pub(crate) computer: Computer,
    pub(crate) server: Fake,
    /// What the agent lists.
    pub(crate) agent: Vec<String>,
}

impl Room {
    pub(crate) fn new(server: Fake) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { computer: computer(home.path()), home, server, agent: vec![] }
    }

    /// A new key without a passphrase.
    pub(crate) fn key(&self, path: &Path) -> Held {
        key::make(self.computer.os, path, "c", false).unwrap()
    }

    pub(crate) fn profile(&self) -> Option<Profile> {
        Profile::read(&self.computer).unwrap()
    }

    pub(crate) fn remember(&self, key: &Path) {
        let mut profile = Self::new_profile();
        profile.put_first(key);
        profile.write(&self.computer).unwrap();
    }

    fn new_profile() -> Profile {
        let server = "https://kbmfa.example".parse().unwrap();
        Profile { server, pin: Pin::from_sha256([0; 32]), keys: vec![] }
    }

    /// Runs a verb with these answers. Returns what it printed, too.
    pub(crate) fn run(
        &self,
        answers: &[&str],
        verb: impl FnOnce(&mut Session<'_>) -> Result<(), Error>,
    ) -> (Result<(), Error>, String) {
        self.started(answers, false, verb)
    }

    /// The same with `--json`.
    pub(crate) fn as_json(
        &self,
        answers: &[&str],
        verb: impl FnOnce(&mut Session<'_>) -> Result<(), Error>,
    ) -> (Result<(), Error>, String) {
        self.started(answers, true, verb)
    }

    fn started(
        &self,
        answers: &[&str],
        json: bool,
        verb: impl FnOnce(&mut Session<'_>) -> Result<(), Error>,
    ) -> (Result<(), Error>, String) {
        let mut out = Vec::new();
        let done = verb(&mut Session {
            computer: &self.computer,
            server: &self.server,
            ask: &mut Script::new(answers),
            out: Report { out: &mut out, json },
            profile: self.profile().unwrap_or_else(Self::new_profile),
            in_agent: &|| self.agent.clone(),
            sleep: &|_| {},
        });
        (done, String::from_utf8(out).unwrap())
    }
}

/// A key as the server has it.
struct Stored {
    key: PublicKey,
    device: String,
    /// Waits for an approval.
    pending: bool,
    replaces: Option<String>,
}

/// A person without, or with one key. Keys that an enrolled one adds wait for an approval.
#[derive(Default)]
pub(crate) struct Fake {
    keys: RefCell<Vec<Stored>>,
    nonces: Cell<u32>,
    sent: RefCell<Vec<Enrol>>,
    answers_to_lose: Cell<u32>,
    password: RefCell<Option<String>>,
    /// What is answered about the machines, one after the other; the last one stays.
    progress: RefCell<Vec<Vec<MachineProgress>>>,
    progress_asked: Cell<usize>,
}

fn refused() -> CallError {
    let problem = r#"{"code":"refused","status":403,"title":"No"}"#;
    CallError::Refused(serde_json::from_str(problem).unwrap())
}

impl Fake {
    pub(crate) fn with(key: &PublicKey) -> Self {
        let fake = Self::default();
        fake.change(Some((key.clone(), "laptop".into(), false)), None);
        fake
    }

    pub(crate) fn fingerprints(&self) -> Vec<String> {
        self.keys.borrow().iter().map(|stored| stored.key.fingerprint().to_owned()).collect()
    }

    pub(crate) fn devices(&self) -> Vec<String> {
        self.keys.borrow().iter().map(|stored| stored.device.clone()).collect()
    }

    /// How many enrolments arrived.
    pub(crate) fn enrolments(&self) -> usize {
        self.sent.borrow().len()
    }

    pub(crate) fn last_enrolment(&self) -> Enrol {
        self.sent.borrow().last().unwrap().clone()
    }

    /// Does what is asked for, but the answers to the next enrolments are lost.
    pub(crate) fn lose_answers(&self, count: u32) {
        self.answers_to_lose.set(count);
    }

    /// The hash of the account's password.
    pub(crate) fn password_hash(&self) -> Option<String> {
        self.password.borrow().clone()
    }

    /// Answers about the machines, one after the other.
    pub(crate) fn progress_is(&self, answers: Vec<Vec<MachineProgress>>) {
        self.progress.replace(answers);
    }

    /// How often it was asked about the machines.
    pub(crate) fn progress_asked(&self) -> usize {
        self.progress_asked.get()
    }

    /// The operator approves a key.
    pub(crate) fn approve(&self, fingerprint: &str) {
        let mut keys = self.keys.borrow_mut();
        let stored = keys.iter_mut().find(|stored| stored.key.fingerprint() == fingerprint).unwrap();
        stored.pending = false;
        let replaces = stored.replaces.take();
        keys.retain(|stored| Some(stored.key.fingerprint()) != replaces.as_deref());
    }

    pub(crate) fn person(&self) -> PersonView {
        PersonView {
            email: "anna@example.com".into(),
            name: SafeText::new("Anna"),
            unix_name: "anna".into(),
            keys: self.keys.borrow().iter().map(view).collect(),
            machines_left_out: 0,
            password_set_us: self.password.borrow().as_ref().map(|_| 0),
            machines: vec![MachineView {
                name: "web1".into(),
                address: Some("10.0.0.1".into()),
                port: Some(2222),
                host_keys: vec!["ssh-ed25519 AAAA".into()],
                until_us: None,
                placed: None,
            }],
        }
    }

    fn change(&self, add: Option<(PublicKey, String, bool)>, replaces: Option<&str>) -> Enrolled {
        let key = add.map(|(key, device, pending)| {
            let stored = Stored { key, device, pending, replaces: replaces.map(str::to_owned) };
            let view = view(&stored);
            self.keys.borrow_mut().push(stored);
            view
        });
        if let Some(key) = key.as_ref().filter(|key| key.state == "active") {
            self.approve(&key.fingerprint);
        }
        Enrolled { person: self.person(), key, revoked: vec![], follow: None }
    }

    fn fresh(&self, nonce: &str) -> Result<(), CallError> {
        if nonce == format!("nonce-{}", self.nonces.get()) { Ok(()) } else { Err(refused()) }
    }
}

fn view(stored: &Stored) -> KeyView {
    KeyView {
        fingerprint: stored.key.fingerprint().into(),
        algorithm: stored.key.algorithm().into(),
        device: SafeText::new(&stored.device),
        state: if stored.pending { "pending" } else { "active" }.into(),
        added_us: 0,
    }
}

impl Server for Fake {
    fn name(&self) -> &'static str {
        "kbmfa.example"
    }

    fn challenge(&self) -> Result<Challenge, CallError> {
        self.nonces.set(self.nonces.get() + 1);
        Ok(Challenge { nonce: format!("nonce-{}", self.nonces.get()), expires_in_s: 300 })
    }

    fn lookup(&self, lookup: &Lookup) -> Result<Invited, CallError> {
        if format!("{}.{}", lookup.invite.id, lookup.invite.secret) != INVITE {
            return Err(refused());
        }
        Ok(Invited { person: self.person(), expires_in_s: 60 })
    }

    fn enrol(&self, enrol: &Enrol) -> Result<Enrolled, CallError> {
        self.sent.borrow_mut().push(enrol.clone());
        self.lookup(&Lookup { invite: enrol.invite.clone() })?;
        self.fresh(&enrol.nonce)?;
        let key = PublicKey::parse(&enrol.key).map_err(|_| refused())?;
        let text = enrol_text(enrol, key.fingerprint());
        if enrol.server != self.name() || !verifies(&key, &text, &enrol.signature) {
            return Err(refused());
        }
        let is_repeated = self.fingerprints().iter().any(|known| known == key.fingerprint());
        let add = (key, enrol.device.to_string(), false);
        let answer = self.change(Some(add).filter(|_| !is_repeated), enrol.replaces.as_deref());
        let to_lose = self.answers_to_lose.get();
        self.answers_to_lose.set(to_lose.saturating_sub(1));
        if to_lose > 0 {
            Err(CallError::Lost(std::io::ErrorKind::ConnectionReset.into()))
        } else {
            Ok(answer)
        }
    }

    fn progress(&self, _: &Follow) -> Result<Progress, CallError> {
        Ok(Progress { machines: self.next_progress() })
    }

    fn me(&self, signed: &Signed) -> Result<Enrolled, CallError> {
        self.fresh(&signed.nonce)?;
        let is_by = |stored: &&Stored| !stored.pending && stored.key.fingerprint() == signed.key;
        let found = self.keys.borrow().iter().find(is_by).map(|stored| stored.key.clone());
        let by = found.ok_or_else(refused)?;
        if !verifies(&by, &request_text(signed), &signed.signature) {
            return Err(refused());
        }
        match serde_json::from_str(&signed.request).unwrap() {
            Request::Status => Ok(self.change(None, None)),
            Request::SetPassword { hash } => {
                self.password.replace(Some(hash));
                Ok(self.change(None, None))
            }
            Request::RemovePassword => {
                self.password.replace(None);
                Ok(self.change(None, None))
            }
            Request::Revoke { fingerprint, .. } => {
                self.keys.borrow_mut().retain(|stored| stored.key.fingerprint() != fingerprint);
                Ok(self.change(None, None))
            }
            Request::Add { key, replaces, proof, device } => {
                let key = PublicKey::parse(&key).map_err(|_| refused())?;
                let text = possession_text(self.name(), &signed.nonce, by.fingerprint(), key.fingerprint());
                if !verifies(&key, &text, &proof) {
                    return Err(refused());
                }
                Ok(self.change(Some((key, device.to_string(), true)), replaces.as_deref()))
            }
        }
    }
}

impl Fake {
    fn next_progress(&self) -> Vec<MachineProgress> {
        let asked = self.progress_asked.get();
        self.progress_asked.set(asked + 1);
        let answers = self.progress.borrow();
        answers.get(asked).or(answers.last()).cloned().unwrap_or_default()
    }
}

/// Answers that were written down before; nobody is there after the last one.
pub(crate) struct Script(std::vec::IntoIter<String>);

impl Script {
    pub(crate) fn new(answers: &[&str]) -> Self {
        Self(answers.iter().map(ToString::to_string).collect::<Vec<_>>().into_iter())
    }
}

impl Ask for Script {
    fn is_present(&self) -> bool {
        self.0.len() > 0
    }

    fn line(&mut self, _: &str, instead: &'static str) -> Result<String, Error> {
        self.0.next().ok_or(Error::NoAnswer(instead))
    }

    fn secret(&mut self, question: &str, instead: &'static str) -> Result<Zeroizing<String>, Error> {
        self.line(question, instead).map(Zeroizing::new)
    }
}
