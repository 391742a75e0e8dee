//! Names that are chosen to deceive a shell, a terminal, a log or a chat: names of accounts that do not
//! exist, and of hosts.

use kbmfa_tests::pamtester::Unprivileged;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::faults::SSHD;
use crate::story::{SHORT_WINDOW, TURNED_AWAY};

/// User names that an attacker may choose.
const ODD: [&str; 9] = [
    "$(reboot)",
    "`reboot`",
    "'; DROP TABLE login; --",
    "a|b&c>d<e",
    "-oProxyCommand=reboot",
    "%s%n%s%n",
    "*bold* @here",
    "back\\slash\"quote",
    "Zoë日本",
];

/// Characters that must never be displayed.
const UNSPEAKABLE: [&[u8]; 7] = [
    b"alice\nroot",
    b"alice\rroot",
    b"\x1b[2J\x1b]0;root\x07",
    b"\x7f",
    b"\xff\xfe",
    "alice\u{202e}toor".as_bytes(),
    "alice\u{200b}".as_bytes(),
];

/// A stack that calls the module even for accounts that do not exist, and trusts the modules before it.
const CALLED_FOR_ANYBODY: &str =
    "auth required pam_kbmfa.so first_factor=stack\naccount required pam_unix.so\n";
const SSHD_LINES: &str = "AuthenticationMethods keyboard-interactive:pam\nMaxStartups 100";

/// A host name that an attacker may choose.
const HOST: &str = "a\u{1b}[2J\u{202e}$(reboot).example";

/// Checks that the text has no control, invisible or direction characters.
fn assert_clean(text: &str) {
    let unclean = |c: &char| (c.is_control() && *c != '\n') || "\u{202e}\u{200b}".contains(*c);
    assert_eq!(text.chars().find(unclean), None, "{text:?}");
}

#[test]
fn no_name_of_an_account_is_more_than_a_text() {
    let world = World::with(&SHORT_WINDOW);
    let machine = world.machine().phase(Phase::Auth).pam_stack(CALLED_FOR_ANYBODY).sshd_lines(SSHD_LINES);
    let machine = machine.start();
    let (longest, too_long, flood) = ("x".repeat(256), "x".repeat(257), "\x1b[2J".repeat(1000));
    let odd: BTreeSet<&str> = ODD.into_iter().chain([longest.as_str()]).collect();
    let unspeakable = UNSPEAKABLE.into_iter().chain([too_long.as_bytes(), flood.as_bytes()]);
    let names: Vec<&[u8]> = odd.iter().map(|name| name.as_bytes()).chain(unspeakable).collect();
    let ((), took) = timed(|| {
        let logins: Vec<_> =
            names.iter().map(|name| machine.ssh_under_the_name(OsStr::from_bytes(name))).collect();
        for login in logins {
            let finished = login.wait();
            assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
        }
    });
    // Before OpenSSH 9.5, sshd reports a failure after twice the time that it took: here 14 s.
    assert!(took <= Duration::from_secs(14) + SSHD, "it took {took:?}");

    // Names that could be accounts wait until the window ends, and nobody is asked.
    let held = world.admin.logins(&[]);
    let shown: BTreeSet<&str> = held.iter().map(|(_, user)| user.as_str()).collect();
    assert_eq!(shown, odd);
    for (id, _) in &held {
        world.admin.assert_story(id, &["login.opened", "login.expired"]);
    }
    let refused = names.len() - odd.len();
    machine.syslog.so_many_with(refused, " from 127.0.0.1: refused, bad user name");
    machine.syslog.so_many_with(odd.len(), " from 127.0.0.1: expired (no-answer)");
    let lines = machine.syslog.lines_with("pam_kbmfa(");
    assert_eq!(lines.len(), names.len(), "one line each: {lines:#?}");
    let told = ["login list", "audit search"].map(|verb| {
        world.admin.run(&[&verb.split(' ').collect::<Vec<_>>()[..], &["--limit", "1000"]].concat())
    });
    lines.iter().map(|line| &line.text).chain(&told).for_each(|text| assert_clean(text));
    machine.assert_nothing_left();
}

#[test]
fn no_name_of_a_host_is_more_than_a_text() {
    let world = World::new();
    // sshd takes the client's name from /etc/hosts. pam_echo shows that the name got through.
    let stack = "auth required pam_deny.so\naccount optional pam_echo.so rhost=%H\n\
                 account required pam_kbmfa.so\nsession required pam_unix.so\n";
    let own = "printf 'web\\033[2J$(reboot)' > /proc/sys/kernel/hostname";
    let machine = world.machine().pam_stack(stack).before_sshd(own).sshd_lines("UseDNS yes").start();
    fs::write(machine.path("/etc/hosts"), format!("127.0.0.1 {HOST}\n")).unwrap();
    let login = machine.ssh("alice", &["hostname"]);
    let id = world.admin.pending();
    assert_eq!(world.admin.login(&id)["source"], "127.0.0.1");
    assert_eq!(world.admin.login(&id)["machine"], "web1");
    world.admin.approve(&id);
    let finished = login.wait();
    assert_eq!(finished.stdout, "web\u{1b}[2J$(reboot)\n");
    assert_eq!(finished.stderr, "rhost=a\\033[2j\u{202e}$(reboot).example\n");
    let line = &machine.syslog.lines_with("pam_kbmfa(")[0].text;
    assert!(line.ends_with("user alice from 127.0.0.1: approved"), "{line}");
    machine.assert_nothing_left();
}

#[test]
fn a_program_that_reports_such_a_host_has_it_spelled_out() {
    let world = World::new();
    let desk = Unprivileged::new(&world, "desk", "auth required MODULE first_factor=stack\n");
    let items = [format!("rhost={HOST}"), format!("tty={HOST}")];
    let client = desk.pamtester_with(&items.each_ref().map(String::as_str), "root", &["authenticate"]);
    let id = world.admin.pending();
    assert_eq!(world.admin.login(&id)["source"], "a\\u{1b}[2J\\u{202e}$(reboot).example");
    for verb in [&["login", "list"][..], &["login", "show", &id], &["audit", "search"]] {
        assert_clean(&world.admin.run(verb));
    }
    world.admin.deny(&id);
    let finished = client.wait();
    assert_eq!(finished.code, 1);
    assert_clean(&finished.stderr);
    world.admin.assert_story(&id, &TURNED_AWAY);
}
