//! Parses the values that sshd puts into PAM's environment. Pure. sshd writes these texts, but parts of them
//! come from the network.

use kbmfa_proto::login::{KEY_BYTES_MAX, SshConnection};
use std::net::{IpAddr, SocketAddr};

/// The public key authentication that sshd reports in `SSH_AUTH_INFO_0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Publickey {
    /// The key, as `algorithm base64`.
    Told(String),
    /// A key that cannot be passed on: too long, or not in the usual format.
    Unsupported,
}

/// The origin of a login, read before others could change PAM's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) Option<SshConnection>);

/// The contents of `SSH_CONNECTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Not set: the caller is not sshd.
    Absent,
    /// sshd does not know the addresses, for example when it serves a pipe.
    Unknown,
    /// Both addresses.
    Known(SshConnection),
    /// A value that sshd never writes, so somebody else has set it.
    Malformed,
}

impl Ends {
    /// The two addresses, if they are known.
    pub(crate) fn known(self) -> Option<SshConnection> {
        if let Self::Known(ssh) = self { Some(ssh) } else { None }
    }
}

/// Reads `SSH_CONNECTION`: client address and port, server address and port.
pub(crate) fn connection(text: &str) -> Ends {
    match ends(text) {
        Some(ssh) => Ends::Known(ssh),
        None if is_without_addresses(text) => Ends::Unknown,
        None => Ends::Malformed,
    }
}

fn ends(text: &str) -> Option<SshConnection> {
    let mut words = text.split(' ');
    let mut next = || end(words.next()?, words.next()?);
    let connection = SshConnection { client: next()?, server: next()? };
    words.next().is_none().then_some(connection)
}

fn end(address: &str, port: &str) -> Option<SocketAddr> {
    // A link-local address contains the interface's name, which only this computer understands.
    let (address, _interface) = address.split_once('%').unwrap_or((address, ""));
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
}

/// Whether this `SSH_CONNECTION` is of a connection without network addresses: a unix socket (systemd's
/// `sshd-unix-local`), a vsock or a pipe. In place of an address sshd writes UNKNOWN, or the path of the
/// socket.
fn is_without_addresses(text: &str) -> bool {
    let mut words = text.split(' ');
    let mut no_address = || {
        let (address, port) = (words.next()?, words.next()?);
        let known = ["UNKNOWN", ""].contains(&address) || address.starts_with('/');
        (known && port.parse::<u32>().is_ok()).then_some(())
    };
    no_address().and_then(|()| no_address()).is_some() && words.next().is_none()
}

/// Whether `SSH_AUTH_INFO_0` has host-based authentication among the methods that have succeeded.
pub(crate) fn is_hostbased(text: &str) -> bool {
    text.lines().any(|line| line.split(' ').next() == Some("hostbased"))
}

/// The first public key in `SSH_AUTH_INFO_0`, which has one line for each method that has succeeded.
pub(crate) fn publickey(text: &str) -> Option<Publickey> {
    let key = text.lines().find_map(|line| line.strip_prefix("publickey "))?;
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    let usual = key.split_once(' ').is_some_and(|(algorithm, base64)| plain(algorithm) && plain(base64));
    if usual && key.len() <= KEY_BYTES_MAX {
        Some(Publickey::Told(key.to_owned()))
    } else {
        Some(Publickey::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_ends_of_a_connection_are_read() {
        let read = ends("192.0.2.1 50000 2001:db8::2 22").unwrap();
        assert_eq!(read.client, "192.0.2.1:50000".parse().unwrap());
        assert_eq!(read.server, "[2001:db8::2]:22".parse().unwrap());
        let local = ends("fe80::1%eth0 50000 fe80::2%eth0 22").unwrap();
        assert_eq!(local.client, "[fe80::1]:50000".parse().unwrap());
    }

    #[test]
    fn a_value_that_sshd_never_writes_is_malformed_and_not_absent() {
        assert_eq!(connection("UNKNOWN 65535 UNKNOWN 65535"), Ends::Unknown);
        for text in [
            "",
            "x",
            "UNKNOWN 65535 UNKNOWN 65535 ",
            "UNKNOWN x UNKNOWN 65535",
            "192.0.2.1 1 192.0.2.2",
            "192.0.2.1 1 192.0.2.2 22 x",
            "192.0.2.1  1 192.0.2.2 22",
            "\u{fffd}",
        ] {
            assert_eq!(connection(text), Ends::Malformed, "{text}");
        }
    }

    #[test]
    fn a_connection_without_addresses_is_known_by_what_sshd_writes_for_them() {
        for text in ["UNKNOWN 65535 UNKNOWN 65535", "UNKNOWN 0 /run/ssh-unix-local/socket 0", " 65535  65535"]
        {
            assert_eq!(connection(text), Ends::Unknown, "{text}");
        }
        for text in
            ["", "UNKNOWN", "192.0.2.1 1 192.0.2.2 22", "UNKNOWN 1 UNKNOWN x", "UNKNOWN 1 UNKNOWN 1 1"]
        {
            assert!(!is_without_addresses(text), "{text}");
        }
    }

    #[test]
    fn host_based_authentication_is_found_among_other_methods() {
        assert!(is_hostbased("hostbased ssh-ed25519 AAAA client user \"bob\", client host \"web2\"\n"));
        assert!(is_hostbased("password\nhostbased\n"));
        assert!(!is_hostbased("publickey ssh-ed25519 hostbased\n") && !is_hostbased(""));
    }

    #[test]
    fn a_key_is_found_among_other_methods() {
        let told = |key: &str| Some(Publickey::Told(key.into()));
        assert_eq!(publickey("publickey ssh-ed25519 AAAA\n"), told("ssh-ed25519 AAAA"));
        assert_eq!(publickey("password\npublickey ssh-rsa BBBB\n"), told("ssh-rsa BBBB"));
        for text in ["", "password\n", "keyboard-interactive/pam\n", "publickey", "hostbased publickey x y\n"]
        {
            assert_eq!(publickey(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_passed_on_still_proves_a_first_factor() {
        let long = format!("publickey ssh-rsa {}\n", "A".repeat(KEY_BYTES_MAX));
        for text in
            [long.as_str(), "publickey ssh-rsa\n", "publickey ssh-rsa A\u{1b}[2J\n", "publickey a b c\n"]
        {
            assert_eq!(publickey(text), Some(Publickey::Unsupported), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_connection_reads_back_as_it_was_written(client: SocketAddr, server: SocketAddr) {
            let text = format!("{} {} {} {}", client.ip(), client.port(), server.ip(), server.port());
            let read = ends(&text).unwrap();
            prop_assert_eq!((read.client.ip(), read.client.port()), (client.ip(), client.port()));
            prop_assert_eq!((read.server.ip(), read.server.port()), (server.ip(), server.port()));
        }

        #[test]
        fn a_reported_key_is_always_short_and_visible(text in "(publickey )?(\\PC|\n| ){0,200}") {
            let _ = connection(&text);
            if let Some(Publickey::Told(key)) = publickey(&text) {
                prop_assert!(key.len() <= KEY_BYTES_MAX && !key.chars().any(char::is_control));
            }
        }
    }
}
