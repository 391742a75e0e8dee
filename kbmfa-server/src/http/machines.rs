//! `/v1/machines`: join, read the own name, and report and fetch the CAs to trust.

use kbmfa_proto::machine::{Authorities, HOST_KEYS_MAX, Join, Machine, PINS_MAX, Trust};
use kbmfa_proto::names::{MachineName, PoolName};
use std::time::Duration;

use super::Certificate;
use super::call::{Api, Call};
use super::caller::Peer;
use super::rejected_callers::What;
use super::reply::{self, Failure};
use crate::clock::Time;
use crate::db::Tx;
use crate::logins::Error;
use crate::long_poll::Logins;
use crate::machines::caller::Credential;
use crate::machines::host_keys::HostKey;
use crate::machines::{self, service};
use crate::pools::store::of_machine;
use crate::secret::SecretHash;
use crate::usecases::machines as usecase;

pub(super) async fn this_machine(api: Api, who: Credential, _: Call) -> Result<Machine, Failure> {
    let times = Times::of(&api.logins);
    let hash = match who {
        Credential::Own(hash) => hash,
        Credential::Token(claim) if api.logins.rules().accepts(&claim) => {
            let told = api.db.read(move |tx| Ok::<_, Error>(times.told_to(claim.name, Vec::new(), tx.now)));
            return Ok(told.await?);
        }
        Credential::Token(_) => return Err(Error::Unauthorized.into()),
    };
    let found = api.db.write("machine.self", move |tx| {
        let (name, pools) = usecase::identify(tx, &hash)?.ok_or(Error::Unauthorized)?;
        Ok::<_, Error>(times.told_to(name, pools, tx.now))
    });
    Ok(found.await?)
}

pub(super) async fn trust(api: Api, who: SecretHash, call: Call) -> Result<Authorities, Failure> {
    let Trust { pins, host, host_keys }: Trust = reply::json(&call.body)?;
    if pins.len() > PINS_MAX || host_keys.len() > HOST_KEYS_MAX {
        return Err(Error::Bad("too many pins or host keys").into());
    }
    // Keys of another kind are ignored: the machine has to get its list of CAs.
    let host_keys = host_keys.iter().filter_map(|line| HostKey::read(line)).collect();
    let (rules, told) = (api.logins.rules(), usecase::Told { host, pins, host_keys });
    let noted = api.db.write("machine.trust", move |tx| usecase::report_trust(tx, &rules, &who, told));
    if !noted.await? {
        return Err(Error::Unauthorized.into());
    }
    authorities(&api.settings.borrow().certificate)
}

/// The CAs that machines should trust. Empty if the operator uses a certificate of their own.
fn authorities(certificate: &Certificate) -> Result<Authorities, Failure> {
    let cas = match certificate {
        Certificate::Ours(files) => files.authorities()?.into_iter().map(|known| known.pem).collect(),
        Certificate::Own { .. } => Vec::new(),
    };
    Ok(Authorities { cas })
}

pub(super) async fn join(api: Api, (): (), call: Call) -> Result<Machine, Failure> {
    let asked: Join = reply::json(&call.body)?;
    let hash = SecretHash::from_hex(&asked.credential_sha256);
    let hash = hash.ok_or(Error::Bad("credential_sha256 is 64 lower-case hexadecimal digits"))?;
    if api.logins.rules().is_auth_token(&hash) {
        return Err(
            Error::Bad("that is the AUTH_TOKEN, which other hosts have, too; make a new credential").into()
        );
    }
    let times = Times::of(&api.logins);
    let token = SecretHash::of(&asked.token);
    // A wrong token causes no write, so that guesses cannot delay logins.
    let joined = match api.db.read(move |tx| service::is_join_token(tx, &token)).await {
        Ok(true) => api.db.write("machine.join", move |tx| do_join(tx, &asked, &hash, times)).await,
        Ok(false) => Err(machines::Error::TokenRefused.into()),
        Err(error) => Err(error.into()),
    };
    if let (Err(Error::Machine(machines::Error::TokenRefused)), Some(Peer(address))) = (&joined, call.peer) {
        api.rejected.add(What::JoinToken, address);
    }
    Ok(joined?)
}

/// The server's time limits. A machine's deadline must be longer.
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
