//! Gathers the facts of one login from PAM, once. All but the user may be missing.
//!
//! No fact proves who the person is. They decide one thing: whether a first factor was given.

use kbmfa_proto::login::{FirstFactor, Phase, SshConnection};
use kbmfa_proto::text::SafeText;

use crate::args::Proof;
use crate::outcome::{End, Outcome};
use crate::pam::{Item, Pam};
use crate::ssh::{self, Ends, Publickey};

/// The facts of one login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) user: Option<String>,
    pub(crate) service: SafeText,
    pub(crate) rhost: Option<SafeText>,
    pub(crate) tty: Option<SafeText>,
    pub(crate) ssh: Option<SshConnection>,
    /// `SSH_CONNECTION` has a value that sshd never writes.
    pub(crate) ssh_is_malformed: bool,
    pub(crate) publickey: Option<Publickey>,
    /// sshd serves a unix socket, a vsock or a pipe: `SSH_CONNECTION` is set, but has no address.
    pub(crate) without_addresses: bool,
    /// Host-based authentication has succeeded.
    pub(crate) hostbased: bool,
}

/// The sentence for a person whose connection has no address.
const SAY_WITHOUT_ADDRESSES: &str = "Your login needs an approval, and this connection has no network address to ask \
    about. Log in over the network.";

/// The sentence for a person after host-based authentication, which proves only the computer.
const SAY_HOSTBASED: &str = "Your login needs an approval, and host-based authentication proves the computer that you \
    come from, not you. Log in with a key.";

impl Facts {
    pub(crate) fn gather(pam: &mut impl Pam) -> Self {
        let ends = pam.env(c"SSH_CONNECTION").map_or(Ends::Absent, |text| ssh::connection(&text));
        let methods = pam.env(c"SSH_AUTH_INFO_0").unwrap_or_default();
        Self {
            user: pam.user(),
            service: pam.item(Item::Service).unwrap_or_default().into(),
            rhost: pam.item(Item::RHost).map(SafeText::from),
            tty: pam.item(Item::Tty).map(SafeText::from),
            ssh: ends.known(),
            ssh_is_malformed: ends == Ends::Malformed,
            publickey: ssh::publickey(&methods),
            without_addresses: ends == Ends::Unknown,
            hostbased: ssh::is_hostbased(&methods),
        }
    }

    /// The proof of a first factor. Without a proof nobody is asked.
    ///
    /// In the auth phase sshd may call the module before it has authenticated the person; in the other phases
    /// it authenticates first. For programs other than sshd the configuration must name the proof
    /// (`first_factor=stack`).
    pub(crate) fn first_factor(&self, phase: Phase, proof: Proof) -> Result<FirstFactor, End> {
        let authenticated = phase != Phase::Auth && self.ssh.is_some();
        match (&self.publickey, proof) {
            (Some(Publickey::Told(key)), _) => Ok(FirstFactor::Publickey { key: key.clone() }),
            (Some(Publickey::Unsupported), _) => Ok(FirstFactor::Sshd),
            (None, _) if authenticated => Ok(FirstFactor::Sshd),
            (None, Proof::Stack) => Ok(FirstFactor::Stack),
            (None, Proof::Publickey) => Err(self.unproven()),
        }
    }

    /// The refusal for a missing proof. It says as exactly as possible what is missing.
    fn unproven(&self) -> End {
        let end = |why: &str, say: Option<&str>| End {
            say: say.map(SafeText::new),
            ..End::new(Outcome::NoFirstFactor, why)
        };
        if self.without_addresses {
            let why = "SSH_CONNECTION has no address: sshd serves a unix socket, a vsock or a pipe";
            return end(why, Some(SAY_WITHOUT_ADDRESSES));
        }
        if self.hostbased {
            return end("host-based authentication proves a host, not a person", Some(SAY_HOSTBASED));
        }
        end("see first_factor=stack", None)
    }

    /// The person's source address or host name, for the log.
    pub(crate) fn source(&self) -> String {
        match (&self.ssh, &self.rhost, &self.tty) {
            (Some(ssh), _, _) => ssh.client.ip().to_string(),
            (None, Some(rhost), _) => rhost.to_string(),
            (None, None, Some(tty)) => tty.to_string(),
            (None, None, None) => "this machine".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(ssh: bool, publickey: Option<Publickey>) -> Facts {
        let ssh = ssh.then(|| ssh::connection("192.0.2.1 50000 192.0.2.2 22").known().unwrap());
        Facts { ssh, publickey, ..Facts::default() }
    }

    #[track_caller]
    fn check(phase: Phase, facts: &Facts, proof: Proof, expected: Option<&FirstFactor>) {
        assert_eq!(facts.first_factor(phase, proof).ok().as_ref(), expected);
    }

    #[test]
    fn a_key_that_sshd_reports_is_passed_on_in_every_phase() {
        let with_key = facts(true, Some(Publickey::Told("ssh-ed25519 A".into())));
        let key = FirstFactor::Publickey { key: "ssh-ed25519 A".into() };
        for phase in [Phase::Auth, Phase::Account, Phase::Session] {
            check(phase, &with_key, Proof::Publickey, Some(&key));
            check(phase, &with_key, Proof::Stack, Some(&key));
        }
        let long = facts(true, Some(Publickey::Unsupported));
        check(Phase::Auth, &long, Proof::Publickey, Some(&FirstFactor::Sshd));
    }

    #[test]
    fn in_the_auth_phase_nothing_but_a_key_or_the_stack_will_do() {
        check(Phase::Auth, &facts(true, None), Proof::Publickey, None);
        check(Phase::Auth, &facts(false, None), Proof::Publickey, None);
        check(Phase::Auth, &facts(true, None), Proof::Stack, Some(&FirstFactor::Stack));
    }

    #[test]
    fn after_the_auth_phase_sshds_authentication_counts() {
        for phase in [Phase::Account, Phase::Session] {
            check(phase, &facts(true, None), Proof::Publickey, Some(&FirstFactor::Sshd));
            check(phase, &facts(true, None), Proof::Stack, Some(&FirstFactor::Sshd));
        }
    }

    #[test]
    fn the_missing_proof_is_named_as_exactly_as_possible() {
        let told = |facts: Facts, phase| facts.first_factor(phase, Proof::Publickey).unwrap_err().say;
        let pipe = Facts { without_addresses: true, ..facts(false, None) };
        assert_eq!(told(pipe.clone(), Phase::Account), Some(SAY_WITHOUT_ADDRESSES.into()));
        assert_eq!(told(pipe, Phase::Auth), Some(SAY_WITHOUT_ADDRESSES.into()));
        let host = Facts { hostbased: true, ..facts(true, None) };
        assert_eq!(told(host, Phase::Auth), Some(SAY_HOSTBASED.into()));
        assert_eq!(told(facts(true, None), Phase::Auth), None);
    }

    #[test]
    fn a_program_that_is_not_sshd_needs_first_factor_stack() {
        for phase in [Phase::Account, Phase::Session] {
            check(phase, &facts(false, None), Proof::Publickey, None);
            check(phase, &facts(false, None), Proof::Stack, Some(&FirstFactor::Stack));
        }
    }
}
