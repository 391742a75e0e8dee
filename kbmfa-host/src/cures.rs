//! Suggests a fix for a call to the server that failed.

use kbmfa_proto::client::Error as CallError;
use rustls::{CertificateError, Error as TlsError};
use std::io::ErrorKind;

/// What proves identity in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A pin and a one-time token.
    Join,
    /// The files that `join` wrote.
    Joined,
}

/// The fix for a failed call to the server `host`.
pub(super) fn cure(error: &CallError, host: &str, stage: Stage) -> String {
    match error {
        CallError::Connect(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
            "nothing listens at that address and port: run `systemctl status kbmfa-server` on the server's \
             host, and compare the port with `listen` in its server.toml"
                .into()
        }
        CallError::Connect(_) => {
            "check the address and firewalls on the way, then run `kbmfa-server doctor` on the server's \
             host"
                .into()
        }
        CallError::Tls(error) => of_tls(error, host, stage),
        CallError::Refused(problem) => of_refusal(problem.code.as_str(), stage).into(),
        CallError::Garbage(_) => {
            "check that kbmfa-server listens there, in this version or a newer one; run `kbmfa-server \
             doctor` on its host"
                .into()
        }
        CallError::Timeout | CallError::StoodStill | CallError::Lost(_) | CallError::HungUp => {
            "try again; if it fails again, run `kbmfa-server doctor` on the server's host".into()
        }
    }
}

fn of_tls(error: &TlsError, host: &str, stage: Stage) -> String {
    let TlsError::InvalidCertificate(invalid) = error else {
        return match (error, stage) {
            (TlsError::General(_), Stage::Join) => {
                "compare --pin with the output of `kbmfa-server ca show` on the server's host; if they are \
                 equal, another program answers at that address"
                    .into()
            }
            _ => "check that kbmfa-server listens there; run `kbmfa-server doctor` on its host".into(),
        };
    };
    match invalid {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "compare this clock (`date -u`) with the server's and set the one that is wrong; if both are \
             right, the server has not renewed its certificate: run `kbmfa-server doctor` on its host"
                .into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "compare this clock (`date -u`) with the server's and set the one that is wrong".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let place = if stage == Stage::Join { "in --server" } else { "in pam.toml" };
            format!(
                "add \"{host}\" to `names` below [server] in server.toml and run `systemctl reload \
                 kbmfa-server`; or use a name of the certificate {place}"
            )
        }
        _ if stage == Stage::Join => "run `kbmfa-server doctor` on the server's host, which checks its \
                                      certificate"
            .into(),
        _ => "another program answers at that address, or the server has a CA that this machine does not \
              know; in that case join again, with a token from `kbmfa-server machine rotate NAME` and the \
              pin from `kbmfa-server ca show`"
            .into(),
    }
}

fn of_refusal(code: &str, stage: Stage) -> &'static str {
    match (code, stage) {
        ("token-refused", _) => {
            "a token is valid for one machine, once, for one hour; `kbmfa-server machine join-token NAME` \
             makes another"
        }
        ("unauthorized", Stage::Joined) => {
            "join again: `kbmfa-server machine rotate NAME` on the server's host prints a token; if the \
             machine was removed, run `machine add` first"
        }
        ("too-many-requests", _) => "try again in a minute",
        _ => "`kbmfa-server doctor` on the server's host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbmfa_proto::problem::Problem;
    use kbmfa_proto::text::SafeText;

    fn check(error: impl Into<CallError>, stage: Stage, expected: &str) {
        let cure = cure(&error.into(), "kbmfa.example", stage);
        assert!(cure.contains(expected), "{cure}");
        let is_named = cure.contains("refresh") || (cure.contains("--pin") && !expected.contains("--pin"));
        assert!(!is_named, "this cures nothing here: {cure}");
    }

    fn tls(error: CertificateError) -> CallError {
        CallError::Tls(TlsError::InvalidCertificate(error))
    }

    #[test]
    fn each_failed_call_has_a_fix() {
        for stage in [Stage::Join, Stage::Joined] {
            check(CallError::Connect(ErrorKind::ConnectionRefused.into()), stage, "nothing listens");
            check(CallError::Connect(ErrorKind::TimedOut.into()), stage, "firewall");
            check(tls(CertificateError::Expired), stage, "date -u");
            check(tls(CertificateError::NotValidYet), stage, "date -u");
            check(tls(CertificateError::NotValidForName), stage, "add \"kbmfa.example\" to `names`");
            check(CallError::Tls(TlsError::DecryptError), stage, "check that kbmfa-server listens");
            check(CallError::Garbage("html".into()), stage, "check that kbmfa-server listens");
            check(CallError::Timeout, stage, "try again");
        }
        check(CallError::Tls(TlsError::General("no such pin".into())), Stage::Join, "compare --pin");
        check(tls(CertificateError::UnknownIssuer), Stage::Joined, "kbmfa-server ca show");
    }

    #[test]
    fn a_refused_token_and_a_refused_credential_have_different_fixes() {
        let refused = |code: &str| {
            CallError::Refused(Problem {
                code: SafeText::new(code),
                status: 403,
                title: SafeText::new("No"),
                detail: None,
            })
        };
        check(refused("token-refused"), Stage::Join, "machine join-token NAME");
        check(refused("unauthorized"), Stage::Joined, "machine rotate NAME");
        check(refused("too-many-requests"), Stage::Join, "in a minute");
    }
}
