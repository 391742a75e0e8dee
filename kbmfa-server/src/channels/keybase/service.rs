//! The service behind all clients: one of our own, watched over, or one that runs already. Either has to be logged in as
//! the bot and as nobody else.

use kbmfa_proto::names::KeybaseName;
use kbmfa_proto::text::SafeText;
use nix::unistd::{Uid, User};
use std::fs;
use std::future;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::timeout;

use super::client::Client;
use super::error::{self, Failure, Fault};
use super::leftover;
use super::process::lines::{EVENT_BYTES_MAX, Lines};
use super::process::program::{Complaints, Error, last_line};
use super::settings::{Service, Settings};
use crate::secret::Secret;

/// Longest time for a service to answer; it logs in first.
const START_TIME: Duration = Duration::from_secs(60);

/// As much of the paper key's file as is read.
const PAPERKEY_BYTES_MAX: u64 = 1024;

/// Time to stop in good order.
const STOP_TIME: Duration = Duration::from_secs(5);

/// How a service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// By its own verb, which ends whatever service is at home.
    InOrder,
    /// By its process: another server's service may be at home by now.
    OnlyOurs,
}

/// A service that was started, or found.
pub(super) enum Running {
    Own(Box<Own>),
    Ambient,
}

/// A service of our own. What it prints is read to its end: a pipe without a reader would end it in the middle of something.
pub(super) struct Own {
    child: Child,
    printed: Option<Lines<ChildStdout>>,
    complaints: Option<Lines<ChildStderr>>,
    bot: KeybaseName,
}

/// Starts our own service, or makes sure that there is one. A service that a killed server left behind is stopped first.
pub(super) async fn start(client: &Client, settings: &Settings) -> Result<Running, Failure> {
    let Service::Own { home } = &settings.service else { return Ok(Running::Ambient) };
    if home.join(".config/keybase/keybased.sock").exists() {
        // The server before us was killed. If nobody listens there, this fails, which is fine.
        stop(client).await;
    }
    leftover::end_all(home).await;
    start_own(client, settings, home).await
}

/// Starts our own service for an examination, unless one answers at its home already: that one is used, and left alone.
pub(super) async fn borrow(client: &Client, settings: &Settings) -> Result<Running, Failure> {
    let Service::Own { home } = &settings.service else { return Ok(Running::Ambient) };
    if client.whoami().await.is_ok() {
        return Ok(Running::Ambient);
    }
    start_own(client, settings, home).await
}

/// Ends a service that a killed server left behind at our own home: by its own verb, and if that does not reach it, by its
/// process.
pub(super) async fn stop_leftover(client: &Client, settings: &Settings) {
    let Service::Own { home } = &settings.service else { return };
    stop(client).await;
    leftover::end_all(home).await;
}

async fn start_own(client: &Client, settings: &Settings, home: &Path) -> Result<Running, Failure> {
    let paperkey = paperkey(settings).map_err(Failure::Permanent)?;
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(home);
    made.map_err(|error| {
        let fix = "let the account that runs kbmfa-server write there, or change [relay.keybase] home";
        Failure::permanent(format!("{}: {error}", home.display()), fix)
    })?;
    let name = settings.username.as_str();
    let mut child = client.program.start(&["service", "--oneshot-username", name], Complaints::Read)?;
    if let Some(mut input) = child.stdin.take() {
        let line = format!("{}\n", paperkey.reveal());
        input.write_all(line.as_bytes()).await.map_err(Error::broken)?;
    }
    let printed = child.stdout.take().map(|from| Lines::new(from, EVENT_BYTES_MAX));
    let complaints = child.stderr.take().map(|from| Lines::new(from, EVENT_BYTES_MAX));
    let bot = settings.username.clone();
    Ok(Running::Own(Box::new(Own { child, printed, complaints, bot })))
}

/// Waits until it answers, and makes sure as whom. Returns the bot's uid.
pub(super) async fn log_in(client: &Client, settings: &Settings) -> Result<String, Failure> {
    if matches!(settings.service, Service::Own { .. }) {
        let seconds = format!("{}s", START_TIME.as_secs());
        client.program.run(&["ctl", "wait", "--duration", &seconds], None, START_TIME).await?;
    }
    let who = client.whoami().await.map_err(|error| error::no_service(&error, &settings.service))?;
    if !who.logged_in && settings.paperkey_file.is_some() {
        let paperkey = paperkey(settings).map_err(Failure::Permanent)?;
        let done = client.oneshot(settings.username.as_str(), &paperkey).await;
        done.map_err(|error| error::login_failed(&error, &settings.username))?;
    }
    bot(client, settings).await
}

/// The bot's uid, if it is as whom the service is logged in.
pub(super) async fn bot(client: &Client, settings: &Settings) -> Result<String, Failure> {
    let who = client.whoami().await.map_err(|error| error::no_service(&error, &settings.service))?;
    match who.user.filter(|_| who.logged_in) {
        Some(user) if user.username == settings.username.as_str() => Ok(user.uid),
        Some(user) => Err(Failure::permanent(
            format!("the service is logged in as {}, not as {}", user.username, settings.username),
            "log it out (`keybase logout`), or change [relay.keybase] username",
        )),
        None => Err(error::logged_out()),
    }
}

/// Stops the service at our own home, if one listens there.
async fn stop(client: &Client) {
    if let Err(error) = client.program.run(&["ctl", "stop"], None, STOP_TIME).await {
        log::debug!("relay keybase: {error}");
    }
}

impl Running {
    /// Stops the service in good order, if it is our own child; else, or if it takes too long, by force.
    pub(super) async fn stop(self, client: &Client, how: Stop) {
        let Self::Own(mut own) = self else { return };
        if how == Stop::InOrder && matches!(own.child.try_wait(), Ok(None)) {
            let in_order = async { tokio::join!(stop(client), own.ends()) };
            let _ = timeout(STOP_TIME, in_order).await;
        }
        if let Err(error) = own.child.kill().await {
            log::warn!("relay keybase: the service cannot be killed: {error}");
        }
    }

    /// Waits for its end, and reads what it complains about meanwhile.
    pub(super) async fn ends(&mut self) -> Failure {
        let Self::Own(own) = self else { return future::pending().await };
        let (status, complaint) = own.ends().await;
        error::service_ended(&status, &complaint, &own.bot)
    }
}

impl Own {
    /// How it ended, and the last thing that it complained about.
    async fn ends(&mut self) -> (String, String) {
        let mut last = String::new();
        tokio::join!(
            drain(self.printed.as_mut(), |_| {}),
            drain(self.complaints.as_mut(), |line| last = last_line(&line))
        );
        let status = self.child.wait().await;
        (status.map_or_else(|error| error.to_string(), |status| status.to_string()), last)
    }
}

async fn drain<R: AsyncRead + Unpin>(from: Option<&mut Lines<R>>, mut heard: impl FnMut(String)) {
    let Some(lines) = from else { return };
    while let Ok(Some(line)) = lines.next().await {
        log::debug!("keybase service: {}", SafeText::new(&line));
        heard(line);
    }
}

/// The paper key, out of a file that is nobody else's.
///
/// # Errors
/// What is wrong with the file, and the fix.
pub(super) fn paperkey(settings: &Settings) -> Result<Secret, Fault> {
    let Some(path) = &settings.paperkey_file else {
        let fix = "set [relay.keybase] paperkey_file to the file that holds the bot's paper key";
        return Err(Fault::new("[relay.keybase] names no paperkey_file", fix));
    };
    read_paperkey(path).map_err(|(why, fix)| Fault::new(format!("{}: {why}", path.display()), fix))
}

/// The error is what is wrong, and the fix.
fn read_paperkey(path: &Path) -> Result<Secret, (String, String)> {
    let (shown, account) = (path.display(), account());
    let write = format!("`install -m 600 -o {account} /dev/stdin {shown}`, and type the paper key");
    let unreadable = |error: std::io::Error| {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "`chown {account} {shown} && chmod 600 {shown}`, and let {account} into the folders above it"
            ),
            _ => write.clone(),
        };
        (error.to_string(), fix)
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(("it is no file".to_owned(), write));
    }
    let mode = found.mode();
    if mode & 0o007 != 0 {
        let why = format!("its mode {:o} lets everybody at it", mode & 0o7777);
        return Err((why, format!("`chmod 600 {shown}`")));
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(PAPERKEY_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let line = text.trim();
    if line.is_empty() || line.lines().count() > 1 {
        return Err(("it does not hold the paper key in one line".to_owned(), write));
    }
    Ok(Secret::new(line.to_owned()))
}

/// The account that reads the file: the server's.
fn account() -> String {
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
