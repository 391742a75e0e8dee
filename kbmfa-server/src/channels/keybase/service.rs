//! The Keybase service that all clients use: either the server's own child process, or an ambient one that
//! somebody else started. It must be logged in as the bot.

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
use super::process::program::{Error, Stderr, last_line};
use super::settings::{Service, Settings};
use crate::secret::Secret;

/// Longest time until a new service answers. This includes its login.
const START_TIME: Duration = Duration::from_secs(60);

/// Maximum number of bytes that are read of the paper key's file.
const PAPERKEY_BYTES_MAX: u64 = 1024;

/// Time for a graceful stop.
const STOP_TIME: Duration = Duration::from_secs(5);

/// How a service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// With `keybase ctl stop`, which ends any service at the home.
    Graceful,
    /// By killing our child process alone, because another server's service may use the home now.
    OwnChild,
}

/// A running service.
pub(super) enum Running {
    /// Our child process.
    Own(Box<Own>),
    /// Started by somebody else; the server never stops it.
    Ambient,
}

/// A service that is our child process. Its output is always read, because a full or closed pipe would block
/// or end it.
pub(super) struct Own {
    child: Child,
    stdout: Option<Lines<ChildStdout>>,
    stderr: Option<Lines<ChildStderr>>,
    bot: KeybaseName,
}

/// Starts our own service, after it ends one that a killed server left running. Does nothing for an ambient
/// service.
pub(super) async fn start(client: &Client, settings: &Settings) -> Result<Running, Failure> {
    let Service::Own { home } = &settings.service else { return Ok(Running::Ambient) };
    if home.join(".config/keybase/keybased.sock").exists() {
        // Stops the service of an earlier server that was killed. If no service listens there the call fails,
        // which does no harm.
        stop(client).await;
    }
    leftover::end_all(home).await;
    start_own(client, settings, home).await
}

/// Starts our own service for `doctor`. If one answers at the home already, uses that one and never stops it.
pub(super) async fn start_or_reuse(client: &Client, settings: &Settings) -> Result<Running, Failure> {
    let Service::Own { home } = &settings.service else { return Ok(Running::Ambient) };
    if client.whoami().await.is_ok() {
        return Ok(Running::Ambient);
    }
    start_own(client, settings, home).await
}

/// Ends a service that a killed server left running at our own home: with `keybase ctl stop`, or by its
/// process if that fails.
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
        let fix = "give the account that runs kbmfa-server write access, or change [relay.keybase] home";
        Failure::permanent(format!("{}: {error}", home.display()), fix)
    })?;
    let name = settings.username.as_str();
    let mut child = client.program.start(&["service", "--oneshot-username", name], Stderr::Read)?;
    if let Some(mut input) = child.stdin.take() {
        let line = format!("{}\n", paperkey.reveal());
        input.write_all(line.as_bytes()).await.map_err(Error::broken)?;
    }
    let stdout = child.stdout.take().map(|from| Lines::new(from, EVENT_BYTES_MAX));
    let stderr = child.stderr.take().map(|from| Lines::new(from, EVENT_BYTES_MAX));
    let bot = settings.username.clone();
    Ok(Running::Own(Box::new(Own { child, stdout, stderr, bot })))
}

/// Waits until the service answers, logs it in if necessary, and checks that it is logged in as the bot.
/// Returns the bot's uid.
pub(super) async fn ensure_logged_in(client: &Client, settings: &Settings) -> Result<String, Failure> {
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
    bot_uid(client, settings).await
}

/// The bot's uid. An error unless the service is logged in as the bot.
pub(super) async fn bot_uid(client: &Client, settings: &Settings) -> Result<String, Failure> {
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

/// Runs `keybase ctl stop`, which stops the service at our own home if one listens there.
async fn stop(client: &Client) {
    if let Err(error) = client.program.run(&["ctl", "stop"], None, STOP_TIME).await {
        log::debug!("keybase: {error}");
    }
}

impl Running {
    /// Stops our own service, and kills it if it does not exit in time. Never stops an ambient service.
    pub(super) async fn stop(self, client: &Client, how: Stop) {
        let Self::Own(mut own) = self else { return };
        if how == Stop::Graceful && matches!(own.child.try_wait(), Ok(None)) {
            let graceful = async { tokio::join!(stop(client), own.wait_for_exit()) };
            let _ = timeout(STOP_TIME, graceful).await;
        }
        if let Err(error) = own.child.kill().await {
            log::warn!("keybase: cannot kill the service: {error}");
        }
    }

    /// Waits until our own service exits, and reads its output meanwhile. For an ambient service it never
    /// returns.
    pub(super) async fn wait_for_exit(&mut self) -> Failure {
        let Self::Own(own) = self else { return future::pending().await };
        let (status, message) = own.wait_for_exit().await;
        error::service_ended(&status, &message, &own.bot)
    }
}

impl Own {
    /// Waits for the exit status, and returns it with the last line of stderr.
    async fn wait_for_exit(&mut self) -> (String, String) {
        let mut last = String::new();
        tokio::join!(
            drain(self.stdout.as_mut(), |_| {}),
            drain(self.stderr.as_mut(), |line| last = last_line(&line))
        );
        let status = self.child.wait().await;
        (status.map_or_else(|error| error.to_string(), |status| status.to_string()), last)
    }
}

async fn drain<R: AsyncRead + Unpin>(from: Option<&mut Lines<R>>, mut on_line: impl FnMut(String)) {
    let Some(lines) = from else { return };
    while let Ok(Some(line)) = lines.next().await {
        log::debug!("keybase service: {}", SafeText::new(&line));
        on_line(line);
    }
}

/// Reads the paper key from its file. Refuses a file to which others than its owner and group have access.
pub(super) fn paperkey(settings: &Settings) -> Result<Secret, Fault> {
    let Some(path) = &settings.paperkey_file else {
        let fix = "set [relay.keybase] paperkey_file to the file that holds the bot's paper key";
        return Err(Fault::new("[relay.keybase] names no paperkey_file", fix));
    };
    read_paperkey(path).map_err(|(why, fix)| Fault::new(format!("{}: {why}", path.display()), fix))
}

/// Reads the paper key. The error is the problem and its fix.
fn read_paperkey(path: &Path) -> Result<Secret, (String, String)> {
    let (shown, account) = (path.display(), account());
    let write = format!("`install -m 600 -o {account} /dev/stdin {shown}`, and type the paper key");
    let unreadable = |error: std::io::Error| {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "`chown {account} {shown} && chmod 600 {shown}`, and give {account} access to the folders above it"
            ),
            _ => write.clone(),
        };
        (error.to_string(), fix)
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(("it is not a regular file".to_owned(), write));
    }
    let mode = found.mode();
    if mode & 0o007 != 0 {
        let why = format!("its mode {:o} gives every account access", mode & 0o7777);
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

/// The name of the account that runs this process and reads the file.
fn account() -> String {
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
