//! `/v1/machines`: join, read the own name, and fetch and report the CAs to trust.

use kbmfa_proto::machine::{Authorities, Join, Machine, Trust};
use kbmfa_proto::names::{MachineName, PoolName};
use std::time::Duration;
use tokio::sync::watch;
use warp::hyper::body::Bytes;
use warp::reply::Response;

use super::caller::{self, Peer};
use super::rejected_callers::{RejectedCallers, What};
use super::reply::{self, Failure};
use super::{Certificate, Settings};
use crate::clock::Time;
use crate::db::{Db, Tx};
use crate::logins::{Error, Logins};
use crate::machines::caller::Credential;
use crate::machines::{self, service};
use crate::pools::store::of_machine;
use crate::secret::SecretHash;
use crate::usecases::machines as usecase;

pub(super) async fn this_machine(who: Option<Credential>, (db, logins): (Db, Logins)) -> Response {
    let result = async {
        let times = Times::of(&logins);
        let hash = match who.ok_or(Error::Unauthorized)? {
            Credential::Own(hash) => hash,
            Credential::Token(claim) if logins.rules().accepts(&claim) => {
                let told = db.read(move |tx| Ok::<_, Error>(times.told_to(claim.name, Vec::new(), tx.now)));
                return Ok(told.await?);
            }
            Credential::Token(_) => return Err(Error::Unauthorized.into()),
        };
        let found = db.write("machine.self", move |tx| {
            let (name, pools) = usecase::identify(tx, &hash)?.ok_or(Error::Unauthorized)?;
            Ok::<_, Error>(times.told_to(name, pools, tx.now))
        });
        Ok::<_, Failure>(found.await?)
    };
    reply::from(result.await)
}

pub(super) async fn trust(
    who: Option<Credential>,
    (db, logins, settings): (Db, Logins, watch::Receiver<Settings>),
    body: Bytes,
) -> Response {
    let result = async {
        let (who, told): (_, Trust) = (caller::own(who)?, reply::json(&body)?);
        if told.pins.len() > kbmfa_proto::machine::PINS_MAX {
            return Err(Failure::from(Error::Bad("these are too many pins")));
        }
        let rules = logins.rules();
        let noted = db.write("machine.trust", move |tx| {
            usecase::report_trust(tx, &rules, &who, (told.host.as_ref(), &told.pins))
        });
        if !noted.await? {
            return Err(Error::Unauthorized.into());
        }
        authorities(&settings.borrow().certificate)
    };
    reply::from(result.await)
}

/// What machines are to trust; nothing, if the certificate is none of ours.
fn authorities(certificate: &Certificate) -> Result<Authorities, Failure> {
    let cas = match certificate {
        Certificate::Ours(files) => files.authorities()?.into_iter().map(|known| known.pem).collect(),
        Certificate::Own { .. } => Vec::new(),
    };
    Ok(Authorities { cas })
}

pub(super) async fn join(
    peer: Option<Peer>,
    (db, logins): (Db, Logins),
    strangers: RejectedCallers,
    body: Bytes,
) -> Response {
    let result = async {
        let asked: Join = reply::json(&body)?;
        let hash = SecretHash::from_hex(&asked.credential_sha256);
        let hash = hash.ok_or(Error::Bad("credential_sha256 is 64 lower-case hexadecimal digits"))?;
        let times = Times::of(&logins);
        let token = SecretHash::of(&asked.token);
        // RejectedCallers' guesses are read and not written, so that no number of them holds up a login.
        let joined = match db.read(move |tx| service::is_join_token(tx, &token)).await {
            Ok(true) => db.write("machine.join", move |tx| do_join(tx, &asked, &hash, times)).await,
            Ok(false) => Err(machines::Error::TokenRefused.into()),
            Err(error) => Err(error.into()),
        };
        if let (Err(Error::Machine(machines::Error::TokenRefused)), Some(Peer(address))) = (&joined, peer) {
            strangers.turned_away(What::JoinToken, address);
        }
        Ok::<_, Failure>(joined?)
    };
    reply::from(result.await)
}

/// What a machine's own deadline has to be measured against.
#[derive(Clone, Copy)]
struct Times {
    window: Duration,
    poll_grace: Duration,
}

impl Times {
    fn of(logins: &Logins) -> Self {
        let rules = logins.rules();
        Self { window: rules.policy.longest_window(), poll_grace: rules.grace.length }
    }

    fn told_to(self, name: MachineName, pools: Vec<PoolName>, now: Time) -> Machine {
        let (window_s, poll_grace_s) = (self.window.as_secs(), self.poll_grace.as_secs());
        Machine { name, pools, server_time_us: now.micros(), window_s, poll_grace_s }
    }
}

fn do_join(tx: &Tx<'_>, asked: &Join, hash: &SecretHash, times: Times) -> Result<Machine, Error> {
    let token = SecretHash::of(&asked.token);
    let machine = usecase::join(tx, &token, hash, asked.module_version.as_str())?;
    let pools = of_machine(tx, &machine.id)?;
    Ok(times.told_to(machine.name, pools, tx.now))
}
