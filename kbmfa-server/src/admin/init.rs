//! `init`: creates everything that a server needs, once. `serve` does the same from the old tool's variables.

pub(super) mod draft;

use clap::Args as ClapArgs;
use nix::unistd::{Gid, Uid, User};
use serde_json::json;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Admin, Failure, privileges};
use crate::audit::Actor;
use crate::ca::files::Files;
use crate::ca::issue::Authority;
use crate::ca::{self, issue};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::db::{self, Db};
use crate::provision::{admin_key, key_file, roster_key};
use crate::secret::Secret;
use crate::usecases;
use draft::Draft;

/// Default state directory.
pub(super) const STATE_DIR: &str = "/var/lib/kbmfa";
/// Address and port for machines.
pub(super) const LISTEN: &str = "0.0.0.0:8443";
/// Loopback address for the operator's own tools.
pub(super) const STATUS_LISTEN: &str = "127.0.0.1:8444";

/// `init` and its arguments.
#[derive(ClapArgs)]
pub struct Args {
    /// A DNS name or IP address at which machines reach this server; repeat it for each.
    #[arg(long = "name", required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Directory for the database, keys and certificates.
    #[arg(long, default_value = STATE_DIR, value_name = "DIR")]
    state_dir: PathBuf,
    /// Address and port for machines.
    #[arg(long, default_value = LISTEN, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Loopback address and port for /healthz, /readyz and /metrics.
    #[arg(long, default_value = STATUS_LISTEN, value_name = "ADDRESS")]
    status_listen: SocketAddr,
    /// Unix account that will own the state directory and run the server.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
}

/// Makes state directory, CA, certificate, database and configuration; destroys nothing.
///
/// # Errors
/// If something of it exists already or cannot be made.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let state_dir = std::path::absolute(&args.state_dir).map_err(Failure::new)?;
    let mut draft = Draft::new();
    draft.set(("server", "listen"), args.listen.to_string());
    draft.set(("server", "status_listen"), args.status_listen.to_string());
    draft.set(("server", "state_dir"), state_dir.display().to_string());
    draft.set(("server", "names"), args.names.clone());
    draft.set(("relay", "kind"), "console");
    let owner = owner_named(args.owner.as_deref())?;
    make(admin, &Plan { draft, secrets: Vec::new(), owner })
}

/// What `init` creates.
pub(super) struct Plan {
    /// The configuration.
    pub(super) draft: Draft,
    /// Secrets that are written to files in the state directory.
    pub(super) secrets: Vec<(PathBuf, Secret)>,
    /// The new owner of the state directory. By default its current owner, or the account that runs this.
    pub(super) owner: Option<Owner>,
}

/// Creates everything, and prints it.
///
/// # Errors
/// If something of it exists already or cannot be made; then nothing is left behind.
pub(super) fn make(admin: &Admin, plan: &Plan) -> Result<(), Failure> {
    let config = admin.config_path();
    let settings = must_be_valid(config, &plan.draft)?;
    must_be_new(config, &settings.state_dir, &plan.secrets)?;
    if let Some(parent) = config.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", parent.display())))?;
    }
    let issued = Issued::new(&settings.http.names).map_err(Failure::new)?;
    let mut by_us = Made::default();
    let owner = state_dir(&settings.state_dir, plan.owner, &mut by_us)?;
    // The directory is filled with the rights of its owner. After a failure everything is removed with the
    // same rights.
    let mut by_owner = acting(owner, || {
        let mut made = Made::default();
        fill(&settings.state_dir, &plan.secrets, &issued, &admin.actor, &mut made)?;
        Ok(made)
    })?;
    if let Err(failed) = by_us.file(config, &plan.draft.toml(), 0o644) {
        return acting(owner, move || {
            drop(by_owner);
            Err(failed)
        });
    }
    by_owner.keep();
    by_us.keep();
    tell(admin, &settings, &issued.authority.pin.to_string())
}

/// Does the work as the account that will own the files.
fn acting<T>(owner: Option<Owner>, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    match owner {
        Some(Owner { uid, gid }) => privileges::as_owner((uid, gid), work),
        None => work(),
    }
}

/// Creates the state directory, or uses an existing one, and gives it to its new owner. Returns the owner, if
/// it is not the account that runs this.
fn state_dir(path: &Path, wanted: Option<Owner>, made: &mut Made) -> Result<Option<Owner>, Failure> {
    let cannot =
        |what: &str, error: io::Error| Failure::new(format!("cannot {what} {}: {error}", path.display()));
    if !path.exists() {
        made.dir(path)?;
    }
    // Checks and owner changes use its descriptor, because the name may lead elsewhere a moment later.
    let dir = File::open(path).map_err(|error| cannot("open", error))?;
    let found = dir.metadata().map_err(|error| cannot("look at", error))?;
    let (present, own) = (Uid::from_raw(found.uid()), Uid::effective());
    let found = Owner { uid: present, gid: Gid::from_raw(found.gid()) };
    let Some(wanted) = wanted.filter(|_| own.is_root()) else {
        return Ok((own.is_root() && !present.is_root()).then_some(found));
    };
    if present != wanted.uid {
        if present != own {
            let whose = format!("{} belongs to uid {present}", path.display());
            return Err(Failure::new(whose).hint("choose another --state-dir, or that account as --owner"));
        }
        std::os::unix::fs::fchown(&dir, Some(wanted.uid.as_raw()), Some(wanted.gid.as_raw()))
            .map_err(|error| cannot("give away", error))?;
    }
    Ok((!wanted.uid.is_root()).then_some(wanted))
}

fn must_be_new(config: &Path, state_dir: &Path, secrets: &[(PathBuf, Secret)]) -> Result<(), Failure> {
    let files = Files::of(state_dir);
    let made = [config.to_owned(), state_dir.join(db::FILE), files.ca_dir(), files.certificate()];
    let secrets = secrets.iter().map(|(path, _)| path);
    match made.iter().chain(secrets).find(|path| path.exists()) {
        None => Ok(()),
        Some(existing) => Err(Failure::new(format!("{} exists already", existing.display()))
            .hint("init never replaces anything; choose other paths, or move the file away")),
    }
}

fn must_be_valid(config: &Path, draft: &Draft) -> Result<Config, Failure> {
    // Reading the configuration reads the token's file, which may not exist yet. So it is left out here.
    let mut draft = draft.clone();
    draft.remove_auth_token();
    Config::parse(config, &draft.toml())
        .map_err(|faults| Failure::new(faults).hint("nothing was created; choose other values"))
}

fn tell(admin: &Admin, settings: &Config, pin: &str) -> Result<(), Failure> {
    let (config, state_dir) = (admin.config_path().display().to_string(), settings.state_dir.display());
    let sentence = format!(
        "configuration  {config}\nstate          {state_dir}\npin            {pin}\n\n\
         Next: kbmfa-server machine add NAME, kbmfa-server machine join-token NAME, and on that machine\n\
         kbmfa-host join --server https://{} --pin {pin} --token-file FILE",
        settings.http.authority()
    );
    admin.tell(&sentence, &json!({ "config": config, "state_dir": state_dir.to_string(), "pin": pin }))
}

/// The first authority and the first certificate.
struct Issued {
    authority: Authority,
    certificate: Secret,
}

impl Issued {
    fn new(names: &[String]) -> Result<Self, ca::Error> {
        let now = SystemClock.now();
        let authority = issue::authority(now)?;
        let ends = now + issue::CA_LIFE;
        let certificate = issue::certificate((&authority.pem, &authority.key), ends, names, now)?;
        Ok(Self { authority, certificate })
    }
}

/// Creates everything in the state directory.
fn fill(
    state_dir: &Path,
    secrets: &[(PathBuf, Secret)],
    issued: &Issued,
    actor: &Actor,
    made: &mut Made,
) -> Result<(), Failure> {
    // The path may be a link to a directory on a larger disk.
    fs::set_permissions(state_dir, Permissions::from_mode(0o700))
        .map_err(|e| Failure::new(format!("cannot restrict the mode of {}: {e}", state_dir.display())))?;
    for dir in ["ca", "tls"] {
        made.dir(&state_dir.join(dir))?;
    }
    for (path, secret) in secrets {
        made.file(path, secret.reveal(), 0o600)?;
    }
    made.certificates(&Files::of(state_dir), issued).map_err(Failure::new)?;
    made.keys(state_dir).map_err(Failure::new)?;
    made.database(state_dir, actor, &issued.authority.pin.to_string())
}

/// Created files. If not everything succeeds they are removed again, because they would block the next
/// attempt.
#[derive(Default)]
struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    /// Creates a directory that others cannot enter, or makes an existing one so.
    fn dir(&mut self, path: &Path) -> Result<(), Failure> {
        let there = fs::symlink_metadata(path);
        if there.as_ref().is_ok_and(fs::Metadata::is_symlink) {
            return Err(Failure::new(format!("{} is a symbolic link", path.display())).hint("remove it"));
        }
        let is_new = there.is_err();
        let done = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)));
        done.map_err(|e| Failure::new(format!("cannot make {}: {e}", path.display())))?;
        if is_new {
            self.paths.push(path.to_owned());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = opened.map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
        self.paths.push(path.to_owned());
        let written = file.write_all(text.as_bytes()).and_then(|()| {
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()
        });
        written.map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
    }

    fn certificates(&mut self, files: &Files, issued: &Issued) -> Result<(), ca::Error> {
        self.paths.extend(files.first());
        files.add(1, &issued.authority)?;
        files.sign_with(1)?;
        files.put_certificate(&issued.certificate)
    }

    /// The keys by which the server gets into machines and signs its orders. Those of an earlier server are kept.
    fn keys(&mut self, state_dir: &Path) -> Result<(), key_file::Error> {
        let new = [admin_key::path(state_dir), roster_key::path(state_dir)].into_iter();
        self.paths.extend(new.filter(|path| fs::symlink_metadata(path).is_err()));
        admin_key::make(state_dir)?;
        roster_key::make(state_dir)
    }

    fn database(&mut self, state_dir: &Path, actor: &Actor, pin: &str) -> Result<(), Failure> {
        let path = state_dir.join(db::FILE);
        // Created here, so that it has this mode; SQLite gives the same mode to the files beside it.
        self.file(&path, "", 0o600)?;
        let beside = ["-wal", "-shm"].map(|suffix| state_dir.join(format!("{}{suffix}", db::FILE)));
        self.paths.extend(beside);
        let db = Db::open_and_migrate(state_dir).map_err(Failure::new)?;
        let (actor, pin) = (actor.clone(), pin.to_owned());
        let written = db.write_blocking("init", move |tx| usecases::server::initialised(tx, &actor, &pin));
        // Closing removes SQLite's files beside the database, so that only the database gets its owner.
        db.close();
        written.map_err(|error: db::Error| Failure::new(error))
    }

    fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // What cannot be removed here is named by the next `init`.
            let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
            let _ = if is_dir { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// The account that will own the state directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

fn owner_named(name: Option<&str>) -> Result<Option<Owner>, Failure> {
    let Some(name) = name else { return Ok(None) };
    if !Uid::effective().is_root() {
        return Err(Failure::new("only root can give the state directory to another account"));
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(Some(Owner { uid: user.uid, gid: user.gid })),
        _ => Err(Failure::new(format!("there is no Unix account {name:?}"))),
    }
}
