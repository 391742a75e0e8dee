//! The server's own ssh logins to machines that run the module. Before it connects, the server announces between which
//! two ends it will: the login that the machine then reports for them needs no human. Pure.

use kbmfa_proto::login::SshConnection;
use kbmfa_proto::names::UserName;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Time;
use crate::source::Address;

/// Longest time for which an announcement counts.
pub const LIFE: Duration = Duration::from_secs(60);

/// How much the clocks of two servers with one database may differ.
const SKEW: Duration = Duration::from_secs(5);

/// How long the reports about the session of such a login are recognised: longer than the longest pass.
pub const REMEMBERED: Duration = Duration::from_secs(300);

/// What the server announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The machine that will be connected to.
    pub machine_id: String,
    /// The account to log in to.
    pub account: UserName,
    /// The two ends, as this server has them.
    pub ends: SshConnection,
    /// The addresses that the machine may see in place of the server's, because it is behind NAT. Empty: none but its own.
    pub nat: Vec<Address>,
    /// Fingerprint of the key that is used.
    pub key: String,
}

/// An announcement, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLogin {
    /// Random.
    pub id: String,
    /// What was announced.
    pub announced: Announcement,
    /// From then on it lets nobody in.
    pub expires_at: Time,
    /// The connection that has used it up.
    pub connection: Option<String>,
}

/// A connection as its machine reports it, which may claim anything about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The account that is logged in to.
    pub account: &'a UserName,
    /// The two ends.
    pub ends: SshConnection,
    /// The id of the connection, the same in every phase.
    pub connection: &'a str,
    /// Fingerprint of the key, where sshd tells it.
    pub key: Option<String>,
}

/// How a connection was recognised; the surest way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// By both addresses and both ports.
    Ends,
    /// By the source address that the configuration names for this machine.
    Nat,
}

impl By {
    /// One word for the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::Nat => "nat",
        }
    }
}

impl OwnLogin {
    /// Whether this connection is the announced one. An announcement is for one connection: once used, for no other.
    pub fn recognises(&self, seen: &Seen<'_>, now: Time) -> Option<By> {
        let Announcement { account, ends, nat, key, .. } = &self.announced;
        // A time that is further away was written before the clock was set back.
        let is_live = now < self.expires_at && self.expires_at <= now + LIFE + SKEW;
        let is_free = self.connection.as_deref().is_none_or(|used_by| used_by == seen.connection);
        let is_key = seen.key.as_ref().is_none_or(|seen| seen == key);
        if !(is_live && is_free && is_key && account == seen.account) {
            return None;
        }
        if is_same(ends.client, seen.ends.client) && is_same(ends.server, seen.ends.server) {
            return Some(By::Ends);
        }
        nat.contains(&seen.ends.client.ip().into()).then_some(By::Nat)
    }
}

/// The same address and port. The zone of a link-local address differs between two hosts, and is not compared.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && Address::from(one.ip()) == Address::from(other.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Time = Time::from_micros(1_800_000_000_000_000);

    fn ends(client: &str, server: &str) -> SshConnection {
        SshConnection { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    fn own() -> OwnLogin {
        OwnLogin {
            id: "1".into(),
            announced: Announcement {
                machine_id: "m".into(),
                account: "ssh-admin".parse().unwrap(),
                ends: ends("192.0.2.1:40000", "192.0.2.9:22"),
                nat: Vec::new(),
                key: "SHA256:own".into(),
            },
            expires_at: NOW + LIFE,
            connection: None,
        }
    }

    fn recognised(own: &OwnLogin, ends: SshConnection, account: &str, key: Option<&str>) -> Option<By> {
        let account = account.parse().unwrap();
        let seen = Seen { account: &account, ends, connection: "c", key: key.map(str::to_owned) };
        own.recognises(&seen, NOW)
    }

    #[test]
    fn only_the_announced_connection_account_and_key_are_recognised() {
        let right = own().announced.ends;
        let check = |ends: SshConnection, account: &str, key: Option<&str>, expected: Option<By>| {
            assert_eq!(recognised(&own(), ends, account, key), expected, "{ends:?} {account} {key:?}");
        };
        check(right, "ssh-admin", None, Some(By::Ends));
        check(right, "ssh-admin", Some("SHA256:own"), Some(By::Ends));
        check(ends("[::ffff:192.0.2.1]:40000", "[::ffff:192.0.2.9]:22"), "ssh-admin", None, Some(By::Ends));
        check(right, "ssh-admin", Some("SHA256:other"), None);
        check(right, "root", None, None);
        check(right, "ssh-admin2", None, None);
        check(ends("192.0.2.1:40001", "192.0.2.9:22"), "ssh-admin", None, None);
        check(ends("192.0.2.2:40000", "192.0.2.9:22"), "ssh-admin", None, None);
        check(ends("192.0.2.1:40000", "192.0.2.8:22"), "ssh-admin", None, None);
        check(ends("192.0.2.1:40000", "192.0.2.9:2222"), "ssh-admin", None, None);
        // The ends the other way round.
        check(ends("192.0.2.9:22", "192.0.2.1:40000"), "ssh-admin", None, None);
    }

    #[test]
    fn an_announcement_counts_for_a_minute_whatever_the_clock_does() {
        let at = |now: Time, own: &OwnLogin| {
            let seen = Seen {
                account: &own.announced.account,
                ends: own.announced.ends,
                connection: "c",
                key: None,
            };
            own.recognises(&seen, now)
        };
        let own = own();
        assert_eq!(at(own.expires_at.minus(Duration::from_micros(1)), &own), Some(By::Ends));
        assert_eq!(at(own.expires_at, &own), None);
        assert_eq!(at(NOW.minus(Duration::from_secs(4)), &own), Some(By::Ends));
        assert_eq!(at(NOW.minus(Duration::from_secs(6)), &own), None);
    }

    #[test]
    fn behind_nat_the_address_counts_that_is_set_for_the_machine_and_no_other() {
        let mut own = own();
        let seen = ends("198.51.100.7:55555", "10.0.0.9:22");
        assert_eq!(recognised(&own, seen, "ssh-admin", None), None);
        own.announced.nat = vec!["198.51.100.7".parse().unwrap()];
        assert_eq!(recognised(&own, seen, "ssh-admin", None), Some(By::Nat));
        assert_eq!(recognised(&own, seen, "alice", None), None);
        assert_eq!(recognised(&own, seen, "ssh-admin", Some("SHA256:other")), None);
        assert_eq!(recognised(&own, ends("198.51.100.8:55555", "10.0.0.9:22"), "ssh-admin", None), None);
        own.connection = Some("another".into());
        assert_eq!(recognised(&own, seen, "ssh-admin", None), None);
    }

    proptest! {
        #[test]
        fn a_used_announcement_is_for_the_connection_that_used_it_alone(used_by in "[a-c]", seen in "[a-c]") {
            let own = OwnLogin { connection: Some(used_by.clone()), ..own() };
            let account = own.announced.account.clone();
            let ends = own.announced.ends;
            let found = own.recognises(&Seen { account: &account, ends, connection: &seen, key: None }, NOW);
            prop_assert_eq!(found.is_some(), used_by == seen);
        }
    }
}
