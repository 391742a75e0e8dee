//! Actions on certificates. Each function is one action inside the caller's transaction, with its audit
//! event. It changes files last, so that if this fails, nothing has happened.

use kbmfa_proto::pin::Pin;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::due::{self, Present, Why};
use super::files::{Files, Known};
use super::owed::{self, Owed};
use super::{Error, facts, issue, store};
use crate::audit::store::search::{Filter, search};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::{self, Tx};
use crate::machines::caller::Caller;
use crate::machines::store as machines;

/// Minimum time between two events about the same expiring certificate.
const ALARM_INTERVAL: Duration = Duration::from_secs(86_400);

/// How to treat the configured names.
#[derive(Debug, Clone)]
pub enum Names {
    /// The certificate must have exactly these names: they were just read.
    Demanded(Vec<String>),
    /// An existing certificate keeps its names; a new one gets these. Otherwise two servers on one state with
    /// different names would replace each other's certificate forever.
    Kept(Vec<String>),
}

/// Whether the server's certificate is due, and why.
///
/// # Errors
/// [`Error::NoAuthority`], [`Error::File`].
pub fn due(files: &Files, names: &Names, now: Time) -> Result<Option<Why>, Error> {
    Ok(look(files, names, now)?.map(|(why, _, _)| why))
}

type Found = (Why, Known, Vec<String>);

fn look(files: &Files, names: &Names, now: Time) -> Result<Option<Found>, Error> {
    let signer = signer(files.authorities()?, files)?;
    let chain = files.chain();
    let facts = chain.as_deref().and_then(<[_]>::first);
    let present = facts.map(|facts| Present { facts, by_signer: facts.is_signed_by(&signer.facts) });
    let (Names::Demanded(given) | Names::Kept(given)) = names;
    let wanted: BTreeSet<String> = given.iter().map(|name| facts::canonical(name)).collect();
    let demanded = matches!(names, Names::Demanded(_)) && !wanted.is_empty();
    let best_end = issue::end(now, signer.facts.not_after);
    let times = (signer.facts.not_before, best_end);
    let why = due::due(present.as_ref(), Some(&wanted).filter(|_| demanded), times, now);
    let kept = facts.filter(|_| !demanded).map(|facts| facts.names.iter().cloned().collect());
    Ok(why.map(|why| (why, signer, kept.unwrap_or_else(|| given.clone()))))
}

/// Replaces the server's certificate if it is due. Allowed while the database is read-only: a restored server
/// has no certificate, and needs one to answer that it waits for the confirmation.
pub fn renew(tx: &Tx<'_>, files: &Files, names: &Names) -> Result<Option<Why>, Error> {
    let Some((why, signer, names)) = look(files, names, tx.now)? else { return Ok(None) };
    if names.is_empty() {
        return Err(Error::NoCertificate(files.certificate()));
    }
    let key = files.key(signer.number)?;
    let bundle = issue::certificate((&signer.pem, &key), signer.facts.not_after, &names, tx.now)?;
    let made = facts::of_pem(bundle.reveal().as_bytes()).and_then(|chain| chain.into_iter().next());
    let (ca, not_after) = (signer.facts.pin, made.map(|made| made.not_after));
    owed::record(tx, Owed::Certificate { why: why.to_string(), names: names.join(" "), ca, not_after })?;
    files.put_certificate(&bundle)?;
    Ok(Some(why))
}

/// Records that a certificate expires soon, or has expired; false if that was recorded within a day.
pub fn alarm(tx: &Tx<'_>, which: &'static str, not_after: Time) -> Result<bool, Error> {
    let kind = Kind::ServerCertificateExpires;
    let (said, since) = (format!("\"which\":\"{which}\""), Some(tx.now.minus(ALARM_INTERVAL)));
    // There are at most two: for the server's certificate and the authority's.
    let lately = Filter { kinds: vec![kind], since, limit: 8, ..Filter::default() };
    if search(tx, &lately)?.iter().any(|event| event.body.contains(&said)) {
        return Ok(false);
    }
    let event = Event::new(kind, Actor::new("clock")).detail("which", which).detail("not-after", not_after);
    audit::append(tx, &event)?;
    Ok(true)
}

/// Records which authorities a machine trusts.
pub fn reported(tx: &Tx<'_>, caller: &Caller, pins: &[Pin]) -> Result<(), db::Error> {
    let mut pins = pins.to_vec();
    pins.sort_unstable_by_key(Pin::to_string);
    pins.dedup();
    if store::pins_of(tx, &caller.machine_id)? == pins {
        return Ok(());
    }
    store::replace_pins(tx, &caller.machine_id, &pins)?;
    let list: Vec<_> = pins.iter().map(Pin::to_string).collect();
    let event = Event::new(Kind::MachineTrustReported, Actor::machine(&caller.name)).machine(&caller.name);
    audit::append(tx, &event.detail("cas", list.join(" ")))?;
    Ok(())
}

/// Forgets which authorities a machine reported: it joins, perhaps again, so its file is new.
pub fn joined(tx: &Tx<'_>, machine_id: &str) -> Result<(), db::Error> {
    store::replace_pins(tx, machine_id, &[])
}

/// Names of the machines that have joined and do not trust this authority.
pub fn untrusting(tx: &Tx<'_>, pin: Pin) -> Result<Vec<String>, Error> {
    let trusting = store::machines_trusting(tx, pin)?;
    let joined = machines::machines(tx)?.into_iter().filter(|machine| machine.credentials > 0);
    Ok(joined.filter(|one| !trusting.contains(&one.id)).map(|one| one.name.to_string()).collect())
}

/// Creates another authority, which machines fetch from now on. It does not sign yet.
///
/// # Errors
/// [`Error::RotationInProgress`].
pub fn rotate(tx: &Tx<'_>, files: &Files, actor: &Actor) -> Result<Pin, Error> {
    let known = files.authorities()?;
    let [only] = known.as_slice() else { return Err(Error::RotationInProgress) };
    let authority = issue::authority(tx.now)?;
    let event = Event::new(Kind::CaRotated, actor.clone());
    audit::append(tx, &event.detail("from", only.facts.pin).detail("to", authority.pin))?;
    files.add(only.number + 1, &authority)?;
    Ok(authority.pin)
}

/// Creates an authority in place of a lost one. No machine trusts it: each must join again, or get its
/// certificate by hand. Allowed while the database is read-only.
///
/// # Errors
/// [`Error::NotLost`] if there is one that signs; [`Error::File`] if one exists and cannot be read.
pub fn start_over(tx: &Tx<'_>, files: &Files, actor: &Actor) -> Result<(Pin, PathBuf), Error> {
    if let Some(pin) = files.signer_in_order()? {
        return Err(Error::NotLost(pin));
    }
    let authority = issue::authority(tx.now)?;
    let machines = machines::machines(tx)?.into_iter().filter(|machine| machine.credentials > 0).count();
    let (by, claim) = (actor.who.clone(), actor.claim.clone());
    owed::record(tx, Owed::Authority { pin: authority.pin, machines, by, claim })?;
    let number = files.newest_number()? + 1;
    files.add(number, &authority)?;
    files.sign_with(number)?;
    Ok((authority.pin, files.certificate_of(number)))
}

/// What to do about machines that do not trust the new authority yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachinesBehind {
    /// Wait for them.
    Wait,
    /// Skip them. They refuse every login until somebody gives them the newer authority.
    Skip,
}

/// Lets the newer authority sign. The server replaces its certificate at its next check.
///
/// # Errors
/// [`Error::NothingNewer`], [`Error::NotYetTrusted`].
pub fn switch(
    tx: &Tx<'_>,
    files: &Files,
    actor: &Actor,
    machines_behind: MachinesBehind,
) -> Result<Pin, Error> {
    let known = files.authorities()?;
    let (Some(from), Some(to)) = (known.iter().find(|known| known.signs), known.last()) else {
        return Err(Error::NothingNewer);
    };
    if to.signs {
        return Err(Error::NothingNewer);
    }
    let behind = untrusting(tx, to.facts.pin)?;
    if !behind.is_empty() && machines_behind == MachinesBehind::Wait {
        return Err(Error::NotYetTrusted(behind));
    }
    let event = Event::new(Kind::CaSwitched, actor.clone());
    let event = event.detail("from", from.facts.pin).detail("to", to.facts.pin);
    audit::append(tx, &event.maybe("left-behind", Some(behind.join(" ")).filter(|list| !list.is_empty())))?;
    files.sign_with(to.number)?;
    Ok(to.facts.pin)
}

/// Removes the authority that signed before.
///
/// # Errors
/// [`Error::NothingOlder`], [`Error::StillSigned`].
pub fn retire(tx: &Tx<'_>, files: &Files, actor: &Actor) -> Result<Pin, Error> {
    let known = files.authorities()?;
    let [old, signer] = known.as_slice() else { return Err(Error::NothingOlder) };
    if !signer.signs {
        return Err(Error::NothingOlder);
    }
    let chain = files.chain();
    let certificate = chain.as_deref().and_then(<[_]>::first);
    if !certificate.is_some_and(|certificate| certificate.is_signed_by(&signer.facts)) {
        return Err(Error::StillSigned);
    }
    audit::append(tx, &Event::new(Kind::CaRetired, actor.clone()).detail("pin", old.facts.pin))?;
    files.retire(old.number)?;
    Ok(old.facts.pin)
}

fn signer(known: Vec<Known>, files: &Files) -> Result<Known, Error> {
    known.into_iter().find(|known| known.signs).ok_or_else(|| Error::NoAuthority(files.ca_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, fixture};
    use crate::machines::service::authenticate;
    use crate::secret::SecretHash;
    use crate::usecases::machines;

    const DAY: Duration = Duration::from_secs(86_400);

    struct Bench {
        fixture: Fixture,
        files: Files,
    }

    impl Bench {
        fn new() -> Self {
            let fixture = fixture();
            let files = Files::of(fixture.dir.path());
            let bench = Self { fixture, files };
            bench.act(|tx, files| files.add(1, &issue::authority(tx.now)?)).unwrap();
            bench.files.sign_with(1).unwrap();
            bench
        }

        fn act<T: Send + 'static>(
            &self,
            work: impl FnOnce(&Tx<'_>, &Files) -> Result<T, Error> + Send + 'static,
        ) -> Result<T, Error> {
            let files = self.files.clone();
            self.fixture.db.write_blocking("test", move |tx| work(tx, &files))
        }

        fn renewed(&self, names: &'static [&'static str]) -> Option<Why> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            self.act(move |tx, files| renew(tx, files, &Names::Demanded(names))).unwrap()
        }

        fn kept(&self) -> Option<Why> {
            self.act(|tx, files| renew(tx, files, &Names::Kept(Vec::new()))).unwrap()
        }

        fn kinds(&self) -> Vec<String> {
            let filter = Filter { limit: 100, ..Filter::default() };
            let found = self.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
            let kind = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["kind"].clone();
            found.iter().map(|event| kind(&event.body).as_str().unwrap().to_owned()).collect()
        }

        fn web1(&self) -> Caller {
            let root = Actor::new("console:root");
            self.fixture
                .db
                .write_blocking("test", move |tx| {
                    let (name, credential) = ("web1".parse().unwrap(), SecretHash::of("a"));
                    machines::add(tx, &root, &name, &[])?;
                    let token =
                        machines::make_join_token(tx, &root, &name, machines::JOIN_TOKEN_LIFE)?.hash();
                    machines::join(tx, &token, &credential, "0")?;
                    Ok::<_, crate::usecases::Error>(authenticate(tx, &credential, None)?.unwrap())
                })
                .unwrap()
        }
    }

    #[test]
    fn the_certificate_is_made_kept_and_renewed_in_time_each_on_record() {
        let bench = Bench::new();
        assert_eq!(bench.renewed(&["a", "192.0.2.1"]), Some(Why::Missing));
        assert_eq!(bench.renewed(&["192.0.2.1", "A"]), None);
        let first = bench.files.chain().unwrap();
        bench.fixture.clock.advance(DAY * 58);
        assert_eq!(bench.kept(), None);
        bench.fixture.clock.advance(DAY * 2);
        assert_eq!(bench.kept(), Some(Why::Age));
        let second = bench.files.chain().unwrap();
        assert_eq!(second[0].names, first[0].names);
        assert!(second[0].not_after >= first[0].not_after + DAY * 59);
        assert_eq!(bench.renewed(&["b"]), Some(Why::Names));
        assert_eq!(bench.kinds(), ["server.certificate-renewed"; 3]);
    }

    #[test]
    fn an_alarm_is_recorded_once_a_day_for_each_certificate() {
        let bench = Bench::new();
        let alarm = |which| bench.act(move |tx, _| alarm(tx, which, tx.now)).unwrap();
        assert!(alarm("ca") && alarm("server") && !alarm("ca"));
        bench.fixture.clock.advance(DAY + Duration::from_micros(1));
        assert!(alarm("ca") && !alarm("ca"));
        assert_eq!(bench.kinds().len(), 3);
    }

    #[test]
    fn an_authority_is_replaced_only_when_every_machine_trusts_the_new_one() {
        let bench = Bench::new();
        bench.renewed(&["a"]);
        let (web1, actor) = (bench.web1(), Actor::new("console:root"));
        let who = actor.clone();
        assert!(matches!(
            bench.act(move |tx, files| switch(tx, files, &who, MachinesBehind::Skip)),
            Err(Error::NothingNewer)
        ));
        let who = actor.clone();
        let new = bench.act(move |tx, files| rotate(tx, files, &who)).unwrap();
        let who = actor.clone();
        assert!(matches!(
            bench.act(move |tx, files| rotate(tx, files, &who)),
            Err(Error::RotationInProgress)
        ));
        let who = actor.clone();
        assert!(matches!(bench.act(move |tx, files| retire(tx, files, &who)), Err(Error::NothingOlder)));
        let who = actor.clone();
        let switched = bench.act(move |tx, files| switch(tx, files, &who, MachinesBehind::Wait));
        assert!(matches!(switched, Err(Error::NotYetTrusted(behind)) if behind == ["web1"]));
        for told in [true, false, true] {
            let web1 = web1.clone();
            let trusts = bench.act(move |tx, _| {
                if told {
                    reported(tx, &web1, &[new])?;
                } else {
                    joined(tx, &web1.machine_id)?;
                }
                Ok(untrusting(tx, new)?.is_empty())
            });
            assert_eq!(trusts.unwrap(), told, "who joins again has to tell again");
        }
        let who = actor.clone();
        let switched = bench.act(move |tx, files| switch(tx, files, &who, MachinesBehind::Wait)).unwrap();
        assert_eq!(switched, new);
        let who = actor.clone();
        assert!(matches!(bench.act(move |tx, files| retire(tx, files, &who)), Err(Error::StillSigned)));
        assert_eq!(bench.kept(), Some(Why::Authority));
        bench.act(move |tx, files| retire(tx, files, &actor)).unwrap();
        assert_eq!(bench.files.authorities().unwrap().len(), 1);
        assert_eq!(bench.files.chain().unwrap()[1].pin, new);
    }
}
