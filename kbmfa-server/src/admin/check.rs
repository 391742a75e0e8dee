//! `check`: is the configuration right, do the files that it names fit, and can its policy work? It asks no network.

use nix::unistd::Uid;
use serde_json::json;

use super::{Admin, Failure, open_database, privileges};
use crate::channels::keybase;
use crate::config::Config;
use crate::http::open_files;
use crate::http::tls;

/// Reports everything that is wrong, as the account that the server runs as sees it.
///
/// # Errors
/// What is wrong.
pub fn run(admin: &Admin) -> Result<(), Failure> {
    admin.become_owner()?;
    let path = admin.config_path().display().to_string();
    // Root may have read it a moment ago; the server has to.
    let config = Config::read(admin.config_path())
        .map_err(|error| Failure::new(error).hint(privileges::let_read(admin.config_path())))?;
    if let Some(failure) = files(admin, &config) {
        return Err(failure);
    }
    privileges::check_certificate(&config.http.certificate)?;
    let loaded = tls::load(&config.http).map_err(|error| Failure::new(error).hint(tls::NO_CERTIFICATE))?;
    let faults = open_database(&config)?.read_blocking(|tx| config.policy_faults(tx));
    let faults = faults.map_err(Failure::new)?;
    if !faults.is_empty() {
        let faults: Vec<_> = faults.iter().map(|fault| format!("{path}: {fault}")).collect();
        return Err(
            Failure::new(faults.join("\n")).hint("`kbmfa-server policy explain` tells which rule speaks")
        );
    }
    check_relay(&config)?;
    check_admin(&config, &path)?;
    if let Some(why) = open_files::shortage(config.http.files_needed()) {
        log::warn!("{why}");
    }
    let ends = loaded.dates.server.to_string();
    let sentence = format!("{path}: no fault found; the server's certificate expires on {ends}");
    admin.tell(&sentence, &json!({ "config": path, "faults": [], "certificate_ends": ends }))
}

/// Whether the group of `[admin]` is there, and can be given its socket.
fn check_admin(config: &Config, path: &str) -> Result<(), Failure> {
    let faults: Vec<_> =
        config.admin.faults(Uid::effective()).iter().map(|fault| format!("{path}: {fault}")).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::new(faults.join("\n")).hint("until then only root sees and answers logins here"))
}

/// What the relay needs that can be seen without asking Keybase.
fn check_relay(config: &Config) -> Result<(), Failure> {
    let Some(settings) = &config.chat else { return Ok(()) };
    let faults = keybase::check_files(settings);
    if faults.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = faults.iter().map(|(what, fault)| format!("{what}: {}", fault.found)).collect();
    let fixes = faults.into_iter().filter_map(|(_, fault)| fault.fix);
    Err(fixes.fold(Failure::new(found.join("\n")), Failure::hint))
}

/// Files that others could touch: with them `serve` refuses to start.
fn files(admin: &Admin, config: &Config) -> Option<Failure> {
    let faults = config.file_faults(admin.config_path());
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let failure = (!faults.is_empty()).then(|| Failure::new(told.join("\n")))?;
    Some(faults.into_iter().fold(failure, |failure, fault| failure.hint(fault.fix)))
}
