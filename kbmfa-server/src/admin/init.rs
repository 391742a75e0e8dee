//! `init`: makes everything that a server needs, once.

use clap::Args as ClapArgs;
use nix::unistd::{Uid, User};
use serde_json::json;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::{Admin, Failure};
use crate::audit::{Actor, Event, Kind, store};
use crate::ca::files::Files;
use crate::ca::issue::Authority;
use crate::ca::{self, issue};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::db::{self, Db};
use crate::secret::Secret;

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
    let files = Files::of(&state_dir);
    for existing in [config, &state_dir.join(db::FILE), &files.ca_dir(), &files.certificate()] {
        if existing.exists() {
            return Err(Failure::new(format!("{} exists already", existing.display()))
                .hint("init never replaces anything; choose other places, or move it away yourself"));
        }
    }
    let owner = owner(args.owner.as_deref())?;
    let settings = toml(args, &state_dir);
    Config::parse(config, &settings).map_err(|faults| Failure::new(faults).hint("choose other arguments"))?;
    if let Some(parent) = config.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", parent.display())))?;
    }
    let issued = Issued::new(&args.names).map_err(Failure::new)?;
    let mut made = Made::default();
    fill(&state_dir, &issued, &admin.actor, owner.as_ref(), &mut made)?;
    made.file(config, &settings, 0o644)?;
    made.keep();
    let (config, state_dir, pin) =
        (config.display().to_string(), state_dir.display(), issued.authority.pin.to_string());
    let sentence = format!(
        "configuration  {config}\nstate          {state_dir}\npin            {pin}\n\n\
         Next: kbmfa-server machine add NAME, kbmfa-server machine join-token NAME, and on that machine\n\
         kbmfa-host join --server https://{} --pin {pin} --token-file FILE",
        url(args)
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

/// Makes everything that lies in the state directory.
fn fill(
    state_dir: &Path,
    issued: &Issued,
    actor: &Actor,
    owner: Option<&User>,
    made: &mut Made,
) -> Result<(), Failure> {
    for dir in [state_dir.to_owned(), state_dir.join("ca"), state_dir.join("tls")] {
        made.dir(&dir)?;
    }
    made.certificates(&Files::of(state_dir), issued).map_err(Failure::new)?;
    made.database(state_dir, actor, &issued.authority.pin.to_string())?;
    owner.map_or(Ok(()), |owner| made.give(owner))
}

/// What has been made, and is removed again unless all of it could be: half of it would be in the way of
/// the next try.
#[derive(Default)]
struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    /// A directory of our own, closed to others even if it was there.
    fn dir(&mut self, path: &Path) -> Result<(), Failure> {
        let is_new = !path.exists();
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

    fn database(&mut self, state_dir: &Path, actor: &Actor, pin: &str) -> Result<(), Failure> {
        let path = state_dir.join(db::FILE);
        // Made by us, so that it has our mode; what SQLite makes beside it takes after it.
        self.file(&path, "", 0o600)?;
        let beside = ["-wal", "-shm"].map(|suffix| state_dir.join(format!("{}{suffix}", db::FILE)));
        self.paths.extend(beside);
        let db = Db::open_and_migrate(state_dir).map_err(Failure::new)?;
        let event = Event::new(Kind::ServerInitialised, actor.clone()).detail("pin", pin);
        let written = db.write_blocking("init", move |tx| store::append(tx, &event));
        // Its files beside the database are gone before anything is handed over.
        db.close();
        written.map(drop).map_err(|error: db::Error| Failure::new(error))
    }

    /// Hands over just what was made, and follows no link.
    fn give(&self, owner: &User) -> Result<(), Failure> {
        for path in self.paths.iter().filter(|path| path.exists()) {
            lchown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).map_err(|e| {
                Failure::new(format!("cannot give {} to {}: {e}", path.display(), owner.name))
            })?;
        }
        Ok(())
    }

    fn keep(mut self) {
        self.paths.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // What cannot be removed is named by the next `init`.
            let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
            let _ = if is_dir { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
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
