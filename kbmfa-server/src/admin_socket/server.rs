//! Serves one connection of the admin socket, from the check of the peer to the reply.

use nix::unistd::Uid;
use serde::Serialize;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::frame::{self, REPLY_MAX, REQUEST_MAX};
use super::peer::{self, Access, Denial, Peer};
use super::permits::{Permit, Permits, Pool};
use super::request::{self, Decision, ListQuery, Request};
use super::{LoginUid, Refusal, ReloadOutcome, adopt, invites, logins as verbs, provision};
use crate::channels::Answer;
use crate::channels::keybase::Keybase;
use crate::fault_log::FaultLog;
use crate::logins::decide::AtConsole;
use crate::long_poll::Logins;
use crate::policy::Approver;
use crate::provision::provisioner::Provisioner;
use crate::shared::Shared;
use crate::usecases;

/// Time for a whole request to arrive, and for a reply to be sent.
const TRANSFER_TIME: Duration = Duration::from_secs(5);

/// Time for the look-up of a peer in the name service.
const LOOK_UP_TIME: Duration = Duration::from_secs(5);

/// Most rows of `login.list`, so that the reply fits into one frame.
const LIST_MAX: i64 = 1000;

/// Maximum number of log lines about refusals in one [`REFUSALS_PERIOD`].
const REFUSALS_LOGGED: u32 = 20;
/// See [`REFUSALS_LOGGED`].
const REFUSALS_PERIOD: Duration = Duration::from_secs(60);

/// The reply channel of a reload.
pub type Reload = oneshot::Sender<ReloadOutcome>;

/// Serves requests. Clones share everything.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    logins: Logins,
    provisioner: Provisioner,
    changed: Arc<Notify>,
    reloads: mpsc::Sender<Reload>,
    group: Option<String>,
    chat: Option<Keybase>,
    permits: Permits,
    refusals: Shared<RefusalLog>,
    faults: Shared<FaultLog>,
}

impl Server {
    /// A server that notifies `changed`, passes reloads to `reloads`, lets members of `group` list and answer
    /// logins, and sends invites in `chat`.
    pub fn new(
        logins: Logins,
        provisioner: Provisioner,
        changed: Arc<Notify>,
        reloads: mpsc::Sender<Reload>,
        group: Option<String>,
        chat: Option<Keybase>,
    ) -> Self {
        let refusals = Shared::new(RefusalLog::default());
        let faults = Shared::new(FaultLog::new("admin socket: the peer cannot be looked up"));
        Self(Arc::new(Inner {
            logins,
            provisioner,
            changed,
            reloads,
            group,
            chat,
            permits: Permits::default(),
            refusals,
            faults,
        }))
    }

    /// Serves this connection in a task of its own, unless there are too many.
    ///
    /// # Errors
    /// If the kernel does not report the peer.
    pub(super) fn take(&self, stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?;
        let (uid, pid) = (Uid::from_raw(peer.uid()), peer.pid());
        let pool = if peer::is_own(uid) { Pool::Own } else { Pool::Others };
        if let Some(permit) = self.0.permits.admit(pool, uid) {
            let server = self.clone();
            tokio::spawn(async move { server.serve(stream, (uid, pid), permit).await });
        } else {
            self.log_refusal(&format!("uid {uid}"), "a connection", "there are too many");
            refuse_at_once(&stream);
        }
        Ok(())
    }

    async fn serve(self, mut stream: UnixStream, (uid, pid): (Uid, Option<i32>), permit: Permit) {
        let Some((peer, permit)) = self.look_up(uid, pid, permit).await else {
            return refuse_at_once(&stream);
        };
        let text = match timeout(TRANSFER_TIME, frame::read(&mut stream, REQUEST_MAX)).await {
            // Somebody checked whether a server runs.
            Ok(Ok(None)) => return,
            Ok(Ok(Some(text))) => Ok(text),
            Ok(Err(error)) => Err(Refusal::new(format!("the request cannot be read: {error}"))),
            Err(_) => Err(Refusal::new("the request did not arrive in time")),
        };
        let outcome = match text {
            Ok(text) => self.answer(&text, &peer).await,
            Err(refusal) => {
                self.log_refusal(&peer.who, "something", &refusal.error);
                Err(refusal)
            }
        };
        if let Ok(reply) = reply_frame(&outcome) {
            // The sender of a notification does not wait for the reply, so an error does not matter.
            let _ = timeout(TRANSFER_TIME, stream.write_all(&reply)).await;
        }
        drop(permit);
    }

    /// Looks the peer up; returns it with its permit. It holds the permit during the look-up, so that only a
    /// few connections wait for a name service that hangs.
    async fn look_up(&self, uid: Uid, pid: Option<i32>, permit: Permit) -> Option<(Peer, Permit)> {
        if let Some(own) = Peer::own(uid) {
            return Some((own, permit));
        }
        let group = self.0.group.clone();
        let looking = tokio::task::spawn_blocking(move || {
            (Peer::look_up(uid, LoginUid::of_peer(pid), group.as_deref()), permit)
        });
        let found = match timeout(LOOK_UP_TIME, looking).await {
            Ok(Ok((Ok(peer), permit))) => Ok((peer, permit)),
            Ok(Ok((Err(error), _))) => Err(format!("uid {uid}: {error}")),
            Ok(Err(panic)) => Err(format!("uid {uid}: {panic}")),
            Err(_) => Err(format!("uid {uid}: the name service does not answer")),
        };
        let (peer, permit) = self.0.faults.with(|faults| faults.note(found))?;
        let permit = match peer.access {
            Access::Nothing => permit.exchange(Pool::RejectedCallers),
            Access::Full | Access::Logins(_) | Access::View => Some(permit),
        };
        if permit.is_none() {
            self.log_refusal(&peer.who, "a connection", "there are too many");
        }
        Some((peer, permit?))
    }

    async fn answer(&self, text: &[u8], peer: &Peer) -> Result<Value, Refusal> {
        let request = Request::read(text).inspect_err(|refusal| {
            self.log_refusal(&peer.who, "something", &refusal.error);
        })?;
        let person = match peer.access.to(&request) {
            Ok(person) => person.cloned(),
            Err(denial) => {
                self.log_refusal(&peer.who, request.verb(), "not allowed");
                return Err(self.denied(denial, request.verb()));
            }
        };
        let verb = request.verb();
        match timeout(request.work_time(), self.act(request, person)).await {
            Ok(done) => done,
            Err(_) => {
                Err(Refusal::new(format!("the server did not finish {verb} in time; it may still do it"))
                    .hint("`kbmfa-server login show ID` shows the effect of an answer"))
            }
        }
    }

    async fn act(&self, request: Request, person: Option<Approver>) -> Result<Value, Refusal> {
        let Inner { logins, provisioner, changed, .. } = &*self.0;
        let db = logins.db();
        match (request, person) {
            (Request::Notify {}, _) => {
                changed.notify_one();
                provisioner.wake();
                Ok(json!({}))
            }
            (Request::Reload {}, _) => self.reload().await,
            (Request::List(query), _) => {
                let query = within_bounds(query)?;
                to_json(&db.read(move |tx| verbs::list(tx, &query)).await?)
            }
            (Request::Show { id }, _) => to_json(&db.read(move |tx| verbs::show(tx, &id)).await?),
            (Request::Watch(query), _) => {
                let rules = logins.rules();
                to_json(&db.read(move |tx| verbs::news(tx, &rules, &query)).await?)
            }
            (Request::Approve(decision), Some(person)) => {
                self.decide(decision, person, Answer::Approve).await
            }
            (Request::Deny(decision), Some(person)) => self.decide(decision, person, Answer::Deny).await,
            (Request::SendInvite(message), _) => {
                to_json(&invites::send(db, self.0.chat.as_ref(), message).await?)
            }
            (Request::ProvisionLook { machine }, _) => {
                to_json(&provision::look(provisioner, &machine).await?)
            }
            (Request::ProvisionRun { machine, confirm_removals }, _) => {
                to_json(&provision::run(provisioner, &machine, confirm_removals).await?)
            }
            (Request::MachineSurvey { machine }, _) => to_json(&adopt::survey(provisioner, &machine).await?),
            (Request::Approve(_) | Request::Deny(_), None) => Err(Refusal::new("an answer needs a person")),
        }
    }

    async fn reload(&self) -> Result<Value, Refusal> {
        let gone = |_| Refusal::new("the server is shutting down");
        let (caller, outcome) = oneshot::channel();
        self.0.reloads.send(caller).await.map_err(|_| Refusal::new("the server is shutting down"))?;
        outcome.await.map_err(gone)?.map(|note| json!({ "note": note })).map_err(Refusal::new)
    }

    async fn decide(&self, decision: Decision, person: Approver, answer: Answer) -> Result<Value, Refusal> {
        let rules = self.0.logins.rules();
        verbs::check(&decision, &rules)?;
        // The kernel reported this uid, and it is not root's, so it identifies a person.
        let who = AtConsole { person, claim: None, has_login: true };
        let Decision { id, reason } = decision;
        let decided = self.0.logins.db().write("login.answer", move |tx| {
            usecases::logins::decide(tx, &rules, &id, &who, answer, reason.as_ref())
        });
        let answered = decided.await?;
        self.0.changed.notify_one();
        to_json(&verbs::decided(answered)?)
    }

    fn denied(&self, denial: Denial, verb: &str) -> Refusal {
        match (denial, &self.0.group) {
            (Denial::NotInGroup, Some(group)) => {
                Refusal::new(format!("{verb} is not allowed: your account is not in the group {group}"))
                    .hint(format!("an administrator can add you: usermod -aG {group} ACCOUNT"))
            }
            (Denial::NotInGroup, None) => Refusal::new(format!(
                "{verb} is not allowed: only root may do it, and no group is set"
            ))
            .hint("an administrator can let a group list and answer logins: [admin] group in server.toml"),
            (Denial::NotRoot, _) => Refusal::new(format!("{verb} is not allowed: only root may do it")),
            (Denial::OtherLogin, _) => Refusal::new(
                "you run as another account than the one that logged in, so the author of the answer is \
                 unclear",
            )
            .hint("log in by ssh as the account that answers, without su or sudo"),
            (Denial::NoPerson, _) => {
                Refusal::new("root and the server's account do not answer logins over the socket")
                    .hint("repeat it without --socket: the login uid then identifies you")
            }
        }
    }

    fn log_refusal(&self, who: &str, verb: &str, why: &str) {
        let line = self.0.refusals.with(|refusals| refusals.next(crate::clock::monotonic()));
        let Some(unlogged) = line else { return };
        log::warn!("admin socket: {who} asked for {verb} and was refused: {why}");
        if unlogged > 0 {
            log::warn!("admin socket: {unlogged} more refusals before this one were not logged");
        }
    }
}

/// The query, if it asks for at most [`LIST_MAX`] rows.
fn within_bounds(query: ListQuery) -> Result<ListQuery, Refusal> {
    if (1..=LIST_MAX).contains(&query.limit) {
        Ok(query)
    } else {
        Err(Refusal::new(format!("the admin socket lists 1 to {LIST_MAX} logins"))
            .hint("use --limit N; root has no such limit"))
    }
}

fn to_json(reply: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(reply).map_err(Refusal::new)
}

/// The reply as a frame. If it is too long, a refusal that says so.
fn reply_frame(outcome: &Result<Value, Refusal>) -> io::Result<Vec<u8>> {
    frame::encode(&request::write_reply(outcome), REPLY_MAX).or_else(|_| {
        let hint = "ask for less, for example with --limit; root has no such limit";
        let refusal = Refusal::new("the reply is too long for the admin socket").hint(hint);
        frame::encode(&request::write_reply(&Err(refusal)), REPLY_MAX)
    })
}

/// Refuses because there are too many connections, if the reply can be sent without waiting.
fn refuse_at_once(stream: &UnixStream) {
    let refusal = Refusal::new("the server cannot take your request now").hint("try again in a moment");
    if let Ok(reply) = reply_frame(&Err(refusal)) {
        let _ = stream.try_write(&reply);
    }
}

/// Limits how many refusals are logged.
#[derive(Default)]
struct RefusalLog {
    period_began: Duration,
    logged: u32,
    unlogged: u64,
}

impl RefusalLog {
    /// `Some` if this refusal is to be logged, with the number of earlier ones that were not logged.
    fn next(&mut self, now: Duration) -> Option<u64> {
        if now.saturating_sub(self.period_began) >= REFUSALS_PERIOD {
            (self.period_began, self.logged) = (now, 0);
        }
        if self.logged >= REFUSALS_LOGGED {
            self.unlogged += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests;
