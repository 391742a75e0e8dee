//! `init`: makes everything that a server needs, once.

use clap::Args as ClapArgs;
use kbmfa_proto::pin::Pin;
use nix::unistd::{Uid, User};
use serde_json::json;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use super::{Admin, Failure};
use crate::audit::{Actor, Event, Kind, store};
use crate::ca::files::Files;
use crate::ca::{self, issue};
use crate::clock::{Clock, SystemClock};
use crate::db::{self, Db};

/// `init` and its arguments.
#[derive(ClapArgs)]
pub struct Args {
    /// A DNS name or IP address under which machines reach this server; give it once for each.
    #[arg(long = "name", required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Where everything is kept.
    #[arg(long, default_value = "/var/lib/kbmfa", value_name = "DIR")]
    state_dir: PathBuf,
    /// Where machines connect.
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics answer; a loopback address.
    #[arg(long, default_value = "127.0.0.1:8444", value_name = "ADDRESS")]
    status_listen: SocketAddr,
    /// The Unix account that is to own the state directory and run the server.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
}

/// Makes state directory, CA, certificate, database and configuration; destroys nothing.
///
/// # Errors
/// If something of it exists already or cannot be made.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let config = admin.config_path();
    let state_dir = std::path::absolute(&args.state_dir).map_err(Failure::new)?;
    for existing in [config, &state_dir.join(db::FILE), &state_dir.join("ca")] {
        if existing.exists() {
            return Err(Failure::new(format!("{} exists already", existing.display()))
                .hint("init never replaces anything; choose other places, or move it away yourself"));
        }
    }
    let owner = owner(args.owner.as_deref())?;
    make_dir(&state_dir)?;
    let pin = make_certificates(&state_dir, &args.names).map_err(Failure::new)?.to_string();
    make_database(&state_dir, &admin.actor, &pin)?;
    if let Some(owner) = owner {
        give(&state_dir, &owner)?;
    }
    if let Some(parent) = config.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", parent.display())))?;
    }
    write(config, &toml(args, &state_dir), 0o644)?;

    let (config, state_dir) = (config.display().to_string(), state_dir.display());
    let sentence = format!(
        "configuration  {config}\nstate          {state_dir}\npin            {pin}\n\n\
         Next: kbmfa-server machine add NAME, kbmfa-server machine join-token NAME, and on that machine\n\
         kbmfa-host join --server https://{} --pin {pin} --token-file FILE",
        url(args)
    );
    admin.tell(&sentence, &json!({ "config": config, "state_dir": state_dir.to_string(), "pin": pin }))
}

fn make_certificates(state_dir: &Path, names: &[String]) -> Result<Pin, ca::Error> {
    let (files, now) = (Files::of(state_dir), SystemClock.now());
    let authority = issue::authority(now)?;
    let ends = now + issue::CA_LIFE;
    let certificate = issue::certificate((&authority.pem, &authority.key), ends, names, now)?;
    files.add(1, &authority)?;
    files.sign_with(1)?;
    files.put_certificate(&certificate)?;
    Ok(authority.pin)
}

fn url(args: &Args) -> String {
    let host = args.names.first().map_or("localhost", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{}", args.listen.port())
}

fn owner(name: Option<&str>) -> Result<Option<User>, Failure> {
    let Some(name) = name else { return Ok(None) };
    if !Uid::effective().is_root() {
        return Err(Failure::new("only root can give the state directory to somebody else"));
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(Some(user)),
        _ => Err(Failure::new(format!("there is no Unix account {name:?}"))),
    }
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Failure::new(format!("cannot make {}: {e}", path.display())))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
}

fn make_database(state_dir: &Path, actor: &Actor, pin: &str) -> Result<(), Failure> {
    let db = Db::open_and_migrate(state_dir).map_err(Failure::new)?;
    let event = Event::new(Kind::ServerInitialised, actor.clone()).detail("pin", pin);
    let written = db.write_blocking("init", move |tx| store::append(tx, &event));
    // Its files beside the database are gone before anybody lists the directory.
    db.close();
    written.map(drop).map_err(|error: db::Error| Failure::new(error))
}

fn give(state_dir: &Path, owner: &User) -> Result<(), Failure> {
    let mut todo = vec![state_dir.to_owned()];
    while let Some(path) = todo.pop() {
        chown(&path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
            .map_err(|e| Failure::new(format!("cannot give {} to {}: {e}", path.display(), owner.name)))?;
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(Failure::new)?;
            todo.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
        }
    }
    Ok(())
}

fn toml(args: &Args, state_dir: &Path) -> String {
    let names: Vec<_> = args.names.iter().map(|name| format!("{name:?}")).collect();
    format!(
        "# kbmfa-server's configuration. `kbmfa-server check` reads it; SIGHUP makes the server read it again.\n\n\
         [server]\nlisten = \"{}\"\nstatus_listen = \"{}\"\nstate_dir = \"{}\"\nnames = [{}]\n\n\
         [login]\nwindow = \"60s\"\npoll_grace = \"15s\"\n\n\
         [policy]\napprovers = \"anyone\"\n\n[relay]\nkind = \"console\"\n",
        args.listen,
        args.status_listen,
        state_dir.display(),
        names.join(", ")
    )
}
