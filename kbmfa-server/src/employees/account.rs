//! Which Unix names an employee may have. Pure.

use kbmfa_proto::names::UserName;

/// The account with which the server will reach machines. No employee may have it.
pub const SSH_ADMIN: &str = "ssh-admin";

/// Longest Unix name, in bytes: the limit of `useradd` and `utmp`.
const NAME_MAX: usize = 32;

/// Accounts that Linux distributions and common services use for themselves.
const SYSTEM: &[&str] = &[
    "_apt",
    "adm",
    "avahi",
    "backup",
    "bin",
    "chrony",
    "cron",
    "daemon",
    "dbus",
    "ftp",
    "games",
    "gnats",
    "guest",
    "halt",
    "http",
    "irc",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "mysql",
    "named",
    "news",
    "nginx",
    "nobody",
    "nogroup",
    "ntp",
    "operator",
    "polkitd",
    "postfix",
    "postgres",
    "postgresql",
    "proxy",
    "redis",
    "root",
    "rpc",
    "rpcuser",
    "rtkit",
    "shadow",
    "shutdown",
    "sshd",
    "sssd",
    "staff",
    "sudo",
    "sync",
    "sys",
    "syslog",
    "tcpdump",
    "toor",
    "tss",
    "tty",
    "uucp",
    "uuidd",
    "wheel",
    "www-data",
    "kbmfa",
];

/// Why an employee may not have a Unix name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAccount {
    /// It does not have the form that `useradd` accepts everywhere.
    #[error(
        "Unix name {0:?} is not valid: use 1 to 32 of a-z, 0-9, hyphen and underscore, starting with a letter \
         or underscore"
    )]
    Form(String),
    /// The system, or a common service, uses it.
    #[error("{0} is an account of the system or of a service; give the person a name of their own")]
    System(String),
    /// The server itself uses it to reach machines.
    #[error(
        "{SSH_ADMIN} is the account with which the server reaches machines; give the person another name"
    )]
    SshAdmin,
    /// The uid belongs to the system, or means nobody.
    #[error("uid {0} is not for people: use 1000 to 2000000000, but not 65534 or 65535")]
    Uid(u32),
}

/// Checks the Unix name of a new employee.
///
/// # Errors
/// [`BadAccount`].
pub fn check(name: &UserName) -> Result<(), BadAccount> {
    let text = name.as_str();
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    if text.len() > NAME_MAX || !text.starts_with(first) || !text.chars().all(rest) {
        return Err(BadAccount::Form(text.chars().take(80).collect()));
    }
    if text == SSH_ADMIN {
        return Err(BadAccount::SshAdmin);
    }
    if SYSTEM.contains(&text) || text.starts_with("systemd-") {
        return Err(BadAccount::System(text.to_owned()));
    }
    Ok(())
}

/// Checks a uid that the operator chose.
///
/// # Errors
/// [`BadAccount::Uid`].
pub fn check_uid(uid: u32) -> Result<(), BadAccount> {
    let is_personal = (1000..=2_000_000_000).contains(&uid) && ![65_534, 65_535].contains(&uid);
    if is_personal { Ok(()) } else { Err(BadAccount::Uid(uid)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_name_fits_every_useradd_and_is_no_account_of_the_system() {
        let longest = "a".repeat(32);
        for good in ["alice", "_x", "a-b_c9", longest.as_str(), "systemd", "ssh-admin2"] {
            assert_eq!(check(&good.parse().unwrap()), Ok(()), "{good}");
        }
        let too_long = "a".repeat(33);
        for bad in
            ["Alice", "-rf", "9lives", "a.b", "a b", "a/b", "..", "EXAMPLE\\alice", "älice", "a:b", &too_long]
        {
            let found = check(&bad.parse().unwrap());
            assert!(matches!(found, Err(BadAccount::Form(_))), "{bad}: {found:?}");
        }
        for system in ["root", "www-data", "systemd-network", "nobody", "sshd"] {
            assert_eq!(check(&system.parse().unwrap()), Err(BadAccount::System(system.into())));
        }
        assert_eq!(check(&"ssh-admin".parse().unwrap()), Err(BadAccount::SshAdmin));
    }

    #[test]
    fn a_chosen_uid_is_one_for_people() {
        for uid in [1000, 20_000, 65_533, 65_536, 2_000_000_000] {
            assert_eq!(check_uid(uid), Ok(()));
        }
        for uid in [0, 999, 65_534, 65_535, 2_000_000_001, u32::MAX] {
            assert_eq!(check_uid(uid), Err(BadAccount::Uid(uid)));
        }
    }
}
