//! `kbmfa-host refresh`: looks up the servers' addresses again, and fetches the list of CAs to trust over a
//! connection that is already trusted. It writes both to the machine's files.
//!
//! A list is written only after the server was reached with that list alone, so a refresh cannot lock the
//! machine out. It reports to the server which CAs the machine trusts, and sshd's public keys.

use kbmfa_proto::caller::Authorization;
use kbmfa_proto::client::{BadCa, Client, Error as CallError, Method, Target, Trust as Trusted, pin_of};
use kbmfa_proto::machine::{Authorities, Machine, Trust};
use kbmfa_proto::pin::Pin;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};

use super::{Error, Report, host_keys, place};
use pam_kbmfa::config::access::{Access, read_credential};
use pam_kbmfa::config::{ADDRESS_TIME, Ca};
use pam_kbmfa::files::{self, Kind};
use pam_kbmfa::host_id;
use pam_kbmfa::procfs::Proc;

mod addresses;

const ROUTE: &str = "/v1/machines/self/trust";

/// Look up the servers' addresses, fetch the CAs to trust, and write both into the files that a login reads.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "kbmfa-host-refresh.timer runs it every quarter of an hour: logins use the addresses in \
                  pam.toml, and `kbmfa-server ca rotate --switch` waits until every machine has refreshed."
)]
pub(super) struct Args {
    /// The module's configuration
    #[arg(long, default_value = pam_kbmfa::args::CONFIG, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    sshd: host_keys::Sshd,
}

pub(super) fn run(args: &Args, out: &mut Report<'_>) -> Result<(), Error> {
    let config = super::load(&args.config)?;
    let access = Access::read(&config).map_err(|faults| Error::all(&faults))?;
    let config = addresses::refresh(&args.config, config, &access, out)?;
    let host_keys = host_keys::served_by(&args.sshd);
    let mut failed = Vec::new();
    for target in &config.targets {
        let done = match &config.ca {
            Ca::File(path) => refresh(target, &access.trust, &access.authorization(), (path, &host_keys))
                .map(|outcome| (outcome, path.as_path())),
            // There is no list to write, but the server learns the host keys.
            Ca::System => {
                match tell(target, &access.trust, &access.authorization(), (Vec::new(), &host_keys)) {
                    Err(error) if !is_older_server(&error) => Err(error.into()),
                    _ => Ok((Outcome::System, Path::new(""))),
                }
            }
        };
        match done {
            Ok((outcome, path)) => return report(&outcome, path, out),
            Err(error) => failed.push(format!("{}: {error}", target.address)),
        }
    }
    Err(Error::all(&failed))
}

/// The result of a refresh of the CA list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The file was up to date.
    Unchanged(Vec<Pin>),
    /// The file was replaced.
    Replaced(Vec<Pin>),
    /// The server has no list.
    Nothing,
    /// The machine trusts the system's CAs, so it has no list.
    System,
}

pub(super) fn report(outcome: &Outcome, path: &Path, out: &mut Report<'_>) -> Result<(), Error> {
    let (word, pins) = match outcome {
        Outcome::System => {
            out.advice("nothing to do: pam.toml trusts the system's CAs")?;
            return Ok(());
        }
        Outcome::Nothing => {
            out.advice("nothing to do: the server does not use a CA of its own")?;
            return Ok(());
        }
        Outcome::Unchanged(pins) => ("unchanged", pins),
        Outcome::Replaced(pins) => ("wrote", pins),
    };
    out.item(word, path.display())?;
    for pin in pins {
        out.item("trusts", pin)?;
    }
    Ok(())
}

/// Why there is no new list.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the server's CAs cannot be used: {0}")]
    Unusable(#[from] BadCa),
    #[error("the server's CAs do not vouch for the server itself, so the file was not changed: {0}")]
    Unproven(CallError),
    #[error("cannot read {path}: {cause}")]
    Unreadable { path: String, cause: files::Error },
    #[error("cannot write {path}: {cause}")]
    Unwritable { path: String, cause: std::io::Error },
}

pub(super) fn refresh(
    target: &Target,
    trust: &Trusted,
    authorization: &Authorization<'_>,
    (path, host_keys): (&Path, &[String]),
) -> Result<Outcome, Failure> {
    let on_file = files::read(path, Kind::Public)
        .map_err(|cause| Failure::Unreadable { path: path.display().to_string(), cause })?;
    let given = tell(target, trust, authorization, (pins(on_file.as_bytes()), host_keys))?;
    if given.cas.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let list = given.cas.concat();
    let found = pins(list.as_bytes());
    if list == *on_file {
        return Ok(Outcome::Unchanged(found));
    }
    let new_trust = Trusted::in_cas(list.as_bytes())?;
    let nothing: Option<&()> = None;
    let _: Machine = Client::new(target, &new_trust, Some(authorization), None)?
        .call(Method::GET, "/v1/machines/self", nothing, ADDRESS_TIME)
        .map_err(Failure::Unproven)?;
    write(path, &list).map_err(|cause| Failure::Unwritable { path: path.display().to_string(), cause })?;
    tell(target, &new_trust, authorization, (found.clone(), host_keys))?;
    Ok(Outcome::Replaced(found))
}

fn tell(
    target: &Target,
    trust: &Trusted,
    authorization: &Authorization<'_>,
    (pins, host_keys): (Vec<Pin>, &[String]),
) -> Result<Authorities, CallError> {
    let client = Client::new(target, trust, Some(authorization), None)?;
    let host = host_id::read(Path::new(host_id::MACHINE_ID), &Proc::default());
    let host_keys = host_keys.to_vec();
    client.call(Method::POST, ROUTE, Some(&Trust { pins, host, host_keys }), ADDRESS_TIME)
}

/// An older server does not know the route.
fn is_older_server(error: &CallError) -> bool {
    matches!(error, CallError::Refused(problem) if problem.code.as_str() == "not-found")
}

fn write(path: &Path, list: &str) -> std::io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => place::replace(dir, name, place::PUBLIC, list),
        _ => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

fn pins(pem: &[u8]) -> Vec<Pin> {
    CertificateDer::pem_slice_iter(pem).filter_map(|certificate| pin_of(&certificate.ok()?)).collect()
}

/// Refreshes the list right after joining, with the files that were just written.
pub(super) fn after_join(
    target: &Target,
    trust: &Trusted,
    (dir, host_keys): (&Path, &[String]),
) -> Result<Outcome, Error> {
    let credential = read_credential(&dir.join("credential")).map_err(Error::new)?;
    match refresh(target, trust, &Authorization::Bearer(&credential), (&dir.join("ca.pem"), host_keys)) {
        Ok(outcome) => Ok(outcome),
        // An older server has no list, so the machine trusts only the pinned CA.
        Err(Failure::Call(error)) if is_older_server(&error) => Ok(Outcome::Nothing),
        Err(error) => {
            Err(Error::new(format_args!("joined, but the list of CAs could not be fetched: {error}"))
                .hint("kbmfa-host refresh"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(outcome: &Outcome) -> String {
        let mut out = Vec::new();
        report(outcome, Path::new("/etc/kbmfa/ca.pem"), &mut Report::new(&mut out, false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_outcome_is_printed_with_the_pins_that_are_trusted_now() {
        let pin = Pin::from_sha256([0xa7; 32]);
        let trusts = format!("trusts     {pin}\n");
        let wrote = said(&Outcome::Replaced(vec![pin, pin]));
        assert_eq!(wrote, format!("wrote      /etc/kbmfa/ca.pem\n{trusts}{trusts}"));
        assert_eq!(said(&Outcome::Unchanged(vec![pin])), format!("unchanged  /etc/kbmfa/ca.pem\n{trusts}"));
        for nothing in [Outcome::Nothing, Outcome::System] {
            assert!(said(&nothing).starts_with("nothing to do"));
        }
    }

    #[test]
    fn a_text_without_certificates_has_no_pins() {
        assert!(pins(b"words").is_empty());
        assert!(pins(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_empty());
    }
}
