//! `check`: validates the configuration, the files that it names and its policy. Uses no network.

use nix::unistd::Uid;
use serde_json::json;

use super::{Admin, Failure, open_database, privileges};
use crate::channels::keybase;
use crate::config::Config;
use crate::http::open_files;
use crate::http::tls;

/// Reports everything that is wrong, with the rights of the account that the server runs as.
pub fn run(admin: &Admin) -> Result<(), Failure> {
    admin.become_owner()?;
    let path = admin.config_path().display().to_string();
    // Read again, because so far root may have read it, and the server has other rights.
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
            Failure::new(faults.join("\n")).hint("`kbmfa-server policy explain` shows which rule applies")
        );
    }
    check_relay(&config)?;
    check_admin(&config, &path)?;
    let warnings = warnings(&config, privileges::has_login());
    for warning in &warnings {
        log::warn!("{warning}");
    }
    let ends = loaded.dates.server.to_string();
    let sentence = format!("{path}: no fault found; the server's certificate expires on {ends}");
    admin.tell(
        &sentence,
        &json!({ "config": path, "faults": [], "warnings": warnings, "certificate_ends": ends }),
    )
}

/// Problems that people should know but that do not keep the server from starting.
fn warnings(config: &Config, has_login: bool) -> Vec<String> {
    let files = open_files::shortage(config.http.files_needed());
    let nobody = config.tells_console_approvers_apart() && !has_login;
    let login_uid = nobody.then(|| format!("{}; {}", privileges::NO_LOGIN_UID, privileges::GET_A_LOGIN_UID));
    files.into_iter().chain(login_uid).collect()
}

/// Checks that the group of `[admin]` exists, and that the server can give the socket to it.
fn check_admin(config: &Config, path: &str) -> Result<(), Failure> {
    let faults: Vec<_> =
        config.admin.faults(Uid::effective()).iter().map(|fault| format!("{path}: {fault}")).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::new(faults.join("\n")).hint("until then only root can list and answer logins here"))
}

/// Checks what Keybase needs, as far as that is possible without asking Keybase.
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

/// The failure about files that others could read or change: `serve` refuses to start with them.
fn files(admin: &Admin, config: &Config) -> Option<Failure> {
    let faults = config.file_faults(admin.config_path());
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let failure = (!faults.is_empty()).then(|| Failure::new(told.join("\n")))?;
    Some(faults.into_iter().fold(failure, |failure, fault| failure.hint(fault.fix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_session_without_a_login_uid_is_reported_if_rules_distinguish_approvers_at_the_console() {
        let told = |policy: &str, has_login| {
            let config = Config::parse(Path::new("server.toml"), &format!("[policy]\n{policy}\n")).unwrap();
            warnings(&config, has_login).iter().any(|warning| warning.contains("no login uid is set"))
        };
        let named =
            "approvers = \"anyone\"\n[[policy.rule]]\npools = [\"web\"]\napprovers = [\"console:root\"]";
        for policy in ["approvers = \"not-self\"", "approvers = [\"console:root\"]", named] {
            assert!(told(policy, false), "{policy}");
            assert!(!told(policy, true), "{policy}");
        }
        assert!(!told("approvers = \"anyone\"", false));
    }
}
