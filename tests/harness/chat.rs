//! The model of Keybase: a team with its members, a bot, and a server that asks there. At the end the test
//! fails for every call that a careful client would not make.

use keybase_double::{Cloud, Role};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Deref;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use tempfile::TempDir;

use crate::built;
use crate::files::{put, set_mode};
use crate::process::{brief, program, run};
use crate::transcript;
use crate::wait::PATIENCE;
use crate::world::World;

/// The account that runs the server, because `keybase` refuses to run as root.
const OWNER: &str = "nobody";
const OWNER_ID: u32 = 65534;

/// The bot's Keybase name.
pub const BOT: &str = "sshbot";

/// The channel in which the server asks.
pub const ROOM: &str = "acme#sudo";

/// A cloud, and the program that uses it.
#[derive(Debug)]
pub struct Chat {
    cloud: Cloud,
    child: Child,
    is_judged: bool,
    dir: TempDir,
}

impl Deref for Chat {
    type Target = Cloud;
    fn deref(&self) -> &Cloud {
        &self.cloud
    }
}

impl Chat {
    /// Starts it with a team `acme` that has a channel `sudo`: alice owns it, bob and dave are writers, carol
    /// is a reader, sshbot is a bot in it. mallory is not a member.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-chat-").tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        let keybase = dir.path().join("keybase");
        // Another process copies the program: if this one did, a child that another thread starts meanwhile
        // could keep the copy open for writing, and then it cannot be run.
        run(brief("cp").arg(built::keybase()).arg(&keybase));
        let mut command = program(&keybase);
        command.args(["double", "cloud"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("cloud ready"), "{ready}");
        let socket = dir.path().join("cloud.sock");
        set_mode(&socket, 0o666);
        let chat = Self { cloud: Cloud::at(&socket), child, is_judged: true, dir };
        chat.found_team();
        chat
    }

    /// Ignores complaints, for clients that are not careful.
    #[must_use]
    pub fn unjudged(mut self) -> Self {
        self.is_judged = false;
        self
    }

    fn found_team(&self) {
        for user in ["alice", "bob", "carol", "dave", "mallory"] {
            self.add_user(user).unwrap();
        }
        let paperkey = self.add_user(BOT).unwrap().paper_key;
        let file = self.paperkey_file();
        put(&file, 0o600, paperkey);
        chown(&file, Some(OWNER_ID), Some(OWNER_ID)).unwrap();
        self.add_team("acme", "alice").unwrap();
        for (user, role) in
            [("bob", Role::Writer), ("dave", Role::Writer), ("carol", Role::Reader), (BOT, Role::Bot)]
        {
            self.set_member("acme", user, role).unwrap();
        }
        self.add_channel("acme", "sudo").unwrap();
    }

    /// The cloud's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of the program that uses this cloud.
    pub fn program(&self) -> PathBuf {
        self.dir.path().join("keybase")
    }

    /// The path of the bot's paper key.
    pub fn paperkey_file(&self) -> PathBuf {
        self.dir.path().join("paperkey")
    }

    /// A home for a service that is not the server's.
    pub fn ambient_home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Starts a service at that home, logged in as this user, as the account that runs the server.
    pub fn ambient(&self, user: &str) -> Ambient {
        let paper_key = self
            .add_user(user)
            .map_or_else(|_| fs::read_to_string(self.paperkey_file()).unwrap(), |user| user.paper_key);
        put(&self.ambient_home().join("paperkey"), 0o600, "");
        chown(self.ambient_home(), Some(OWNER_ID), Some(OWNER_ID)).unwrap();
        let mut command = program("setpriv");
        command.args(["--reuid", &OWNER_ID.to_string(), "--regid", &OWNER_ID.to_string(), "--clear-groups"]);
        command.arg(self.program()).arg("--home").arg(self.ambient_home());
        command.args(["service", "--oneshot-username", user]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{}", paper_key.trim()).unwrap();
        self.wait_logins(1, PATIENCE).unwrap();
        Ambient(child)
    }

    /// The lines of `[relay.keybase]` that every server needs.
    pub fn settings(&self) -> String {
        let (program, paperkey) = (self.program(), self.paperkey_file());
        format!(
            "[relay.keybase]\nprogram = \"{}\"\nusername = \"{BOT}\"\npaperkey_file = \"{}\"\n",
            program.display(),
            paperkey.display()
        )
    }

    /// Waits until a message with this text is in the channel, and returns its number.
    pub fn message(&self, text: &str) -> u64 {
        self.wait_message(ROOM, text, PATIENCE).unwrap_or_else(|error| {
            panic!("no message with {text:?}: {error}\n{}", self.view(ROOM).unwrap_or_default())
        })
    }

    /// Waits until a login is asked about, with both reactions to click on, and returns the message's number.
    pub fn ask(&self, login: &str) -> u64 {
        let message = self.message(&format!("Login `{}`", login.get(..8).expect("an id")));
        self.wait_reaction(ROOM, message, "Deny", PATIENCE).unwrap();
        message
    }

    /// The channel as its members see it, with placeholders for what differs between runs.
    pub fn seen(&self) -> String {
        transcript::of_chat(&self.view(ROOM).unwrap())
    }

    /// Makes the service crash.
    pub fn crash_service(&self) {
        self.crash().unwrap();
    }

    /// Logs the service out. Nobody is told.
    pub fn log_service_out(&self) {
        self.log_out().unwrap();
    }

    /// Somebody reacts.
    pub fn answer(&self, user: &str, message: u64, reaction: &str) {
        self.react(user, ROOM, message, reaction).unwrap();
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- {ROOM}\n{}", self.view(ROOM).unwrap_or_default());
            eprintln!("---- complaints\n{}", self.complaints().unwrap_or_default().join("\n"));
        }
        let complaints = self.complaints();
        // The cloud ends when its stdin is closed, and every service ends with the cloud.
        drop(self.child.stdin.take());
        self.child.wait().ok();
        if self.is_judged && !thread::panicking() {
            assert_eq!(complaints.unwrap(), Vec::<String>::new(), "what the server did in Keybase");
        }
    }
}

/// A service that runs until this is dropped.
#[derive(Debug)]
pub struct Ambient(Child);

impl Drop for Ambient {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A world whose server asks in Keybase.
#[derive(Debug)]
pub struct ChatWorld {
    /// The world. Its server ends before the chat does.
    pub world: World,
    /// The chat.
    pub chat: Chat,
}

impl Deref for ChatWorld {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl ChatWorld {
    /// A server that asks in the team's channel.
    pub fn new() -> Self {
        Self::with(&[], "")
    }

    /// Changes some keys, and adds lines to the end of the configuration.
    pub fn with(settings: &[(&str, &str, &str)], lines: &str) -> Self {
        let world = Self::down("team = \"acme\"\nchannel = \"sudo\"\n", lines);
        for (section, key, value) in settings {
            world.server.set(section, key, value);
        }
        world.server.start();
        world
    }

    /// A server that is set up with these lines of `[relay.keybase]`, and does not run yet.
    pub fn down(place: &str, lines: &str) -> Self {
        let (chat, world) = (Chat::start(), World::down(Some(OWNER)));
        world.server.set("relay", "kind", "\"keybase\"");
        world.server.append(&format!("{}{place}{lines}", chat.settings()));
        Self { world, chat }
    }
}

impl Default for ChatWorld {
    fn default() -> Self {
        Self::new()
    }
}
