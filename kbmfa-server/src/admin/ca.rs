//! `ca ..`: the certificate authority that machines trust, and its replacement in three steps (rotate,
//! switch, retire).

use clap::Subcommand;
use kbmfa_proto::pin::Pin;
use serde::Serialize;
use serde_json::json;

use super::print::{Column, Moment};
use super::{Admin, Failure};
use crate::audit::Actor;
use crate::ca::files::Files;
use crate::ca::service::{self, MachinesBehind};
use crate::ca::{Error, issue};
use crate::config::Config;
use crate::db::Tx;
use crate::http::Certificate;
use crate::usecases::ca as usecase;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Show each certificate authority, and which machines do not trust it yet.
    Show,
    /// Replace the authority: first create another one, which machines fetch with `kbmfa-host refresh`; then,
    /// with --switch, let it sign.
    Rotate {
        /// Let the newer authority sign. Refused while a machine that has joined does not trust it.
        #[arg(long)]
        switch: bool,
        /// Switch even if some machines do not trust the newer authority: those refuse every login.
        #[arg(long, requires = "switch")]
        force: bool,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
    /// Create another authority because the old one is lost. No machine trusts it: each must join again, or
    /// get its certificate by hand. Machines, employees and the audit log are kept.
    New {
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
    /// Drop the old authority after a switch. Its key is destroyed.
    Retire {
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: &Verb) -> Result<(), Failure> {
    match *verb {
        Verb::Show => show(admin),
        Verb::Rotate { switch: false, yes, .. } => rotate(admin, yes),
        Verb::Rotate { switch: true, force, yes } => switch(admin, force, yes),
        Verb::New { yes } => start_over(admin, yes),
        Verb::Retire { yes } => retire(admin, yes),
    }
}

#[derive(Serialize)]
struct AuthorityRow {
    pin: Pin,
    not_before: Moment,
    not_after: Moment,
    signs: bool,
    untrusting: Vec<String>,
}

impl AuthorityRow {
    fn cells(&self, admin: &Admin) -> Vec<String> {
        let list = if self.untrusting.is_empty() { "-".to_owned() } else { self.untrusting.join(" ") };
        let signs = if self.signs { "yes" } else { "no" }.to_owned();
        vec![self.pin.to_string(), admin.time(self.not_before), admin.time(self.not_after), signs, list]
    }
}

const COLUMNS: &[Column] = &[
    Column::short("PIN", 20),
    Column::whole("FROM").rank(2),
    Column::whole("UNTIL"),
    Column::whole("SIGNS"),
    Column::short("NOT TRUSTED BY", 12).rank(1),
];

fn show(admin: &Admin) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let files = ours(&config)?;
    let shown = db.read_blocking(|tx| {
        let of = |known: crate::ca::files::Known| {
            Ok(AuthorityRow {
                pin: known.facts.pin,
                not_before: known.facts.not_before.into(),
                not_after: known.facts.not_after.into(),
                signs: known.signs,
                untrusting: service::untrusting(tx, known.facts.pin)?,
            })
        };
        files.authorities()?.into_iter().map(of).collect::<Result<Vec<_>, Error>>()
    });
    admin.print(&shown.map_err(|error| explain(&error))?, COLUMNS, |shown| shown.cells(admin))
}

fn rotate(admin: &Admin, yes: bool) -> Result<(), Failure> {
    if !yes {
        let years = issue::CA_LIFE.as_secs() / (365 * 86_400);
        return admin.preview(&format!("create a second certificate authority, valid for {years} years"));
    }
    let pin = act(admin, "ca.rotate", usecase::rotate)?;
    let sentence = format!(
        "made       {pin}\nIt does not sign yet. Machines fetch it with kbmfa-host refresh; kbmfa-server ca show lists\n\
         those that have not. Next: kbmfa-server ca rotate --switch --yes"
    );
    admin.tell(&sentence, &json!({ "pin": pin }))
}

fn switch(admin: &Admin, force: bool, yes: bool) -> Result<(), Failure> {
    if !yes {
        return admin.preview("sign with the newer certificate authority from now on");
    }
    let behind = if force { MachinesBehind::Skip } else { MachinesBehind::Wait };
    let pin = act(admin, "ca.switch", move |tx, files, actor| usecase::switch(tx, files, actor, behind))?;
    let sentence = format!(
        "signs      {pin}\nA running server has its new certificate within seconds. Join machines with this pin from\n\
         now on. Remove the old authority with: kbmfa-server ca retire --yes"
    );
    admin.tell(&sentence, &json!({ "pin": pin }))
}

fn retire(admin: &Admin, yes: bool) -> Result<(), Failure> {
    if !yes {
        return admin.preview("drop the old certificate authority and destroy its key");
    }
    let pin = act(admin, "ca.retire", usecase::retire)?;
    admin.tell(&format!("retired    {pin}"), &json!({ "pin": pin }))
}

fn start_over(admin: &Admin, yes: bool) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let (files, actor) = (ours(&config)?, admin.actor.clone());
    if !yes {
        if let Some(pin) = files.signer_in_order().map_err(|error| explain(&error))? {
            return Err(explain(&Error::NotLost(pin)));
        }
        return admin.preview(
            "create a new certificate authority in place of the one that is lost.\nEvery machine refuses \
             all logins \
             until it has joined again, or has the new ca.pem.\nMachines, employees and the audit log stay",
        );
    }
    let made =
        db.even_read_only().write_blocking("ca.new", move |tx| usecase::start_over(tx, &files, &actor));
    let (pin, path) = made.map_err(|error| explain(&error))?;
    let path = path.display().to_string();
    let sentence = format!(
        "made       {pin}\nits file   {path}\nThe server makes its certificate when it starts, or within seconds. Every \
         machine refuses all logins until\n{path} is its /etc/kbmfa/ca.pem, or it has joined again with this pin\n\
         (kbmfa-server machine join-token NAME)"
    );
    admin.tell(&sentence, &json!({ "pin": pin, "file": path }))
}

fn act(
    admin: &Admin,
    name: &'static str,
    work: impl FnOnce(&Tx<'_>, &Files, &Actor) -> Result<Pin, Error> + Send + 'static,
) -> Result<Pin, Failure> {
    let (config, db) = admin.open()?;
    let (files, actor) = (ours(&config)?, admin.actor.clone());
    db.write_blocking(name, move |tx| work(tx, &files, &actor)).map_err(|error| explain(&error))
}

fn ours(config: &Config) -> Result<Files, Failure> {
    match &config.http.certificate {
        Certificate::Ours(files) => Ok(files.clone()),
        Certificate::Own { .. } => Err(Failure::new(
            "tls_cert in server.toml names a certificate of your own, so kbmfa has no authority to manage",
        )),
    }
}

fn explain(error: &Error) -> Failure {
    let failed = Failure::new(error);
    match error {
        Error::NotYetTrusted(_) => failed
            .hint("run `kbmfa-host refresh` there; with --force they are skipped, and refuse every login"),
        Error::RotationInProgress => failed.hint("kbmfa-server ca show"),
        Error::NothingNewer => failed.hint("`kbmfa-server ca rotate --yes` creates one"),
        Error::NothingOlder => failed.hint("run `kbmfa-server ca rotate --switch --yes` first"),
        Error::StillSigned => failed.hint(
            "a running server replaces it within seconds; start the server, \
                                           or wait",
        ),
        _ => failed,
    }
}
