//! The configuration that an administrator writes: sshd's configuration and PAM stack for each of the three
//! phases, exactly as documented, and the accounts of a machine.

/// The module's phase in sshd's PAM stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Key and approval. It works for everything, including scp and `BatchMode`.
    Account,
    /// Key and approval, with a conversation.
    Auth,
    /// Approval after sshd has let the person in.
    Session,
}

/// The users of a machine: name and uid. Each has the test's key, a home and a shell.
pub const USERS: [(&str, u32); 3] = [("alice", 2001), ("bob", 2002), ("carol", 2003)];

/// Bob's password.
pub const PASSWORD_OF_BOB: &str = "open sesame";

/// A stack for `/etc/pam.d/sshd` that lets in everybody with a key and asks nobody.
pub const FREE: &str = "auth required pam_deny.so
account required pam_unix.so
session required pam_unix.so
";
const HASH_OF_BOB: &str =
    "$6$kbmfatest$vLVQST.whtc1z50jh3zEEaQmz2ebydowXp.zkf4dUAzkBFtI3Hxs9Q0g1J3TVeUjX3c1cSg3riSqtEtJdmxqa0";

/// The packaged line that reports sessions, for the end of `/etc/pam.d/sshd`.
pub const REPORTING: &str = include_str!("../../packaging/pam/sshd-report");

/// The packaged lines for `/etc/pam.d/sudo`, followed by Debian's own lines.
pub const SUDO: &str = concat!(
    include_str!("../../packaging/pam/sudo-auth"),
    "account required pam_unix.so\nsession required pam_permit.so\n"
);

/// The packaged lines for `sudoers`.
pub const SUDOERS: &str = include_str!("../../packaging/sudo/sudoers");

impl Phase {
    /// The packaged line for `/etc/pam.d/sshd` and the packaged lines for `sshd_config`.
    fn packaged(self) -> (&'static str, &'static str) {
        match self {
            Self::Account => (
                include_str!("../../packaging/pam/sshd-account"),
                include_str!("../../packaging/sshd/account.conf"),
            ),
            Self::Auth => (
                include_str!("../../packaging/pam/sshd-auth"),
                include_str!("../../packaging/sshd/auth.conf"),
            ),
            Self::Session => (
                include_str!("../../packaging/pam/sshd-session"),
                include_str!("../../packaging/sshd/session.conf"),
            ),
        }
    }
}

/// A stack for `/etc/pam.d/sshd` that has the module's line in the phase's place.
pub fn pam_stack(phase: Phase, arguments: &str) -> String {
    let line = format!("{} {arguments}\n", phase.packaged().0.trim_end());
    match phase {
        Phase::Account => pam_stack_of("auth required pam_deny.so\n", &line, ""),
        Phase::Auth => pam_stack_of(&line, "", ""),
        Phase::Session => pam_stack_of("auth required pam_deny.so\n", "", &line),
    }
}

fn pam_stack_of(auth: &str, account: &str, session: &str) -> String {
    format!("{auth}{account}account required pam_unix.so\nsession required pam_unix.so\n{session}")
}

/// An `/etc/ssh/sshd_config`. sshd uses the first of several values, so `extra` overrides the rest.
pub fn sshd_config(phase: Phase, port: u16, extra: &str) -> String {
    format!(
        "{extra}
{}
ListenAddress 127.0.0.1
Port {port}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile none
LogLevel VERBOSE
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
",
        phase.packaged().1
    )
}

/// The files `/etc/passwd`, `/etc/shadow` and `/etc/group`, each with its mode.
pub fn accounts() -> [(&'static str, u32, String); 3] {
    let system = [
        ("root", 0, "/root:/bin/bash"),
        ("sshd", 110, "/run/sshd:/bin/false"),
        ("nobody", 65534, "/:/bin/false"),
    ];
    let mut passwd: Vec<String> =
        system.iter().map(|(name, id, rest)| format!("{name}:x:{id}:{id}::{rest}")).collect();
    let mut shadow: Vec<String> = system.iter().map(|(name, ..)| format!("{name}:*:20000::::::")).collect();
    let mut group: Vec<String> = system.iter().map(|(name, id, _)| format!("{name}:x:{id}:")).collect();
    group.extend(["tty:x:5:", "shadow:x:42:", "utmp:x:43:"].map(str::to_owned));
    for (name, id) in USERS {
        let hash = if name == "bob" { HASH_OF_BOB } else { "*" };
        passwd.push(format!("{name}:x:{id}:{id}::/home/{name}:/bin/bash"));
        shadow.push(format!("{name}:{hash}:20000::::::"));
        group.push(format!("{name}:x:{id}:"));
    }
    let text = |lines: Vec<String>| lines.join("\n") + "\n";
    [
        ("etc/passwd", 0o644, text(passwd)),
        ("etc/shadow", 0o640, text(shadow)),
        ("etc/group", 0o644, text(group)),
    ]
}
