//! A machine in memory that understands the same requests as `setup.sh`, and what must be true of every run on it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use super::plan::{DROP_IN, REVOKED};
use super::run::{look, run};
use super::step::{File, Step};
use super::{Password, SudoLevel, Wanted};
use crate::deliveries::Place;
use crate::deliveries::failure::{Failure, Kind};
use crate::provision::transport::Conversation;
use crate::random::to_hex;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Machine {
    directories: bool,
    account: Option<&'static str>,
    files: BTreeMap<&'static str, String>,
    home_key: bool,
    include: bool,
    /// What sshd's own files say about `AuthorizedKeysFile`.
    own_places: &'static str,
    /// The drop-in and the Include line as they were.
    saved: Option<(Option<String>, bool)>,
    /// Lines that it reports instead of its own.
    says: BTreeMap<&'static str, &'static str>,
}

impl Machine {
    fn values(&self) -> (String, String) {
        let read = self.files.get("dropin").filter(|_| self.include);
        let of = |name: &str| {
            let line = read.and_then(|text| text.lines().find_map(|line| line.strip_prefix(name)));
            line.map(str::to_owned)
        };
        let places = of("AuthorizedKeysFile ").unwrap_or_else(|| self.own_places.to_owned());
        (places, of("RevokedKeys ").unwrap_or_else(|| "none".to_owned()))
    }

    fn probe(&self) -> Vec<String> {
        let (places, revoked) = self.values();
        let yes = |is: bool| if is { "yes" } else { "no" };
        let mut lines = vec![
            "system debian -".to_owned(),
            "sshd OpenSSH_9.2p1".to_owned(),
            "config ok".to_owned(),
            format!("value authorizedkeysfile {}", STANDARD.encode(places)),
            format!("value revokedkeys {}", STANDARD.encode(revoked)),
            format!("include {}", yes(self.include)),
            "reload process".to_owned(),
            self.account.map_or("account absent".to_owned(), |password| {
                format!("account 999 {} {password}", STANDARD.encode("/bin/sh"))
            }),
            format!(
                "policy {}",
                self.files.get("policy").map_or("-".to_owned(), |text| STANDARD.encode(text))
            ),
            format!("directories {}", yes(self.directories)),
            "rules yes".to_owned(),
            format!("home-key {}", yes(self.home_key)),
            format!("undo {}", if self.saved.is_some() { "armed" } else { "none" }),
        ];
        lines.extend(File::ALL.iter().map(|file| {
            let found = self.files.get(file.word()).map(|text| to_hex(&Sha256::digest(text)));
            format!("file {} {}", file.word(), found.as_deref().unwrap_or("-"))
        }));
        for (word, line) in &self.says {
            // sshd has no values where its configuration cannot be read.
            lines.retain(|known| {
                !known.starts_with(word) && (*word != "config" || !known.starts_with("value "))
            });
            lines.push((*line).to_owned());
        }
        lines
    }

    fn step(&mut self, words: &[&str]) -> String {
        let text = |token: &str| {
            let bytes = if token == "-" { Vec::new() } else { STANDARD.decode(token).unwrap() };
            String::from_utf8(bytes).unwrap()
        };
        let before = self.clone();
        match words {
            ["directories"] => self.directories = true,
            ["account"] => drop(self.account.get_or_insert("locked")),
            ["write", "revoked", _] if self.files.contains_key("revoked") => {}
            ["write", "dropin", _] | ["include"] if self.saved.is_none() => {
                return "failed not-armed".to_owned();
            }
            ["write", word, token] => {
                let file = File::ALL.into_iter().find(|file| file.word() == *word).unwrap();
                assert!(self.directories, "written before there is a directory");
                self.files.insert(file.word(), text(token));
            }
            ["home-key", _] => {
                assert!(self.account.is_some());
                self.home_key = true;
            }
            ["password", _] => self.account = Some("set"),
            ["arm", _] if self.saved.is_some() => return "failed armed".to_owned(),
            ["arm", _] => self.saved = Some((self.files.get("dropin").cloned(), self.include)),
            ["include"] => self.include = true,
            ["reload"] => return "changed".to_owned(),
            ["undo"] => self.put_back(),
            ["confirm"] if self.saved.is_none() => return "failed too-late".to_owned(),
            ["confirm"] => self.saved = None,
            other => panic!("{other:?}"),
        }
        // sshd refuses every key if the file that RevokedKeys names is missing.
        assert!(self.values().1 == "none" || self.files.contains_key("revoked"), "{self:?}");
        if *self == before { "ok".to_owned() } else { "changed".to_owned() }
    }

    fn put_back(&mut self) {
        if let Some((drop_in, include)) = self.saved.take() {
            self.include = include;
            match drop_in {
                Some(text) => drop(self.files.insert("dropin", text)),
                None => drop(self.files.remove("dropin")),
            }
        }
    }
}

/// A connection that breaks when so many steps have been asked for, before or after the last one is done.
struct Wire<'a> {
    machine: &'a mut Machine,
    steps: usize,
    is_last_done: bool,
}

impl Conversation for Wire<'_> {
    fn ask(&mut self, request: &str) -> Result<Vec<String>, Failure> {
        let (head, body) = request.split_once('\n').unwrap();
        let broken = || Failure::new(Kind::Unreachable, "broken");
        match head.split(' ').next().unwrap() {
            "probe" => Ok(self.machine.probe()),
            "release" => Ok(Vec::new()),
            "step" => {
                let words: Vec<&str> = body.split_whitespace().skip(2).collect();
                let is_last = self.steps == 1;
                if self.steps == 0 || (is_last && !self.is_last_done) {
                    self.steps = 0;
                    return Err(broken());
                }
                self.steps -= 1;
                let result = self.machine.step(&words);
                if is_last { Err(broken()) } else { Ok(vec![format!("result {result}")]) }
            }
            other => panic!("{other}"),
        }
    }
}

fn wanted(place: Place, sudo: SudoLevel) -> Wanted {
    let profile = ("db".parse().unwrap(), "ALL=(postgres) ALL\n".to_owned());
    let text = Zeroizing::new("secret".to_owned());
    Wanted {
        admin: "ssh-admin".parse().unwrap(),
        key_line: "restrict ssh-ed25519 AAAA kbmfa-server".to_owned(),
        signers_line: "kbmfa-roster ssh-ed25519 CCCC".to_owned(),
        place,
        sudo,
        profiles: [profile].into(),
        password: (sudo == SudoLevel::Password).then_some(Password { text, is_known: true }),
        source: "192.0.2.1".parse().unwrap(),
        undo_after: 60,
    }
}

/// One run with a connection that breaks; `works` is whether the new connection does.
fn attempt(
    machine: &mut Machine,
    wanted: &Wanted,
    (steps, is_last_done): (usize, bool),
    works: bool,
) -> Result<Vec<Step>, Failure> {
    let mut wire = Wire { machine, steps, is_last_done };
    let looked = look(&mut wire, wanted)?;
    let checked = Cell::new(0);
    let check = || {
        checked.set(checked.get() + 1);
        if works { Ok(()) } else { Err(Failure::new(Kind::Authentication, "refused")) }
    };
    let ended = run(&mut wire, wanted, looked.steps, &mut |_, _| Ok(()), &check);
    assert!(ended.is_err() || checked.get() == 1, "set up without a new connection");
    ended
}

const WHOLE: (usize, bool) = (usize::MAX, true);

fn machines() -> impl Strategy<Value = Machine> {
    let files =
        proptest::sample::subsequence(vec!["revoked", "policy", "helper", "rule", "key", "signers"], 0..=6);
    let places = prop::sample::select(vec!["", ".ssh/authorized_keys", "/etc/keys/%u .ssh/a", "none"]);
    let account = prop::sample::select(vec![None, Some("locked"), Some("set")]);
    (any::<[bool; 4]>(), files, places, account).prop_map(
        |([directories, home, include, old], files, places, account)| {
            let directories = directories || !files.is_empty() || old;
            let mut files: BTreeMap<_, _> =
                files.into_iter().map(|word| (word, format!("old {word}"))).collect();
            if old {
                files.insert("dropin", format!("RevokedKeys {REVOKED}\n"));
                files.insert("revoked", "ssh-ed25519 BBBB\n".to_owned());
            }
            let home_key = home && account.is_some();
            Machine {
                directories,
                account,
                files,
                home_key,
                include,
                own_places: places,
                ..Machine::default()
            }
        },
    )
}

fn wishes() -> impl Strategy<Value = (Place, SudoLevel)> {
    let levels = vec![SudoLevel::Password, SudoLevel::Nopasswd, SudoLevel::Helper];
    (prop::sample::select(vec![Place::System, Place::Home]), prop::sample::select(levels))
}

proptest! {
    #[test]
    fn a_machine_that_is_set_up_needs_nothing_more(mut machine in machines(), (place, sudo) in wishes()) {
        let wanted = wanted(place, sudo);
        let revoked = machine.files.get("revoked").cloned();
        let others = machine.own_places;
        attempt(&mut machine, &wanted, WHOLE, true).unwrap();
        prop_assert!(attempt(&mut machine, &wanted, WHOLE, true).unwrap().is_empty());
        prop_assert_eq!(machine.saved.clone(), None);
        let (places, names) = machine.values();
        prop_assert_eq!(names, REVOKED);
        if place == Place::System {
            prop_assert!(places.starts_with("/etc/ssh/kbmfa/keys/%u"));
        }
        // Nobody loses access, and no revoked key comes back.
        if !["", "none"].contains(&others) && !machine.files["dropin"].starts_with("RevokedKeys") {
            prop_assert!(others.split(' ').all(|other| places.contains(other)), "{} {}", others, places);
        }
        prop_assert!(revoked.is_none_or(|text| machine.files["revoked"] == text));
    }

    #[test]
    fn an_interrupted_run_goes_on_where_it_stopped(
        machine in machines(), (place, sudo) in wishes(), is_last_done: bool, has_timer_ended: bool
    ) {
        let wanted = wanted(place, sudo);
        let mut whole = machine.clone();
        attempt(&mut whole, &wanted, WHOLE, true).unwrap();
        for steps in 0..16 {
            let mut cut = machine.clone();
            let ended = attempt(&mut cut, &wanted, (steps, is_last_done), true);
            if has_timer_ended && ended.is_err() {
                cut.put_back();
            }
            attempt(&mut cut, &wanted, WHOLE, true).unwrap();
            prop_assert_eq!(&cut, &whole, "after {} steps", steps);
        }
    }

    #[test]
    fn without_a_new_connection_sshd_is_as_it_was(mut machine in machines(), (place, sudo) in wishes()) {
        let wanted = wanted(place, sudo);
        let before = (machine.files.get("dropin").cloned(), machine.include);
        let failure = attempt(&mut machine, &wanted, WHOLE, false).unwrap_err();
        prop_assert_eq!(failure.kind, Kind::Authentication);
        prop_assert_eq!((machine.files.get("dropin").cloned(), machine.include), before);
        prop_assert_eq!(machine.saved, None);
    }
}

/// Why nothing is done on a machine that reports this line.
fn obstacle(word: &'static str, line: &'static str) -> String {
    let mut machine = Machine { own_places: ".ssh/authorized_keys", ..Machine::default() };
    machine.says.insert(word, line);
    let untouched = machine.clone();
    let wanted = wanted(Place::System, SudoLevel::Helper);
    let failure = attempt(&mut machine, &wanted, WHOLE, true).unwrap_err();
    assert_eq!(machine, untouched, "changed in spite of {line}");
    failure.detail
}

#[test]
fn what_a_person_has_to_repair_is_named_before_anything_is_changed() {
    for (word, line, expected) in [
        ("missing", "missing visudo", "visudo"),
        ("config", "config odd", "sshd_config"),
        ("value revokedkeys", "value revokedkeys L2V0Yy9rcmw=", "/etc/krl"),
        ("value pubkey", "value pubkeyauthentication bm8=", "PubkeyAuthentication"),
        ("reload", "reload none", "sshd"),
        ("rules", "rules no", "@includedir"),
        ("file rule", "file rule odd", "/etc/sudoers.d/zz-kbmfa"),
        ("account", "account 0 L2Jpbi9zaA== locked", "is root"),
        ("account", "account 5 L3NiaW4vbm9sb2dpbg== locked", "no shell"),
        ("account", "account 5 L2Jpbi9zaA== empty", "empty password"),
        ("file rule", "file rule", "not understood"),
        ("system", "system debian", "not understood"),
    ] {
        let detail = obstacle(word, line);
        assert!(detail.contains(expected), "{line}: {detail}");
    }
}

#[test]
fn every_step_is_shown_as_it_is_carried_out() {
    let mut machine = Machine { own_places: ".ssh/authorized_keys", ..Machine::default() };
    let wanted = wanted(Place::System, SudoLevel::Helper);
    let looked = look(&mut Wire { machine: &mut machine, steps: 0, is_last_done: true }, &wanted).unwrap();
    let words: Vec<_> = looked.steps.iter().map(|step| step.words(&wanted)).collect();
    let shown = words.join("\n");
    for text in [
        "AuthorizedKeysFile /etc/ssh/kbmfa/keys/%u .ssh/authorized_keys",
        "RevokedKeys /etc/ssh/kbmfa/revoked",
        "ssh-admin ALL=(root) NOPASSWD: /usr/local/libexec/kbmfa-helper \"\"",
        "restrict ssh-ed25519 AAAA kbmfa-server",
        "sudo db ",
        DROP_IN,
    ] {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
    let at = |text: &str| words.iter().position(|words| words.contains(text)).unwrap();
    assert!(at("/etc/ssh/kbmfa/revoked, empty") < at("RevokedKeys"), "{shown}");
    assert!(at("save what sshd reads") < at("RevokedKeys"), "{shown}");
}
