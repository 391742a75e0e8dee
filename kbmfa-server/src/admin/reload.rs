//! `reload`: has the running server read its configuration and certificate again, and waits for the outcome.

use clap::Args as ClapArgs;
use serde_json::json;

use super::{Admin, Failure};
use crate::admin_socket::client;

/// Which server.
#[derive(ClapArgs)]
pub struct Args {
    /// The server's process id; by default the server that runs on this configuration's `state_dir`.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// Checks the configuration, then has the server take it.
///
/// # Errors
/// What is wrong with it, or why the server did not take it. The old one then stays in force.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let config = admin.become_owner()?;
    let note = client::reload(args.pid, &config.state_dir).map_err(|why| {
        Failure::new(why).hint("nothing was reloaded: the old configuration stays in force")
    })?;
    let sentence = note.as_ref().map_or_else(
        || "the configuration and the certificate were read again".to_owned(),
        |note| format!("the configuration and the certificate were read again; {note}"),
    );
    admin.tell(&sentence, &json!({ "reloaded": true, "note": note }))
}
