//! How ssh reaches the machines: its command line, a marked block of `~/.ssh/config`, and a `known_hosts`
//! file with their pinned host keys.
//!
//! All are made of what the server sent, so each value is checked: none can add a line or an option of its
//! own.

use base64::Engine as _;
use kbmfa_proto::enrolment::{MachineView, PersonView};
use std::fmt::Write as _;
use std::path::Path;

use crate::os::Os;

const BEGIN: &str = "# >>> kbmfa: written by kbmfa-enroll, change nothing up to the end mark";
const END: &str = "# <<< kbmfa";

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The server sent a value that does not belong into a configuration.
    #[error(
        "the server sent {0:?} as a {1}, which cannot stand in ssh's configuration; tell your administrator"
    )]
    Value(String, &'static str),
    /// The path cannot be written there.
    #[error("ssh's configuration cannot name the path {0:?}")]
    Path(String),
    /// The file has a start of the block without an end.
    #[error(
        "the block of kbmfa-enroll in ssh's configuration has no end; remove the block by hand and try again"
    )]
    NoEnd,
}

fn checked<'a>(text: &'a str, what: &'static str, also: &str) -> Result<&'a str, Bad> {
    let fine = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && also.contains(':')))
        && text.len() <= 255
        && text.chars().all(fine)
    {
        Ok(text)
    } else {
        Err(Bad::Value(text.to_owned(), what))
    }
}

fn host_key(line: &str) -> Result<&str, Bad> {
    let bad = || Bad::Value(line.to_owned(), "host key");
    let (algorithm, base64) = line.split_once(' ').ok_or_else(bad)?;
    checked(algorithm, "host key", "-@.").map_err(|_| bad())?;
    base64::engine::general_purpose::STANDARD.decode(base64).map_err(|_| bad())?;
    Ok(line)
}

fn address(machine: &MachineView) -> Result<Option<&str>, Bad> {
    machine.address.as_deref().map(|address| checked(address, "address", ".:-")).transpose()
}

fn port(machine: &MachineView) -> u16 {
    machine.port.unwrap_or(22)
}

fn account(person: &PersonView) -> Result<&str, Bad> {
    checked(&person.unix_name, "Unix name", "_-")
}

/// The command line that connects to a machine, with the key of this file; none if the server does not know
/// its address.
pub(crate) fn command(
    os: Os,
    person: &PersonView,
    machine: &MachineView,
    identity: Option<&Path>,
) -> Result<Option<String>, Bad> {
    let Some(address) = address(machine)? else { return Ok(None) };
    let key = identity.and_then(|path| os.in_shell(path)).map(|path| format!("-i {path} "));
    let port = Some(port(machine)).filter(|port| *port != 22).map(|port| format!("-p {port} "));
    let (key, port) = (key.unwrap_or_default(), port.unwrap_or_default());
    Ok(Some(format!("ssh {key}{port}{}@{address}", account(person)?)))
}

/// The `known_hosts` file. (Writing to a `String` cannot fail, here and below.)
pub(crate) fn known_hosts(machines: &[MachineView]) -> Result<String, Bad> {
    let mut text = String::new();
    for machine in machines {
        let Some(address) = address(machine)? else { continue };
        let host = match port(machine) {
            22 => address.to_owned(),
            port => format!("[{address}]:{port}"),
        };
        for line in &machine.host_keys {
            let _ = writeln!(text, "{host} {}", host_key(line)?);
        }
    }
    Ok(text)
}

/// The block. It ends with `Match all`, so that what follows it in the file still holds for every host.
/// Machines without an address are left out.
pub(crate) fn block(os: Os, person: &PersonView, identity: &Path, known_hosts: &Path) -> Result<String, Bad> {
    let path = |path: &Path| os.in_config(path).ok_or_else(|| Bad::Path(path.display().to_string()));
    let account = account(person)?;
    let mut text = format!("{BEGIN}\n");
    for machine in &person.machines {
        let Some(address) = address(machine)? else { continue };
        let _ = write!(
            text,
            "Host {}\n    HostName {}\n    Port {}\n    User {account}\n    IdentityFile {}\n    IdentitiesOnly yes\n",
            checked(&machine.name, "machine name", "._-")?,
            address,
            port(machine),
            path(identity)?,
        );
        if !machine.host_keys.is_empty() {
            let _ = write!(
                text,
                "    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n",
                path(known_hosts)?
            );
        }
    }
    let _ = write!(text, "Match all\n{END}\n");
    Ok(text)
}

/// The file with this block in the place of the one that it had, or before all else: ssh takes the first
/// value that it finds.
pub(crate) fn with_block(file: &str, block: &str) -> Result<String, Bad> {
    let Some(start) = file.find(BEGIN) else {
        let gap = if file.is_empty() { "" } else { "\n" };
        return Ok(format!("{block}{gap}{file}"));
    };
    let (before, rest) = file.split_at(start);
    let (_, after) = rest.split_once(END).ok_or(Bad::NoEnd)?;
    let after = after.strip_prefix('\r').unwrap_or(after);
    Ok(format!("{before}{block}{}", after.strip_prefix('\n').unwrap_or(after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbmfa_proto::text::SafeText;

    fn person(change: impl FnOnce(&mut PersonView)) -> PersonView {
        let machine = MachineView {
            name: "web1".into(),
            address: Some("10.0.0.1".into()),
            port: Some(2222),
            host_keys: vec!["ssh-ed25519 AAAA".into()],
            until_us: None,
            placed: None,
        };
        let mut person = PersonView {
            email: "anna@example.com".into(),
            name: SafeText::new("Anna"),
            unix_name: "anna".into(),
            keys: vec![],
            machines: vec![machine],
            machines_left_out: 0,
            password_set_us: None,
        };
        change(&mut person);
        person
    }

    fn made(person: &PersonView) -> Result<String, Bad> {
        known_hosts(&person.machines)?;
        block(Os::Linux, person, Path::new("/h/.ssh/id"), Path::new("/h/.ssh/known_hosts_kbmfa"))
    }

    #[test]
    fn ssh_reads_the_block_and_what_follows_it() {
        let file = with_block("User root\n", &made(&person(|_| ())).unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, file).unwrap();
        let read = |host: &str| crate::fake::ssh_reads(&path, host);
        let web = read("web1");
        for line in [
            "hostname 10.0.0.1",
            "port 2222",
            "user anna",
            "identityfile /h/.ssh/id",
            "stricthostkeychecking true",
        ] {
            assert!(web.lines().any(|has| has == line), "{line} is not in\n{web}");
        }
        assert!(read("other").lines().any(|has| has == "user root"));
    }

    #[test]
    fn the_block_is_replaced_and_the_rest_of_the_file_stays() {
        let block = made(&person(|_| ())).unwrap();
        let once = with_block("Host mine\n", &block).unwrap();
        assert_eq!(with_block(&once, &block).unwrap(), once);
        let other = made(&person(|person| person.unix_name = "bo".into())).unwrap();
        assert_eq!(with_block(&once, &other).unwrap(), format!("{other}\nHost mine\n"));
        let by_windows = format!("{}Host mine\r\n", block.replace('\n', "\r\n"));
        assert_eq!(with_block(&by_windows, &block).unwrap(), format!("{block}Host mine\r\n"));
        assert_eq!(with_block(BEGIN, &block), Err(Bad::NoEnd));
    }

    #[test]
    fn a_command_line_has_what_ssh_would_not_find_by_itself() {
        let line = |change: fn(&mut PersonView), identity: Option<&str>| {
            let person = person(change);
            command(Os::Linux, &person, &person.machines[0], identity.map(Path::new))
        };
        let id = Some("/h/.ssh/id");
        assert_eq!(line(|_| (), id), Ok(Some("ssh -i /h/.ssh/id -p 2222 anna@10.0.0.1".into())));
        assert_eq!(line(|p| p.machines[0].port = None, None), Ok(Some("ssh anna@10.0.0.1".into())));
        assert_eq!(line(|_| (), Some("/$(x)/id")), Ok(Some("ssh -p 2222 anna@10.0.0.1".into())));
        assert_eq!(line(|p| p.machines[0].address = None, id), Ok(None));
        assert!(line(|p| p.machines[0].address = Some("a;reboot".into()), id).is_err());
        assert!(line(|p| p.unix_name = "-oProxyCommand=x".into(), id).is_err());
    }

    #[test]
    fn no_value_of_the_server_adds_a_line_or_an_option() {
        let with = |change: fn(&mut PersonView)| made(&person(change));
        assert!(with(|p| p.unix_name = "a\n  ProxyCommand x".into()).is_err());
        assert!(with(|p| p.machines[0].name = "web1 *".into()).is_err());
        assert!(with(|p| p.machines[0].name = "*".into()).is_err());
        assert!(with(|p| p.machines[0].address = Some("-oProxyCommand=x".into())).is_err());
        assert!(with(|p| p.machines[0].address = Some("a,b".into())).is_err());
        assert!(
            with(|p| p.machines[0].host_keys = vec!["ssh-ed25519 AAAA\n* ssh-ed25519 AAAA".into()]).is_err()
        );
    }

    #[test]
    fn a_host_key_stands_under_the_name_that_ssh_looks_up() {
        let line = |port| known_hosts(&person(|p| p.machines[0].port = port).machines).unwrap();
        assert_eq!(line(Some(2222)), "[10.0.0.1]:2222 ssh-ed25519 AAAA\n");
        assert_eq!(line(Some(22)), "10.0.0.1 ssh-ed25519 AAAA\n");
        assert_eq!(line(None), line(Some(22)));
    }
}
