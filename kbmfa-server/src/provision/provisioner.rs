//! Runs passes over machines: takes the roster as it is at that moment, connects, and records what was found.

use kbmfa_proto::names::{MachineName, UserName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::connection::Credential;
use super::desired::{Desired, Keys};
use super::hindrance::Hindrance;
use super::own_login::Announcer;
use super::pass::{self, Order, Passed};
use super::plan::{self, Plan, Step};
use super::report::{Done, Report};
use super::roster_key::{self, RosterKey};
use super::settings::Settings;
use super::ssh::{Program, Root};
use super::{REMOTE, admin_key, connection, key_file, orders, snapshot, ssh, sudo_password};
use crate::adoption::survey::Survey;
use crate::audit::Actor;
use crate::db::{self, Db};
use crate::deliveries::failure::{Failure, Kind};
use crate::deliveries::store::{self as deliveries, Delivery};
use crate::deliveries::{self as domain, Error, Generation, Outcome};
use crate::long_poll::Logins;
use crate::machines::host_keys::{Reach, store as host_keys};
use crate::random;
use crate::shared::Shared;
use crate::usecases::deliveries as usecase;
use crate::usecases::keys as usecase_keys;

/// Longest time of one pass.
pub const PASS: Duration = Duration::from_secs(120);

/// How often a machine that is worked on is asked for, by a verb that can wait, and the pause between: 10 s in all.
const CLAIM_TRIES: u32 = 50;
const CLAIM_PAUSE: Duration = Duration::from_millis(200);

/// Runs passes. Clones share everything.
#[derive(Clone)]
pub struct Provisioner(Arc<Inner>);

struct Inner {
    logins: Logins,
    db: Db,
    state_dir: PathBuf,
    settings: Shared<Arc<Settings>>,
    changed: Notify,
    /// The machines that are worked on now, by id.
    busy: Shared<BTreeSet<String>>,
    /// Connections that are open now, so that they can be ended from outside.
    streams: Shared<BTreeMap<String, TcpStream>>,
}

/// Everything that a pass needs to know, as of one moment.
struct Job {
    delivery: Delivery,
    reach: Reach,
    desired: Desired,
    given: deliveries::Given,
    keeps_sessions: BTreeSet<UserName>,
    last: Generation,
    /// Machine ids of other machines, with their names.
    other_hosts: BTreeMap<String, MachineName>,
    settings: Arc<Settings>,
    is_quarantined: bool,
}

/// A machine that is worked on by nobody else in this process, until this is dropped.
struct Claim {
    inner: Arc<Inner>,
    machine_id: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.busy.with(|busy| busy.remove(&self.machine_id));
        self.inner.streams.with(|streams| streams.remove(&self.machine_id));
    }
}

impl Provisioner {
    /// Works on the database of these logins and on the files in `state_dir`. Notices go where the logins' rules say.
    pub fn new(logins: Logins, state_dir: PathBuf, settings: Settings) -> Self {
        let db = logins.db().clone();
        let settings = Shared::new(Arc::new(settings));
        Self(Arc::new(Inner {
            logins,
            db,
            state_dir,
            settings,
            changed: Notify::new(),
            busy: Shared::default(),
            streams: Shared::default(),
        }))
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.with(|settings| Arc::clone(settings))
    }

    /// Puts other settings in force, from the next pass on.
    pub fn set_settings(&self, settings: Settings) {
        self.0.settings.with(|present| *present = Arc::new(settings));
    }

    /// The database.
    pub(super) fn db(&self) -> &Db {
        &self.0.db
    }

    /// Makes the server's keys, for SSH and for signatures, if there are none.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) async fn make_keys(&self) -> Result<(), Failure> {
        let dir = &self.0.state_dir;
        let make = || {
            admin_key::make(dir)?;
            roster_key::make(dir)?;
            let files = [admin_key::path(dir), roster_key::path(dir)];
            files.iter().map(|file| key_file::fingerprint(file)).collect::<Result<Vec<_>, key_file::Error>>()
        };
        let own = make().map_err(|error| Failure::new(Kind::Disk, error))?;
        let remembered = self
            .0
            .db
            .write("delivery.own-keys", move |tx| usecase_keys::remember_servers_own(tx, &own))
            .await;
        remembered.map_err(|error: db::Error| Failure::new(Kind::Busy, error))
    }

    /// The machines that are worked on now.
    pub(super) fn busy(&self) -> BTreeSet<String> {
        self.0.busy.with(|busy| busy.clone())
    }

    /// Ends all connections, because another server works on the machines now.
    pub(super) fn abandon(&self) {
        self.0.streams.with(|streams| {
            for stream in streams.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    fn claim(&self, machine_id: &str) -> Result<Claim, Failure> {
        if !self.0.busy.with(|busy| busy.insert(machine_id.to_owned())) {
            return Err(Failure::new(Kind::Busy, "this server works on the machine already"));
        }
        Ok(Claim { inner: Arc::clone(&self.0), machine_id: machine_id.to_owned() })
    }

    /// Waits for the end of a pass that is under way.
    async fn claim_soon(&self, machine_id: &str) -> Result<Claim, Failure> {
        for _ in 0..CLAIM_TRIES {
            if let Ok(claim) = self.claim(machine_id) {
                return Ok(claim);
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
        self.claim(machine_id)
    }

    /// Notifies the loop that the roster may have changed.
    pub fn wake(&self) {
        self.0.changed.notify_one();
    }

    /// Waits for [`Self::wake`].
    pub(super) async fn woken(&self) {
        self.0.changed.notified().await;
    }

    /// The delivery to the machine of this name.
    ///
    /// # Errors
    /// There is none.
    pub async fn delivery(&self, name: &MachineName) -> Result<Delivery, Failure> {
        let name = name.clone();
        let found = self.0.db.read(move |tx| domain::service::find(tx, &name)).await;
        found.map_err(|error| Failure::new(Kind::Script, error))
    }

    /// What a machine should have and has, and what would be done. Changes nothing.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn look(&self, name: &MachineName) -> Result<(Delivery, Desired, Report, Plan), Failure> {
        let delivery = self.delivery(name).await?;
        let claim = self.claim(&delivery.machine_id)?;
        let job = self.job(delivery).await?;
        let (delivery, desired) = (job.delivery.clone(), job.desired.clone());
        let (report, plan) = self.connected(claim, job, |ssh, order, _| pass::look(ssh, order)).await?;
        Ok((delivery, desired, report, plan))
    }

    /// All accounts of people on a machine and their keys, whoever made them. Changes nothing.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn survey(&self, name: &MachineName) -> Result<Survey, Failure> {
        let delivery = self.delivery(name).await?;
        let claim = self.claim_soon(&delivery.machine_id).await?;
        let job = self.job(delivery).await?;
        let work = |ssh: &mut ssh::Ssh, order: &Order<'_>, _: &Job| pass::survey(ssh, order);
        self.connected(claim, job, work).await
    }

    /// One whole pass, whose result is recorded. `confirmed` is the number of removals that the operator has confirmed.
    ///
    /// # Errors
    /// [`Failure`], which is recorded as well.
    pub async fn run(&self, delivery: Delivery, confirmed: Option<usize>) -> Result<Passed, Failure> {
        let claim = self.claim(&delivery.machine_id)?;
        let job = self.job(delivery).await?;
        let (delivery, desired) = (job.delivery.clone(), job.desired.clone());
        let before = job.given.get(&delivery.machine_id).cloned().unwrap_or_default();
        let passed = match self.remember(&job).await.and_then(|()| self.authority()) {
            Ok(mut server) => {
                let run = move |ssh: &mut ssh::Ssh, order: &Order<'_>, _: &Job| {
                    let order = Order { confirmed, ..*order };
                    pass::run(ssh, &order, &mut server)
                };
                self.connected(claim, job, run).await
            }
            Err(failure) => Err(failure),
        };
        let outcome = match &passed {
            Ok(passed) => passed.failure().map_or(Outcome::Confirmed, Outcome::Failed),
            Err(failure) => Outcome::Failed(failure.clone()),
        };
        let recorded =
            self.record(&delivery, (&desired, &before), outcome.clone(), passed.as_ref().ok()).await;
        recorded.map_err(|error| Failure::new(Kind::Script, error))?;
        match (passed, outcome) {
            (Ok(passed), _) => Ok(passed),
            (Err(failure), _) => Err(failure),
        }
    }

    /// What numbers and signs orders.
    fn authority(&self) -> Result<orders::Server, Failure> {
        let key = RosterKey::read(&self.0.state_dir);
        let key = key.map_err(|error| Failure::new(Kind::Signature, format!("the roster key: {error}")))?;
        Ok(orders::Server { db: self.0.db.clone(), key })
    }

    async fn job(&self, delivery: Delivery) -> Result<Job, Failure> {
        let settings = self.settings();
        let read = self.0.db.read(move |tx| {
            let snapshot = snapshot::read(tx)?;
            let of = |one: &&Delivery| one.machine_id == delivery.machine_id;
            // It may have been changed, or forgotten, since it was chosen.
            let Some(delivery) = snapshot.deliveries.iter().find(of).cloned() else { return Ok(None) };
            let desired = snapshot.desired(&delivery, &settings);
            let others = snapshot.deliveries.iter().filter(|one| one.machine_id != delivery.machine_id);
            let other_hosts =
                others.filter_map(|one| Some((one.host_id.clone()?, one.machine.clone()))).collect();
            let last = deliveries::generation(tx)?;
            let last = last.unwrap_or(Generation { installation: String::new(), epoch: 0, counter: 0 });
            let reach = host_keys::reach(tx, &delivery.machine_id)?;
            let is_quarantined = host_keys::quarantine(tx, &delivery.machine_id)?.is_some();
            Ok::<_, db::Error>(Some(Job {
                reach,
                desired,
                keeps_sessions: snapshot.keeping_sessions(&settings),
                given: snapshot.given,
                last,
                other_hosts,
                settings,
                is_quarantined,
                delivery,
            }))
        });
        let job = read.await.map_err(|error| Failure::new(Kind::Busy, error))?;
        job.ok_or_else(|| Failure::new(Kind::Script, "nothing is delivered to the machine any more"))
    }

    /// Records the keys that the machine may have from now on, before it is reached: a crash on the way forgets none.
    async fn remember(&self, job: &Job) -> Result<(), Failure> {
        let known = job.given.get(&job.delivery.machine_id);
        let given: BTreeMap<_, BTreeSet<String>> = job
            .desired
            .accounts
            .iter()
            .map(|(name, account)| (name.clone(), account.fingerprints.clone()))
            .filter(|(name, keys)| {
                !known.and_then(|known| known.get(name)).is_some_and(|known| keys.is_subset(known))
            })
            .filter(|(_, keys)| !keys.is_empty())
            .collect();
        if given.is_empty() {
            return Ok(());
        }
        let machine_id = job.delivery.machine_id.clone();
        let begun = self.0.db.write("delivery.begun", move |tx| usecase::begun(tx, &machine_id, &given));
        begun.await.map_err(|error| Failure::new(Kind::Busy, error))
    }

    /// Connects on a thread of its own, and runs `work` there within [`PASS`].
    async fn connected<T: Send + 'static>(
        &self,
        claim: Claim,
        job: Job,
        work: impl FnOnce(&mut ssh::Ssh, &Order<'_>, &Job) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if job.is_quarantined {
            return Err(Failure::new(
                Kind::HostKey,
                "the machine is in quarantine: it reports other host keys",
            ));
        }
        let (inner, machine_id) = (Arc::clone(&self.0), job.delivery.machine_id.clone());
        let secrets = Secrets::read(&inner.state_dir, &machine_id)?;
        let blocking = tokio::task::spawn_blocking(move || {
            let _claim = claim;
            on_machine(&inner, &job, &secrets, work)
        });
        let mut blocking = std::pin::pin!(blocking);
        let Ok(ended) = tokio::time::timeout(PASS, &mut blocking).await else {
            self.0
                .streams
                .with(|streams| streams.get(&machine_id).map(|stream| stream.shutdown(Shutdown::Both)));
            let _ = blocking.await;
            return Err(Failure::new(
                Kind::Unreachable,
                format!("it was not done after {} s", PASS.as_secs()),
            ));
        };
        ended.unwrap_or_else(|panic| Err(Failure::new(Kind::Script, format!("a pass panicked: {panic}"))))
    }

    async fn record(
        &self,
        delivery: &Delivery,
        (desired, before): (&Desired, &Keys),
        outcome: Outcome,
        passed: Option<&Passed>,
    ) -> Result<(), Error> {
        let found = passed.map(|passed| {
            let (hindrances, given) = (passed.hindrances(), passed.given(desired, before, delivery.place));
            usecase::Found {
                host_id: passed.after.host_id.clone(),
                done: passed.done.iter().filter_map(shown).collect(),
                has_to_lose: desired.has_to_lose(&given) || hindrances.iter().any(Hindrance::is_loss),
                hindrances: hindrances.iter().map(ToString::to_string).collect(),
                given,
                ended: passed.ended(desired),
                applied: passed.reached(desired).hash(delivery.place, &self.settings().profiles),
            }
        });
        let (delivery, settings, rules) = (delivery.clone(), self.settings(), self.0.logins.rules());
        let jitter = u32::try_from(random::below(1000)?).unwrap_or_default();
        self.0
            .db
            .write("delivery.record", move |tx| {
                let actor = Actor::new("server");
                let failures = delivery.failures.saturating_add(1);
                let next_at = domain::next_pass(&outcome, failures, settings.check_up, jitter, tx.now);
                match (outcome, found) {
                    (Outcome::Confirmed, Some(found)) => {
                        usecase::confirmed(tx, (&rules, &actor), &delivery, &found, next_at)
                    }
                    (Outcome::Failed(failure), found) => {
                        usecase::failed(tx, (&rules, &actor), &delivery, (&failure, found.as_ref()), next_at)
                    }
                    (Outcome::Confirmed, None) => Ok(()),
                }
            })
            .await
    }
}

/// What opens a machine.
struct Secrets {
    key: Zeroizing<String>,
    sudo_password: Option<Zeroizing<String>>,
}

impl Secrets {
    fn read(state_dir: &Path, machine_id: &str) -> Result<Self, Failure> {
        let key = admin_key::read(state_dir)
            .map_err(|error| Failure::new(Kind::Authentication, format!("the server's own key: {error}")))?;
        let sudo_password = sudo_password::read(state_dir, machine_id)
            .map_err(|error| Failure::new(Kind::Sudo, format!("the password for sudo: {error}")))?;
        Ok(Self { key, sudo_password })
    }
}

/// Announces the connections of this job.
fn announcer<'a>(inner: &'a Inner, job: &'a Job, secrets: &Secrets) -> Result<Announcer<'a>, Failure> {
    let key = admin_key::fingerprint(&secrets.key)
        .map_err(|error| Failure::new(Kind::Authentication, format!("the server's own key: {error}")))?;
    let (machine_id, machine) = (&job.delivery.machine_id, &job.delivery.machine);
    let nat = job.settings.nat.get(machine).map(Vec::as_slice).unwrap_or_default();
    Ok(Announcer::new(&inner.db, (machine_id, machine), (&job.settings.admin, key), nat))
}

/// Connects, runs `work`, and ends the connection. Blocks.
fn on_machine<T>(
    inner: &Inner,
    job: &Job,
    secrets: &Secrets,
    work: impl FnOnce(&mut ssh::Ssh, &Order<'_>, &Job) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let machine_id = &job.delivery.machine_id;
    let started = |stream: &TcpStream| {
        let stream = stream.try_clone().map_err(|error| Failure::new(Kind::Unreachable, error))?;
        inner.streams.with(|streams| streams.insert(machine_id.clone(), stream));
        Ok(())
    };
    let (account, key) = (job.settings.admin.as_str(), Credential::Key(&secrets.key));
    let program = if job.delivery.by_helper { Program::Helper } else { Program::Text(REMOTE) };
    let announcer = announcer(inner, job, secrets)?;
    let announce = |local, peer| {
        announcer.announce(local, peer);
        Ok(())
    };
    let root = Root::Sudo(secrets.sudo_password.as_ref());
    let session = connection::connect(&job.reach, account, &key, &started, Some(&announce));
    let ssh = session.and_then(|session| ssh::start(session, program, root));
    let mut ssh = ssh.map_err(|failure| announcer.explain(failure))?;
    // The program runs, so sshd is through with PAM. Nobody else can have this connection's port meanwhile.
    drop(announcer);
    let settings = plan::Settings {
        place: job.delivery.place,
        shell: job.settings.shell.clone(),
        profiles: job.settings.profiles.clone(),
        keeps_sessions: job.keeps_sessions.clone(),
    };
    let given = job.given.get(machine_id).cloned().unwrap_or_default();
    let order = Order {
        desired: &job.desired,
        given: &given,
        settings: &settings,
        admin: &job.settings.admin,
        host_id: job.delivery.host_id.as_deref(),
        other_hosts: &job.other_hosts,
        last: &job.last,
        limit: job.settings.limit,
        confirmed: None,
    };
    let done = work(&mut ssh, &order, job);
    if done.is_err() {
        // Taking leave of a machine that hangs takes 30 s for each word.
        inner.streams.with(|streams| streams.get(machine_id).map(|stream| stream.shutdown(Shutdown::Both)));
    }
    ssh.close();
    done
}

/// A step as the audit log tells it. What failed is a hindrance, or the pass's failure.
fn shown((step, done): &(Step, Done)) -> Option<String> {
    match (step, done) {
        (Step::Record { .. }, _) | (_, Done::Unchanged | Done::Failed(_)) => None,
        (step, Done::Changed) => Some(step.to_string()),
    }
}
