//! Audit events: a closed list of kinds, and the details of each event.

use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::SafeText;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::near::did_you_mean;

/// Declares the kinds, with the names that never change.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum Kind { $($(#[$doc])* #[serde(rename = $name)] $kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name, which never changes.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// `init` made this database.
    ServerInitialised = "server.initialised",
    /// A server process began to serve.
    ServerStarted = "server.started",
    /// The server's certificate was replaced.
    ServerCertificateRenewed = "server.certificate-renewed",
    /// A certificate expires soon, or has expired.
    ServerCertificateExpires = "server.certificate-expires",
    /// Another certificate authority was made; it does not sign yet.
    CaRotated = "ca.rotated",
    /// The newer certificate authority signs from now on.
    CaSwitched = "ca.switched",
    /// An older certificate authority was dropped.
    CaRetired = "ca.retired",
    /// A certificate authority replaced one that was lost: no machine trusts it yet.
    CaStartedOver = "ca.started-over",
    /// A copy of the database was made.
    BackupMade = "backup.made",
    /// A backup replaced the database. Everything after the backup is undone.
    DatabaseRestored = "database.restored",
    /// Old events were moved to a file, and the chain begins at a checkpoint.
    AuditArchived = "audit.archived",
    /// Logins and sessions older than the operator keeps were removed from their tables; their events stay.
    RecordsPruned = "records.pruned",
    /// A machine was added.
    MachineAdded = "machine.added",
    /// A join token was made for a machine.
    MachineTokenMade = "machine.token-made",
    /// A machine exchanged its token for a credential.
    MachineJoined = "machine.joined",
    /// A machine's older credentials were retired, because a newer one is in use.
    MachineRotated = "machine.rotated",
    /// A machine's credential was retired, because others have it, too.
    MachineCredentialRetired = "machine.credential-retired",
    /// A machine reported which certificate authorities it trusts.
    MachineTrustReported = "machine.trust-reported",
    /// A machine that has not joined opened its first login with the `AUTH_TOKEN`, under an unproven name.
    MachineClaimed = "machine.claimed",
    /// A credential is used on two computers: the machine was cloned, or the credential was stolen.
    MachineSeenTwice = "machine.seen-twice",
    /// A caller was rejected: its credential or token is not accepted. Limited for each address.
    CallerRefused = "caller.refused",
    /// A machine was given another name.
    MachineRenamed = "machine.renamed",
    /// A machine's address, port or pinned host keys were changed.
    MachineChanged = "machine.changed",
    /// A machine reported host keys that are not those that are pinned for it, or another machine's.
    MachineQuarantined = "machine.quarantined",
    /// A machine was set up: the server's account, sudo and sshd.
    MachineSetUp = "machine.set-up",
    /// A machine was removed.
    MachineRemoved = "machine.removed",
    /// A pool was made.
    PoolAdded = "pool.added",
    /// A machine was put into a pool.
    PoolMachineAdded = "pool.machine-added",
    /// A machine was taken out of a pool.
    PoolMachineRemoved = "pool.machine-removed",
    /// A pool's name or label was changed.
    PoolChanged = "pool.changed",
    /// A pool was removed.
    PoolRemoved = "pool.removed",
    /// An employee was added.
    EmployeeAdded = "employee.added",
    /// An employee's address or names were changed, or an employee of before the ledger was given a uid.
    EmployeeChanged = "employee.changed",
    /// An employee may not log in for now.
    EmployeeSuspended = "employee.suspended",
    /// An employee may log in again.
    EmployeeResumed = "employee.resumed",
    /// An employee may not log in any more.
    EmployeeRemoved = "employee.removed",
    /// An employee chose the password of their account on the machines.
    EmployeePasswordSet = "employee.password-set",
    /// An employee has no password of their account on the machines any more.
    EmployeePasswordRemoved = "employee.password-removed",
    /// An employee was invited to enrol a key.
    EmployeeInvited = "employee.invited",
    /// An invite was sent to its person in a chat.
    InviteSent = "invite.sent",
    /// An invite was ended, because nobody knows whether it reached its person.
    InviteVoided = "invite.voided",
    /// So many wrong secrets were tried with an invite that it is refused from now on.
    InviteLimited = "invite.limited",
    /// An employee may go to the machines of a pool.
    GrantAdded = "grant.added",
    /// A grant's end was put off.
    GrantExtended = "grant.extended",
    /// A grant was removed, or replaced after its end.
    GrantRemoved = "grant.removed",
    /// A key was added to an employee.
    KeyAdded = "key.added",
    /// A key that an enrolled key had added was approved.
    KeyApproved = "key.approved",
    /// A key was revoked. It is never accepted again.
    KeyRevoked = "key.revoked",
    /// Accounts and keys are delivered to a machine from now on, or in another way than before.
    DeliveryEnabled = "delivery.enabled",
    /// Nothing is delivered to a machine from now on.
    DeliveryDisabled = "delivery.disabled",
    /// A machine was changed, or its state was read back after a failure.
    DeliveryConfirmed = "delivery.confirmed",
    /// A machine could not be given what it should have, for the first time or for another reason than before.
    DeliveryFailed = "delivery.failed",
    /// A machine was cleaned and forgotten.
    DeliveryEnded = "delivery.ended",
    /// An account that others made on a machine is an employee's from now on.
    AccountAdopted = "account.adopted",
    /// An account that had been taken over was handed back.
    AccountReleased = "account.released",
    /// The server itself logged in to a machine, and nobody was asked.
    DeliveryLogin = "delivery.login",
    /// A login was opened and policy gave its verdict.
    LoginOpened = "login.opened",
    /// A login was approved.
    LoginApproved = "login.approved",
    /// A login was denied, by a person or by policy.
    LoginDenied = "login.denied",
    /// Nobody decided about a login in time.
    LoginExpired = "login.expired",
    /// The machine cancelled a login, or stopped polling.
    LoginCancelled = "login.cancelled",
    /// A dry run ended.
    LoginRehearsed = "login.rehearsed",
    /// The machine has read the approval and lets the person in.
    LoginCollected = "login.collected",
    /// The machine did not read the approval in time, and cannot use it any more.
    LoginLapsed = "login.lapsed",
    /// A machine let somebody in without an ask, because no server could be reached.
    LoginLetInUnreachable = "login.let-in-unreachable",
    /// A machine opened a session.
    SessionOpened = "session.opened",
    /// A machine closed a session.
    SessionClosed = "session.closed",
    /// A limit was reached. Recorded at most once in a period.
    LimitReached = "limit.reached",
    /// A chat reaches people from now on.
    RelayUp = "relay.up",
    /// A chat does not reach people any more.
    RelayDown = "relay.down",
    /// An ask was posted in a chat.
    AskPosted = "ask.posted",
    /// A second message of an ask was found.
    AskDoubled = "ask.doubled",
    /// The ask's message was deleted while the login waited.
    AskDeleted = "ask.deleted",
    /// An ask could not be edited into the decision, and is left as it is.
    AskAbandoned = "ask.abandoned",
    /// A person answered, and it counted.
    AnswerGiven = "answer.given",
    /// A person answered, and it did not count.
    AnswerRejected = "answer.rejected",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not a [`Kind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no event kind {:?}{}", .0, did_you_mean(.0, Kind::ALL.iter().map(|kind| kind.as_str())))]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == name);
        found.copied().ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// The actor: `console:alice`, `machine:web1`, `policy`, `clock`, `relay:console`, `server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// Who did it, as far as this program knows.
    pub who: String,
    /// The value of `SUDO_USER`, which proves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<SafeText>,
}

impl Actor {
    /// A part of the system.
    pub fn new(who: impl Into<String>) -> Self {
        Self { who: who.into(), claim: None }
    }

    /// A machine, by its name.
    pub fn machine(name: &MachineName) -> Self {
        Self::new(format!("machine:{name}"))
    }
}

/// One thing that happened, ready to be sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// Who did it.
    pub actor: Actor,
    /// The login that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginId>,
    /// The machine that it is about, by its name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineName>,
    /// The Unix account that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Further details.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<&'static str, SafeText>,
}

impl Event {
    /// An event without details.
    pub fn new(kind: Kind, actor: Actor) -> Self {
        Self { kind, actor, login: None, machine: None, user: None, detail: BTreeMap::new() }
    }

    /// Sets the machine that it is about.
    #[must_use]
    pub fn machine(mut self, name: &MachineName) -> Self {
        self.machine = Some(name.clone());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.detail.insert(name, SafeText::new(&value.to_string()));
        self
    }

    /// Adds these names as a detail, separated by blanks; `-` if there are none.
    #[must_use]
    pub fn list<N: fmt::Display>(self, name: &'static str, names: &[N]) -> Self {
        let names: Vec<_> = names.iter().map(N::to_string).collect();
        if names.is_empty() { self.detail(name, "-") } else { self.detail(name, names.join(" ")) }
    }

    /// Adds a detail, if it has a value.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.detail(name, value),
            None => self,
        }
    }
}
