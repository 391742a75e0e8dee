//! `keybase double`: runs the cloud, or gives it an order.

use clap::{Parser, Subcommand};
use serde_json::Value;
use std::io;
use std::process::ExitCode;

use super::environment::cloud_socket;
use super::failure::{Failure, Result, print, say};
use crate::cloud;
use crate::control::client::Cloud;
use crate::control::order::Order;

/// Models Keybase's servers, for tests
#[derive(Parser)]
#[command(name = "keybase")]
struct Arguments {
    #[command(subcommand)]
    command: Top,
}

#[derive(Subcommand)]
enum Top {
    /// Models Keybase's servers, for tests
    Double {
        #[command(subcommand)]
        verb: Verb,
    },
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the cloud until stdin is closed
    Cloud,
    #[command(flatten)]
    Order(Order),
}

/// Executes the command line. Its errors are plain texts, not the real client's.
pub(crate) fn run() -> ExitCode {
    let Top::Double { verb } = Arguments::parse().command;
    match obey(verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("double: error: {}", failure.text()));
            ExitCode::FAILURE
        }
    }
}

fn obey(verb: Verb) -> Result<()> {
    let socket = cloud_socket();
    match verb {
        Verb::Cloud => Ok(cloud::run(&socket, &mut io::stdout())?),
        Verb::Order(order) => {
            let reply = Cloud::at(&socket).order(order).map_err(|error| Failure::new(error.to_string()))?;
            print(&readable(&reply))
        }
    }
}

/// The reply for people: a text as it is, a list of texts as lines, and everything else as JSON.
fn readable(reply: &Value) -> String {
    match reply {
        Value::Null => String::new(),
        Value::String(text) => text.trim_end_matches('\n').to_owned() + "\n",
        Value::Array(items) => items.iter().map(readable).collect(),
        other => format!("{other}\n"),
    }
}
