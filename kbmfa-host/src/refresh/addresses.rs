//! Updates the servers' addresses in pam.toml. A login never looks a name up, so without this nobody could
//! log in after a server has moved.
//!
//! An address is written only after the server has answered there, with a certificate that the current CAs
//! vouch for, and has accepted this machine's credential. So an attacker gains nothing by forged DNS replies.

use kbmfa_proto::client::{Client, Method, Target};
use kbmfa_proto::machine::Machine;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use toml_edit::{Array, DocumentMut, value};

use crate::{Error, Report, names, place};
use pam_kbmfa::config::access::Access;
use pam_kbmfa::config::{ADDRESS_TIME, ADDRESSES_MAX, Config};

/// The new addresses of one server in pam.toml.
struct Moved {
    host: String,
    addresses: Vec<IpAddr>,
}

/// Looks every server's name up; writes pam.toml if one has moved. Returns the configuration in force.
pub(super) fn refresh(
    path: &Path,
    config: Config,
    access: &Access,
    out: &mut Report<'_>,
) -> Result<Config, Error> {
    let mut moved = Vec::new();
    for (host, port, on_file) in servers(&config) {
        let looked_up = match names::look_up(&host, port) {
            Ok(found) => found.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
            Err(error) => {
                out.warning(format_args!(
                    "cannot look up {host}, so its addresses were not changed: {error}"
                ))?;
                continue;
            }
        };
        if same(&looked_up, &on_file) {
            continue;
        }
        let answers = |ip: IpAddr| is_the_server(&host, SocketAddr::new(ip, port), access);
        match choose(&on_file, &looked_up, answers) {
            Some(addresses) if !same(&addresses, &on_file) => moved.push(Moved { host, addresses }),
            Some(_) => {}
            None => out.warning(format_args!(
                "{host} is {} now, but this server does not answer there, so its addresses were not changed",
                list(&looked_up)
            ))?,
        }
    }
    if moved.is_empty() {
        return Ok(config);
    }
    let written = write(path, &moved)?;
    out.item("wrote", path.display())?;
    for Moved { host, addresses } in &moved {
        out.item("address", format_args!("{host}: {}", list(addresses)))?;
    }
    Ok(written)
}

/// Each server that is known by its name, with its port and its addresses on file.
fn servers(config: &Config) -> Vec<(String, u16, Vec<IpAddr>)> {
    let mut servers: Vec<(String, u16, Vec<IpAddr>)> = Vec::new();
    for Target { host, address } in &config.targets {
        if host.parse::<IpAddr>().is_ok() {
            continue;
        }
        match servers.iter_mut().find(|(known, _, _)| known == host) {
            Some((_, _, addresses)) if addresses.contains(&address.ip()) => {}
            Some((_, _, addresses)) => addresses.push(address.ip()),
            None => servers.push((host.clone(), address.port(), vec![address.ip()])),
        }
    }
    servers
}

/// The new list: first the looked-up addresses at which the server answers, then those of the file, which may
/// only be down. `None` if the server answers at no address.
fn choose(on_file: &[IpAddr], looked_up: &[IpAddr], answers: impl Fn(IpAddr) -> bool) -> Option<Vec<IpAddr>> {
    let looked_up = looked_up.get(..ADDRESSES_MAX).unwrap_or(looked_up);
    let (mut proven, others): (Vec<IpAddr>, Vec<IpAddr>) =
        looked_up.iter().copied().partition(|ip| answers(*ip));
    if proven.is_empty() {
        return None;
    }
    proven.extend(others.into_iter().filter(|ip| on_file.contains(ip)));
    Some(proven)
}

fn same(some: &[IpAddr], others: &[IpAddr]) -> bool {
    some.len() == others.len() && some.iter().all(|ip| others.contains(ip))
}

fn is_the_server(host: &str, address: SocketAddr, access: &Access) -> bool {
    let (target, nothing): (_, Option<&()>) = (Target { host: host.to_owned(), address }, None);
    let client = Client::new(&target, &access.trust, Some(&access.authorization()), None);
    let answer = client.and_then(|client| {
        client.call::<(), Machine>(Method::GET, "/v1/machines/self", nothing, ADDRESS_TIME)
    });
    answer.is_ok()
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Replaces these addresses in pam.toml. Changes nothing else, and writes nothing that the module would
/// refuse.
fn write(path: &Path, moved: &[Moved]) -> Result<Config, Error> {
    let cannot =
        |error: &dyn std::fmt::Display| Error::new(format_args!("cannot change {}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| cannot(&error))?;
    let text = edited(&text, moved).map_err(|error| cannot(&error))?;
    let config = Config::parse(path, &text).map_err(|faults| Error::all(&faults))?;
    let mode = fs::metadata(path).map_err(|error| cannot(&error))?.permissions().mode() & 0o777;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(cannot(&"it has no name"));
    };
    place::replace(dir, name, mode, &text).map_err(|error| cannot(&error))?;
    Ok(config)
}

fn edited(text: &str, moved: &[Moved]) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    for Moved { host, addresses } in moved {
        let list: Array = addresses.iter().map(IpAddr::to_string).collect();
        let table = document.get_mut("addresses").and_then(|item| item.as_table_like_mut());
        if let Some(item) = table.and_then(|table| table.get_mut(host)) {
            *item = value(list);
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_addresses_at_which_the_server_answers_come_in_and_those_that_are_only_down_stay() {
        let check = |on_file: &[&str], looked_up: &[&str], answering: &[&str], expected: Option<&[&str]>| {
            let answering = ips(answering);
            let chosen = choose(&ips(on_file), &ips(looked_up), |ip| answering.contains(&ip));
            assert_eq!(chosen, expected.map(ips), "{on_file:?} {looked_up:?}");
        };
        let (old, new, forged) = ("192.0.2.1", "192.0.2.2", "198.51.100.9");
        check(&[old], &[new], &[new], Some(&[new]));
        check(&[old], &[new], &[], None);
        check(&[old], &[forged], &[old], None);
        check(&[old], &[forged, new], &[new], Some(&[new]));
        check(&[old, new], &[forged, old, new], &[new], Some(&[new, old]));
        check(&[old], &[], &[old], None);
    }

    #[test]
    fn nothing_else_in_the_file_changes() {
        let text = "# mine\nservers = [\"https://a.example:1\", \"https://b.example\"] # both\n\n\
                    [addresses] # theirs\n\"a.example\" = [\"192.0.2.1\"]\n\"b.example\" = [\"192.0.2.9\"]\n";
        let moved = [Moved { host: "a.example".into(), addresses: ips(&["192.0.2.2", "2001:db8::2"]) }];
        let expected = text.replace("[\"192.0.2.1\"]", "[\"192.0.2.2\", \"2001:db8::2\"]");
        assert_eq!(edited(text, &moved).unwrap(), expected);
    }
}
