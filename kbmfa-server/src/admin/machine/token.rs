//! `machine join-token`: makes the join token of one machine or of many.

use clap::{ArgGroup, Args as ClapArgs};
use kbmfa_proto::names::{MachineName, PoolName};
use serde::Serialize;
use std::time::Duration;

use super::super::print::{self, Moment};
use super::super::{Admin, Failure, time_arg};
use crate::clock::Time;
use crate::db::Tx;
use crate::machines::store;
use crate::pools;
use crate::secret::Secret;
use crate::usecases::machines::{JOIN_TOKEN_LIFE, JOIN_TOKEN_LIFE_MAX, make_join_token};

/// Shortest validity of a token, because somebody has to copy it to the machine.
const LIFE_MIN: Duration = Duration::from_secs(60);

/// The machines, and the validity.
#[derive(ClapArgs)]
#[command(group = ArgGroup::new("which").required(true), after_help = "Copy each token to its machine in a file, not on a command line:
  (umask 077; kbmfa-server machine join-token web1 > web1.token)
  (umask 077; kbmfa-server machine join-token --pool web --expires 24h > tokens.tsv)
For several machines, each line has name, tab and token.")]
pub struct Args {
    /// The machines' names.
    #[arg(group = "which")]
    names: Vec<MachineName>,
    /// Every machine of this pool that has never joined.
    #[arg(long, group = "which")]
    pool: Option<PoolName>,
    /// Every machine that has never joined.
    #[arg(long, group = "which")]
    never_joined: bool,
    /// How long the tokens are valid, such as 24h; at most 7d.
    #[arg(long, value_name = "LENGTH", default_value = "1h", value_parser = life)]
    expires: Duration,
}

impl Args {
    /// The arguments for one machine with the default validity.
    pub(super) fn of(name: MachineName) -> Self {
        Self { names: vec![name], pool: None, never_joined: false, expires: JOIN_TOKEN_LIFE }
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = time_arg::length(text).ok_or("write a length of time such as 24h or 7d")?;
    let is_fit = life >= LIFE_MIN && life <= JOIN_TOKEN_LIFE_MAX;
    is_fit.then_some(life).ok_or_else(|| "a token can be valid for 1m to 7d".into())
}

/// A token as it is printed.
#[derive(Serialize)]
struct Made {
    machine: MachineName,
    token: String,
    expires: Moment,
}

pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let (names, pool, life) = (args.names.clone(), args.pool.clone(), args.expires);
    let made = admin.change("machine.join-token", move |tx, _, actor| {
        let names = if names.is_empty() { never_joined(tx, pool.as_ref())? } else { names };
        let make = |name: MachineName| {
            let token = make_join_token(tx, actor, &name, life)?;
            Ok((name, token, tx.now + life))
        };
        names.into_iter().map(make).collect::<Result<Vec<(MachineName, Secret, Time)>, pools::Error>>()
    })?;
    let made: Vec<Made> = made
        .into_iter()
        .map(|(machine, token, expires)| Made {
            machine,
            token: token.reveal().to_owned(),
            expires: expires.into(),
        })
        .collect();
    match made.as_slice() {
        [] => Err(Failure::new("there is no machine that has never joined")),
        [one] if args.names.len() == 1 => admin.tell(&one.token, one),
        many if admin.json => print::print_json(&many),
        [first, ..] => {
            made.iter().try_for_each(|one| print::say(&format!("{}\t{}", one.machine, one.token)))?;
            let end = admin.time(first.expires);
            print::note(&format!(
                "{} tokens, each for one machine and one use, valid until {end}",
                made.len()
            ));
            Ok(())
        }
    }
}

/// Machines that have never had a credential, of one pool or of all.
fn never_joined(tx: &Tx<'_>, pool: Option<&PoolName>) -> Result<Vec<MachineName>, pools::Error> {
    let of_pool = pool.map(|pool| pools::service::find(tx, pool)).transpose()?.map(|pool| pool.machines);
    let is_wanted = |name: &MachineName| of_pool.as_ref().is_none_or(|machines| machines.contains(name));
    let machines = store::machines(tx)?.into_iter();
    let waiting = machines.filter(|machine| !machine.has_joined() && !machine.name.is_claimed());
    Ok(waiting.map(|machine| machine.name).filter(is_wanted).collect())
}
