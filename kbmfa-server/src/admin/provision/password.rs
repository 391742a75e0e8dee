//! `provision sudo-password`.

use clap::Args as Arguments;
use kbmfa_proto::names::MachineName;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::PathBuf;
use zeroize::Zeroizing;

use super::super::{Admin, Failure};
use crate::deliveries::service;
use crate::provision::sudo_password;

/// Longest password, in bytes.
const LENGTH_MAX: u64 = 1024;

/// Options.
#[derive(Arguments)]
pub struct Args {
    /// The machine's name.
    machine: MachineName,
    /// The file that holds it, in its first line; without it, standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Forget the password.
    #[arg(long, conflicts_with = "file")]
    forget: bool,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    // The file may be readable for root alone, so it is opened before root is given up.
    let opened: Option<Box<dyn Read>> = match &args.file {
        _ if args.forget => None,
        Some(path) => {
            let file = File::open(path);
            Some(Box::new(
                file.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?,
            ))
        }
        None => Some(Box::new(io::stdin())),
    };
    let (config, db) = admin.open()?;
    let delivery = db.read_blocking(|tx| service::find(tx, &args.machine)).map_err(Failure::new)?;
    let machine = &args.machine;
    let Some(input) = opened else {
        sudo_password::forget(&config.state_dir, &delivery.machine_id).map_err(Failure::new)?;
        return admin
            .tell(&format!("the password for {machine} is forgotten"), &json!({ "machine": machine }));
    };
    let mut line = Zeroizing::new(String::new());
    BufReader::new(input.take(LENGTH_MAX)).read_line(&mut line).map_err(Failure::new)?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    sudo_password::set(&config.state_dir, &delivery.machine_id, &password).map_err(Failure::new)?;
    admin.tell(
        &format!("the password for {machine} is set; it is used from the next pass on"),
        &json!({ "machine": machine }),
    )
}
