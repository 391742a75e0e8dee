//! `check`: is the configuration right, do the files that it names fit, and can its policy work?

use serde_json::json;

use super::{Admin, Failure};
use crate::db::Db;
use crate::http::tls;

/// Reports everything that is wrong.
///
/// # Errors
/// What is wrong.
pub fn run(admin: &Admin) -> Result<(), Failure> {
    let config = admin.become_owner()?;
    let loaded = tls::load(&config.http)
        .map_err(|error| Failure::new(error).hint("`kbmfa-server init` makes a certificate"))?;
    let path = admin.config_path().display().to_string();
    let db = Db::open(&config.state_dir).map_err(Failure::new)?;
    let faults = db.read_blocking(|tx| config.policy_faults(tx)).map_err(Failure::new)?;
    if !faults.is_empty() {
        let faults: Vec<_> = faults.iter().map(|fault| format!("{path}: {fault}")).collect();
        return Err(
            Failure::new(faults.join("\n")).hint("`kbmfa-server policy explain` tells which rule speaks")
        );
    }
    let ends = loaded.dates.server.to_string();
    let sentence = format!("{path}: no fault found; the server's certificate ends on {ends}");
    admin.tell(&sentence, &json!({ "config": path, "faults": [], "certificate_ends": ends }))
}
