//! `kbmfa-host join`: exchanges a one-time token for a credential that this machine makes itself.
//!
//! The credential is on disk before its hash is sent to the server. So `join` can be run again after a crash,
//! and then continues. The token is never an argument and never printed.

use kbmfa_proto::caller::Authorization;
use kbmfa_proto::client::{Client, Error as CallError, Method, Target, Trust};
use kbmfa_proto::machine::{Join, Machine};
use kbmfa_proto::pin::Pin;
use kbmfa_proto::text::SafeText;
use sha2::{Digest, Sha256};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod files;
mod token;

use super::cures::{self, Stage};
use super::refresh::Outcome;
use super::{Error, Report, host_keys, names, pem, place, refresh};
use files::NEW_CONFIG;
use pam_kbmfa::config::value::{self, Location};
use token::Token;

/// Longest time for one call.
const CALL_TIME: Duration = Duration::from_secs(10);

/// Exchange a one-time token for a credential, and write the module's configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "The token and the pin are printed by the server:\n  \
                        kbmfa-server machine join-token NAME\n\
                        If it is interrupted, run the same command again. Only its owner may be able to \
                        read the token file. It is removed after the machine has joined.")]
pub(super) struct Args {
    /// The server, as https://HOST:PORT
    #[arg(long, value_name = "URL")]
    server: String,
    /// Pin of the server's CA, as sha256:HEX
    #[arg(long)]
    pin: Pin,
    /// File that holds the one-time token; - reads standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where to write ca.pem, credential and pam.toml
    #[arg(long, default_value = "/etc/kbmfa", value_name = "DIR")]
    dir: PathBuf,
    /// Longest time for a whole login; must be longer than the server's window
    #[arg(long, default_value = "75s", value_name = "TIME")]
    deadline: String,
    /// Replace a pam.toml with other contents
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    sshd: host_keys::Sshd,
}

pub(super) fn run(args: &Args, out: &mut Report<'_>) -> Result<(), Error> {
    let location = Location::parse(&args.server)
        .ok_or_else(|| Error::new(format_args!("{:?} is not https://HOST:PORT", args.server)))?;
    let dir = std::path::absolute(&args.dir)?;
    let addresses = look_up(&location)?;
    let settings = files::render(&location, &addresses, &dir, &args.deadline);
    files::check(&settings)?;
    let token = Token::read(&args.token_file)?;

    place::directory(&dir).map_err(|error| cannot("make", &dir, &error))?;
    let trust = Trust::in_pin(args.pin).map_err(Error::new)?;
    let trade = |credential: &str| {
        let join = Join {
            token: token.text().to_owned(),
            credential_sha256: files::hex(&Sha256::digest(credential.as_bytes())),
            module_version: SafeText::new(env!("CARGO_PKG_VERSION")),
        };
        any(&location, &addresses, |target| {
            let client = Client::new(target, &trust, None, None)?;
            client.call(Method::POST, "/v1/machines/join", Some(&join), CALL_TIME)
        })
        .map(|_: Machine| ())
    };
    // A used token belongs to the credential that it was used for. A new token needs a new credential.
    let installed = files::installed_credential(&dir).filter(|installed| trade(installed).is_ok());
    let credential = if let Some(installed) = installed {
        installed
    } else {
        let prepared = files::prepare_credential(&dir)?;
        trade(&prepared).map_err(|error| not_joined(&args.server, &location.host, &error))?;
        prepared
    };

    let ca = trust.pinned_ca().ok_or_else(|| Error::new("the server sent no CA certificate"))?;
    let ca = pem::encode(&ca);
    let written =
        files::install(&dir, &ca, &settings, args.force).map_err(|error| cannot("write", &dir, &error))?;
    for name in written {
        out.item("wrote", dir.join(name).display())?;
    }
    prove(args, &location, &addresses, (&ca, &credential), out)?;
    fetch_cas(args, &location, &addresses, (&dir, &ca), out)?;
    if written.contains(&NEW_CONFIG) {
        out.warning(format_args!(
            "pam.toml has other contents and was not changed; compare it with {NEW_CONFIG}"
        ))?;
    }
    if let Err(error) = token.remove() {
        out.warning(format_args!(
            "the used token cannot be removed from {}: {error}",
            args.token_file.display()
        ))?;
    } else if token.path.is_some() {
        out.item("removed", format_args!("{} (the token is used)", args.token_file.display()))?;
    }
    advise(&dir, out)
}

fn look_up(location: &Location) -> Result<Vec<SocketAddr>, Error> {
    let host = &location.host;
    let found = names::look_up(host, location.port);
    let addresses = found.map_err(|error| Error::new(format_args!("cannot look up {host}: {error}")))?;
    if addresses.is_empty() {
        return Err(Error::new(format_args!("{host} has no address")));
    }
    Ok(addresses)
}

/// Calls the addresses one after the other until one answers. If none does, the error of a server that was
/// reached is preferred.
fn any<T>(
    location: &Location,
    addresses: &[SocketAddr],
    call: impl Fn(&Target) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let mut worst = CallError::Timeout;
    for (turn, &address) in addresses.iter().enumerate() {
        match call(&Target { host: location.host.clone(), address }) {
            Ok(answer) => return Ok(answer),
            Err(error @ (CallError::Refused(_) | CallError::Garbage(_))) => return Err(error),
            Err(CallError::Connect(_)) if turn > 0 => {}
            Err(error) => worst = error,
        }
    }
    Err(worst)
}

/// The error text says how far the call got. Only a server that answered can have refused.
fn not_joined(server: &str, host: &str, error: &CallError) -> Error {
    let what = match error {
        CallError::Connect(cause) => format!("cannot connect to {server}: {cause}"),
        CallError::Tls(_) => format!("{server} did not prove its identity: {error}"),
        CallError::Refused(_) => format!("{server} refused to let this machine join: {error}"),
        _ => format!("{server} gave no usable answer: {error}"),
    };
    Error::new(what).hint(cures::cure(error, host, Stage::Join))
}

/// Calls the server as a login will, with the files that were just written, to show that they work.
fn prove(
    args: &Args,
    location: &Location,
    addresses: &[SocketAddr],
    (ca, credential): (&str, &str),
    out: &mut Report<'_>,
) -> Result<(), Error> {
    let trust = Trust::in_cas(ca.as_bytes()).map_err(Error::new)?;
    let nothing: Option<&()> = None;
    let machine: Machine = any(location, addresses, |target| {
        let client = Client::new(target, &trust, Some(&Authorization::Bearer(credential)), None)?;
        client.call(Method::GET, "/v1/machines/self", nothing, CALL_TIME)
    })
    .map_err(|error| Error::new(format_args!("joined, but the new credential does not work: {error}")))?;
    let pools: Vec<&str> = machine.pools.iter().map(kbmfa_proto::names::PoolName::as_str).collect();
    let deadline = value::duration(&args.deadline).unwrap_or_default();
    out.fact("machine", &machine.name, ("machine", machine.name.as_str().into()))?;
    let pools_text = if pools.is_empty() { "none".into() } else { pools.join(", ") };
    out.fact("pools", pools_text, ("pools", pools.into()))?;
    out.fact("window", format_args!("{}s", machine.window_s), ("window_s", machine.window_s.into()))?;
    out.fact("deadline", &args.deadline, ("deadline_s", deadline.as_secs().into()))?;
    if deadline.as_secs() <= machine.window_s {
        out.warning("the deadline must be longer than the window; choose a longer --deadline")?;
    }
    Ok(())
}

/// While the server has two CAs, the machine trusts both from the beginning.
fn fetch_cas(
    args: &Args,
    location: &Location,
    addresses: &[SocketAddr],
    (dir, ca): (&Path, &str),
    out: &mut Report<'_>,
) -> Result<(), Error> {
    let trust = Trust::in_cas(ca.as_bytes()).map_err(Error::new)?;
    let host_keys = host_keys::served_by(&args.sshd);
    let mut outcome = Ok(Outcome::Nothing);
    for &address in addresses {
        outcome =
            refresh::after_join(&Target { host: location.host.clone(), address }, &trust, (dir, &host_keys));
        if outcome.is_ok() {
            break;
        }
    }
    match outcome? {
        replaced @ Outcome::Replaced(_) => refresh::report(&replaced, &dir.join("ca.pem"), out),
        Outcome::Unchanged(_) | Outcome::Nothing | Outcome::System => Ok(()),
    }
}

fn advise(dir: &Path, out: &mut Report<'_>) -> Result<(), Error> {
    let config = dir.join("pam.toml");
    let argument = if config == Path::new(pam_kbmfa::args::CONFIG) {
        String::new()
    } else {
        format!(" config={}", config.display())
    };
    out.advice(
        "\nnext: add this line to /etc/pam.d/sshd, and keep a root shell open until a login has worked:",
    )?;
    out.advice(format_args!("  account required pam_kbmfa.so{argument}"))?;
    Ok(())
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Error {
    let failed = Error::new(format_args!("cannot {verb} {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => failed.hint("run it as root"),
        _ => failed,
    }
}
