//! `/v1/machines`: join, and who am I.

use kbmfa_proto::machine::{Join, Machine};
use warp::hyper::body::Bytes;
use warp::reply::Response;

use super::reply::{self, Failure};
use crate::db::{Db, Tx};
use crate::logins::{Error, Logins};
use crate::roster::{service, store};
use crate::secret::SecretHash;

pub(super) async fn this_machine(who: Option<SecretHash>, (db, logins): (Db, Logins)) -> Response {
    let result = async {
        let who = who.ok_or(Error::Unauthorized)?;
        let window_s = logins.rules().policy.longest_window().as_secs();
        let found = db.write("machine.self", move |tx| {
            let caller = service::authenticate(tx, &who, None)?.ok_or(Error::Unauthorized)?;
            let pools = store::pools_of(tx, &caller.machine_id)?;
            Ok::<_, Error>(Machine { name: caller.name, pools, server_time_us: tx.now.micros(), window_s })
        });
        Ok::<_, Failure>(found.await?)
    };
    reply::from(result.await)
}

pub(super) async fn join((db, logins): (Db, Logins), body: Bytes) -> Response {
    let result = async {
        let asked: Join = reply::json(&body)?;
        let hash = SecretHash::from_hex(&asked.credential_sha256);
        let hash = hash.ok_or(Error::Bad("credential_sha256 is 64 lower-case hexadecimal digits"))?;
        let window_s = logins.rules().policy.longest_window().as_secs();
        let joined = db.write("machine.join", move |tx| do_join(tx, &asked, &hash, window_s));
        Ok::<_, Failure>(joined.await?)
    };
    reply::from(result.await)
}

fn do_join(tx: &Tx<'_>, asked: &Join, hash: &SecretHash, window_s: u64) -> Result<Machine, Error> {
    let token = SecretHash::of(&asked.token);
    let machine = service::join(tx, &token, hash, asked.module_version.as_str())?;
    let pools = store::pools_of(tx, &machine.id)?;
    Ok(Machine { name: machine.name, pools, server_time_us: tx.now.micros(), window_s })
}
