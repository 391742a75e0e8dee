//! `check`: is the configuration right, and do the files that it names fit?

use serde_json::json;

use super::{Admin, Failure};
use crate::config::Config;
use crate::http::tls;

/// Reports everything that is wrong.
///
/// # Errors
/// What is wrong.
pub fn run(admin: &Admin) -> Result<(), Failure> {
    let config = Config::read(admin.config_path()).map_err(Failure::new)?;
    let loaded = tls::load(&config.http)
        .map_err(|error| Failure::new(error).hint("`kbmfa-server init` makes a certificate"))?;
    let path = admin.config_path().display().to_string();
    let ends = loaded.dates.server.to_string();
    let sentence = format!("{path}: no fault found; the server's certificate ends on {ends}");
    admin.tell(&sentence, &json!({ "config": path, "faults": [], "certificate_ends": ends }))
}
