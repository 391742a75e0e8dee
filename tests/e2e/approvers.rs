//! People who list and answer logins without being root: accounts on the server's host, members of the group
//! or not, at the group's socket.

use insta::assert_snapshot;
use kbmfa_tests::builder::Root;
use kbmfa_tests::built;
use kbmfa_tests::files;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::ports::Port;
use kbmfa_tests::process::program;
use kbmfa_tests::recipe::{Phase, USERS, pam_stack};
use kbmfa_tests::server::status_at;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Output, Stdio};

const CONFIG: &str = "/etc/kbmfa/server.toml";
const SOCKET: &str = "/run/kbmfa/admin.sock";

/// A peer in perl: sends a frame with this text and prints the reply.
const ASK: &str = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"connect: $!\\n\"; \
    syswrite $s, pack('N', length $ARGV[1]) . $ARGV[1]; local $/; print substr(<$s>, 4);";

/// A program that connects this many times and sends this many bytes, one a second.
const DRIP: &str = "use IO::Socket::UNIX; my @s = map { IO::Socket::UNIX->new(Peer => $ARGV[0]) } 1 .. $ARGV[1]; \
    $SIG{PIPE} = 'IGNORE'; for my $n (0 .. 600) { my $byte = substr \"\\0\\0\\xff\\xff\" . '{' x 600, $n, 1; \
    for (@s) { syswrite $_, $byte if $_ && $ARGV[2] } sleep 1 }";

/// Becomes a user as a login does, `pam_loginuid` included: `as-user UID LOGIN-UID COMMAND`. In a kernel
/// without audit there is no login uid.
const AS_USER: &str = "#!/bin/sh
uid=$1 login=$2
shift 2
{ echo \"$login\" >/proc/self/loginuid; } 2>/dev/null
exec setpriv --reuid \"$uid\" --regid \"$(id -g \"$uid\")\" --init-groups \"$@\"
";

/// The server's host, which is also a machine. alice is a member of the group, it is bob's primary group, and
/// carol is not in it.
struct Host {
    machine: Machine,
    ports: [Port; 2],
}

impl Host {
    fn new(policy: &str) -> Self {
        let machine = Machine::stand_in(Root::Debian12, Phase::Account, &pam_stack(Phase::Account, ""));
        let module = format!("/usr/lib/{}-linux-gnu/security/pam_kbmfa.so", std::env::consts::ARCH);
        for (program, place) in [
            (built::server(), "/usr/sbin/kbmfa-server"),
            (built::host(), "/usr/sbin/kbmfa-host"),
            (built::module(), &module),
        ] {
            fs::copy(program, machine.path(place)).unwrap();
        }
        let host = Self { machine, ports: [Port::reserve(), Port::reserve()] };
        host.add_lines("/etc/passwd", "kbmfa:x:990:990::/var/lib/kbmfa:/usr/sbin/nologin\n");
        host.add_lines("/etc/group", "kbmfa:x:990:\n");
        host.machine.exec(&["sed", "-i", "s/^bob:x:2002:2002/bob:x:2002:991/", "/etc/passwd"]);
        host.set_members("kbmfa,alice");
        let [port, status] = host.ports.each_ref().map(|port| format!("127.0.0.1:{}", port.number));
        let init = ["init", "--owner", "kbmfa", "--name", "127.0.0.1", "--listen", &port];
        let made: Value = host.json(&[&init[..], &["--status-listen", &status]].concat());
        for (section, key, value) in
            [("admin", "group", "\"kbmfa-approvers\""), ("policy", "approvers", policy)]
        {
            files::set_key(&host.machine.path(CONFIG), section, key, value);
        }
        // Members of the group need not be able to read it.
        host.machine.exec(&[
            "sh",
            "-c",
            "chown kbmfa: /etc/kbmfa/server.toml && chmod 600 /etc/kbmfa/server.toml",
        ]);
        files::put(&host.machine.path("/run/as-user"), 0o755, AS_USER);
        // As RuntimeDirectory= makes it.
        host.machine.exec(&["install", "-d", "-o", "kbmfa", "-g", "kbmfa", "-m", "755", "/run/kbmfa"]);
        host.start();
        host.run_ok(&["machine", "add", "web1"]);
        let token = host.run_ok(&["machine", "join-token", "web1"]);
        files::put(&host.machine.path("/run/token"), 0o600, token.trim());
        let (url, pin) = (format!("https://{port}"), made["pin"].as_str().unwrap());
        let join = ["kbmfa-host", "join", "--server", &url, "--pin", pin, "--token-file", "/run/token"];
        host.machine.exec(&join);
        host
    }

    fn add_lines(&self, file: &str, lines: &str) {
        let path = self.machine.path(file);
        fs::write(&path, fs::read_to_string(&path).unwrap() + lines).unwrap();
    }

    /// Sets the members of the group in `/etc/group`. bob is also in it, by `/etc/passwd`.
    fn set_members(&self, members: &str) {
        let path = self.machine.path("/etc/group");
        let groups = fs::read_to_string(&path).unwrap();
        let others = groups.lines().filter(|line| !line.starts_with("kbmfa-approvers:"));
        let lines: Vec<_> =
            others.map(str::to_owned).chain([format!("kbmfa-approvers:x:991:{members}")]).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    }

    fn start(&self) {
        self.machine.exec(&["sh", "-c", "kbmfa-server serve </dev/null >>/run/serve.log 2>&1 &"]);
        let socket = self.machine.path(SOCKET);
        until("the server to serve", || (self.log().contains("serving on") && socket.exists()).then_some(()));
    }

    /// Starts the server again after a kill.
    fn start_again(&self) {
        self.machine.exec(&["truncate", "--size", "0", "/run/serve.log"]);
        self.start();
        until("the socket to be its own", || self.by("alice", &["login", "list"]).ok());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.machine.path("/run/serve.log")).unwrap_or_default()
    }

    fn wait_for_log(&self, what: &str) {
        until(&format!("the log to say {what:?}"), || self.log().contains(what).then_some(()));
    }

    /// The output of the command line, run by root. It must succeed.
    fn run_ok(&self, arguments: &[&str]) -> String {
        self.machine.exec(&[&["kbmfa-server"], arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run_ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{printed}"))
    }

    /// Runs a program as this user, who has logged in here, with the groups that the user has now.
    fn as_user(&self, user: &str, command: &[&str]) -> Output {
        let id = uid(user).to_string();
        self.machine.try_exec(&[&["env", "--chdir=/", "/run/as-user", &id, &id], command].concat())
    }

    /// Runs the command line as this user. Returns its output, or its error.
    fn by(&self, user: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.as_user(user, &[&["kbmfa-server"], arguments].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
            Err(text(output.stderr))
        }
    }

    /// The raw reply to a request of this user.
    fn ask(&self, user: &str, request: &str) -> String {
        let output = self.as_user(user, &["perl", "-e", ASK, SOCKET, request]);
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    /// Opens this many connections as this user, and sends nothing or too little on them.
    fn stall(&self, user: &str, connections: u32, drips: bool) {
        let drips = if drips { "1" } else { "" };
        let script = format!("perl -e \"$0\" {SOCKET} {connections} '{drips}' </dev/null >/dev/null 2>&1 &");
        assert!(self.as_user(user, &["sh", "-c", &script, DRIP]).status.success());
    }

    /// Waits for the only pending login, and returns its id.
    fn pending(&self) -> String {
        until("one pending login", || {
            let logins = self.json(&["login", "list", "--state", "pending"]);
            <[Value; 1]>::try_from(logins.as_array().unwrap().clone())
                .ok()
                .map(|[login]| login["id"].as_str().unwrap().to_owned())
        })
    }

    fn who_answered(&self, id: &str) -> Vec<String> {
        let events = self.json(&["audit", "search", "--login", id]);
        let answers = events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["kind"].as_str().unwrap().starts_with("answer."));
        answers.map(|event| format!("{} {}", event["kind"].as_str().unwrap(), event["actor"])).collect()
    }
}

fn uid(user: &str) -> u32 {
    USERS.iter().find(|(name, _)| *name == user).unwrap().1
}

const APPROVE_UNKNOWN: &str = r#"{"v":1,"verb":"login.approve","id":"00000000"}"#;

#[test]
fn a_member_of_the_group_approves_without_root() {
    let host = Host::new("\"anyone\"");
    let mode =
        host.machine.exec(&["stat", "-c", "%a %U:%G", SOCKET, "/var/lib/kbmfa", "/var/lib/kbmfa/admin.sock"]);
    assert_eq!(mode, "660 kbmfa:kbmfa-approvers\n700 kbmfa:kbmfa\n600 kbmfa:kbmfa\n");
    let login = host.machine.ssh("carol", &["echo", "in"]);
    let id = host.pending();
    for arguments in [
        &["login", "list"][..],
        &["login", "list", "--json", "--user", "carol"],
        &["login", "list", "--csv", "--since", "1h"],
        &["login", "show", &id],
        &["login", "show", &id, "--json"],
    ] {
        assert_eq!(host.by("alice", arguments).unwrap(), host.run_ok(arguments), "{arguments:?}");
    }
    let printed = host.by("alice", &["login", "approve", &id, "--reason", "on call"]).unwrap();
    assert_snapshot!(printed.replace(&id[..8], "ID"), @"login ID is approved");
    let finished = login.wait();
    assert_eq!((finished.code, finished.stdout.as_str()), (0, "in\n"));
    assert_eq!(host.who_answered(&id), [r#"answer.given {"who":"console:alice"}"#]);
    // bob is a member only because it is his primary group.
    let login = host.machine.ssh("carol", &["true"]);
    let id = host.pending();
    assert!(host.by("bob", &["login", "deny", &id, "--json"]).unwrap().contains("\"state\":\"denied\""));
    assert_eq!(login.wait().code, 255);
    assert_eq!(host.who_answered(&id), [r#"answer.given {"who":"console:bob"}"#]);
    host.run_ok(&["audit", "verify"]);
}

#[test]
fn a_member_watches_and_learns_why_an_answer_does_not_count() {
    let host = Host::new("[\"console:bob\"]");
    host.machine.exec(&[
        "sh",
        "-c",
        "cd / && /run/as-user 2001 2001 kbmfa-server login watch </dev/null >/run/watched 2>&1 &",
    ]);
    let watched = || fs::read_to_string(host.machine.path("/run/watched")).unwrap();
    until("the watch to begin", || watched().contains("LOGIN").then_some(()));
    let login = host.machine.ssh("carol", &["true"]);
    let id = host.pending();
    until("the login to be shown", || watched().contains("pending").then_some(()));
    let complaint = host.by("alice", &["login", "approve", &id]).unwrap_err();
    assert_snapshot!(complaint, @"kbmfa-server: error: your answer did not count: console:alice is not among the approvers of this login");
    let short = host.by("bob", &["login", "approve", &id[..4]]).unwrap_err();
    assert!(short.contains("too short to decide") && short.contains("hint: give 8 digits"), "{short}");
    host.by("bob", &["login", "approve", &id]).unwrap();
    assert_eq!(login.wait().code, 0);
    until("its end to be shown", || watched().contains("approved").then_some(()));
    let of = |kind: &str, who: &str| format!("{kind} {{\"who\":\"console:{who}\"}}");
    assert_eq!(host.who_answered(&id), [of("answer.rejected", "alice"), of("answer.given", "bob")]);
}

#[test]
fn a_member_can_do_nothing_else() {
    let host = Host::new("\"anyone\"");
    let before = host.json(&["audit", "search", "--limit", "1000000"]);
    for (request, refusal) in [
        (r#"{"v":1,"verb":"reload"}"#, "reload is not allowed: only root may do it"),
        (r#"{"v":1,"verb":"notify"}"#, "notify is not allowed: only root may do it"),
        (r#"{"v":1,"verb":"machine.remove","name":"web1"}"#, "unknown variant `machine.remove`"),
        (r#"{"v":1,"verb":"login.approve","id":"00000000","actor":"console:root"}"#, "unknown field `actor`"),
        (r#"{"v":2,"verb":"login.list","limit":1}"#, "has version 2"),
        (r#"{"v":1,"verb":"login.list","limit":1000000}"#, "lists 1 to 1000 logins"),
        ("\n", "is not a JSON object"),
    ] {
        let reply = host.ask("alice", request);
        assert!(reply.contains("\"refused\"") && reply.contains(refusal), "{request}: {reply}");
    }
    host.wait_for_log("uid 2001 (alice) asked for reload and was refused: not allowed");
    for verb in [
        &["machine", "list"][..],
        &["employee", "list"],
        &["audit", "search"],
        &["session", "list"],
        &["policy", "explain", "--user", "alice", "--machine", "web1"],
        &["backup", "/tmp/copy.db"],
        &["ca", "show"],
        &["reload"],
        &["check"],
    ] {
        host.by("alice", verb).unwrap_err();
    }
    assert_eq!(host.json(&["audit", "search", "--limit", "1000000"]), before, "nothing was done");
    // Everybody with sudo can be root, so root identifies nobody at the socket. In the database the login uid
    // does.
    let by_root =
        host.machine.try_exec(&["kbmfa-server", "login", "approve", "00000000", "--socket", SOCKET]);
    let complaint = String::from_utf8(by_root.stderr).unwrap();
    assert!(complaint.contains("do not answer logins over the socket"), "{complaint}");
    assert!(host.run_ok(&["login", "list", "--socket", SOCKET]).starts_with("LOGIN"));
}

#[test]
fn a_stranger_is_refused_and_named() {
    let host = Host::new("\"anyone\"");
    let complaint = host.by("carol", &["login", "list"]).unwrap_err();
    assert_snapshot!(complaint, @r"
    kbmfa-server: error: the running server cannot be asked at /run/kbmfa/admin.sock: Permission denied (os error 13)
    hint: root and the members of the group in [admin] group can use it; a new member must log in again
    ");
    // The mode of the socket is not what keeps others out.
    host.machine.exec(&["chmod", "666", SOCKET]);
    let complaint = host.by("carol", &["login", "list"]).unwrap_err();
    assert_snapshot!(complaint, @r"
    kbmfa-server: error: login.list is not allowed: your account is not in the group kbmfa-approvers
    hint: an administrator can add you: usermod -aG kbmfa-approvers ACCOUNT
    ");
    host.wait_for_log("uid 2003 (carol) asked for login.list and was refused: not allowed");
    assert!(host.ask("carol", APPROVE_UNKNOWN).contains("login.approve is not allowed"));
    host.wait_for_log("uid 2003 (carol) asked for login.approve and was refused: not allowed");
}

#[test]
fn a_former_member_of_the_group_is_refused_at_the_next_request() {
    let host = Host::new("\"anyone\"");
    // A running session keeps its groups, so the kernel still lets it connect.
    let script = format!(
        "$| = 1; {ASK} print \"\\n\"; while (!-e '/run/left') {{ select undef, undef, undef, 0.1 }} \
         $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"connect: $!\\n\"; \
         syswrite $s, pack('N', length $ARGV[1]) . $ARGV[1]; print substr(<$s>, 4);"
    );
    files::put(&host.machine.path("/run/session.pl"), 0o644, script);
    let list = r#"{"v":1,"verb":"login.list","limit":1}"#;
    files::put(&host.machine.path("/run/request"), 0o644, list);
    host.machine.exec(&[
        "sh",
        "-c",
        "cd / && /run/as-user 2001 2001 perl /run/session.pl /run/kbmfa/admin.sock \"$(cat /run/request)\" \
         </dev/null >/run/replies 2>&1 &",
    ]);
    let replies = || fs::read_to_string(host.machine.path("/run/replies")).unwrap();
    until("the first reply", || replies().ends_with('\n').then_some(()));
    assert!(replies().contains("\"done\""), "{}", replies());
    host.set_members("kbmfa");
    files::put(&host.machine.path("/run/left"), 0o644, "");
    until("the second reply", || replies().lines().nth(1).map(drop));
    assert!(replies().lines().nth(1).unwrap().contains("not in the group kbmfa-approvers"), "{}", replies());
    host.wait_for_log("uid 2001 (alice) asked for login.list and was refused");
    host.set_members("kbmfa,alice");
    assert!(host.by("alice", &["login", "list"]).is_ok(), "and without a restart lets in whoever comes back");
}

#[test]
fn a_silent_or_dripping_peer_blocks_nobody() {
    let host = Host::new("\"anyone\"");
    host.machine.exec(&["chmod", "666", SOCKET]);
    for (user, drips) in [("carol", false), ("carol", true), ("bob", false), ("bob", true)] {
        host.stall(user, 100, drips);
    }
    host.wait_for_log("asked for a connection and was refused: there are too many");
    let login = host.machine.ssh("carol", &["true"]);
    let id = host.pending();
    host.by("alice", &["login", "approve", &id]).unwrap();
    assert_eq!(login.wait().code, 0);
    assert!(host.run_ok(&["reload"]).contains("read again"));
    let ready = status_at(host.ports[1].number, "/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    until("bob, whose own connections were closed in time", || host.by("bob", &["login", "list"]).ok());
}

#[test]
fn nobody_approves_their_own_login_over_the_socket_under_not_self() {
    let host = Host::new("\"not-self\"");
    host.run_ok(&["employee", "add", "alice@example.com", "--name", "Alice", "--unix-name", "alice"]);
    let login = host.machine.ssh("alice", &["true"]);
    let id = host.pending();
    let complaint = host.by("alice", &["login", "approve", &id]).unwrap_err();
    assert_snapshot!(complaint, @"kbmfa-server: error: your answer did not count: console:alice is not among the approvers of this login");
    host.by("bob", &["login", "approve", &id]).unwrap();
    assert_eq!(login.wait().code, 0);
    let of = |kind: &str, who: &str| format!("{kind} {{\"who\":\"console:{who}\"}}");
    assert_eq!(host.who_answered(&id), [of("answer.rejected", "alice"), of("answer.given", "bob")]);
}

#[test]
fn a_member_by_sudo_can_list_logins_and_not_answer() {
    let host = Host::new("\"not-self\"");
    host.run_ok(&["employee", "add", "alice@example.com", "--name", "Alice", "--unix-name", "alice"]);
    let login = host.machine.ssh("alice", &["true"]);
    let id = host.pending();
    let (alice, bob) = (uid("alice").to_string(), uid("bob").to_string());
    let as_bob = |login_uid: &str, verb: &str| {
        let output = host.machine.try_exec(&[
            "env",
            "--chdir=/",
            "/run/as-user",
            &bob,
            login_uid,
            "kbmfa-server",
            "login",
            verb,
            &id,
        ]);
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert!(as_bob(&alice, "show").contains("pending"));
    assert_snapshot!(as_bob(&alice, "approve"), @r"
    kbmfa-server: error: you run as another account than the one that logged in, so the author of the answer is unclear
    hint: log in by ssh as the account that answers, without su or sudo
    ");
    host.wait_for_log("uid 2002 (bob) asked for login.approve and was refused: not allowed");
    assert_eq!(host.who_answered(&id), [] as [&str; 0]);
    assert!(as_bob(&bob, "approve").contains("is approved"));
    assert_eq!(login.wait().code, 0);
}

#[test]
fn while_the_server_is_down_root_goes_on_and_a_member_is_told() {
    let host = Host::new("\"anyone\"");
    let login = host.machine.ssh("carol", &["true"]);
    let id = host.pending();
    host.machine.exec(&["pkill", "-KILL", "-f", "kbmfa-server serve"]);
    let complaint = until("the server to be gone", || host.by("alice", &["login", "list"]).err());
    assert_snapshot!(complaint, @r"
    kbmfa-server: error: the running server cannot be asked at /run/kbmfa/admin.sock: Connection refused (os error 111)
    hint: check that the server runs with [admin] group set; --socket names another path
    ");
    assert!(host.run_ok(&["login", "approve", &id]).contains("is approved"));
    host.start_again();
    assert_eq!(
        login.wait().code,
        0,
        "the socket that was left behind is replaced, and what root decided counts"
    );
    assert!(host.by("alice", &["login", "show", &id]).unwrap().contains("approved"));
}

#[test]
fn a_socket_name_of_another_account_keeps_no_server_from_starting() {
    let world = World::down(None);
    let log = world.dir().join("serve.log");
    // The process id is known before the shell becomes the server.
    let mut serve = program("sh");
    serve.args(["-c", "read go && exec \"$0\" serve --config \"$1\""]).arg(built::server());
    serve.arg(&world.server.config).stdin(Stdio::piped()).stderr(File::create(&log).unwrap());
    let mut serve = serve.spawn().unwrap();
    let pid = serve.id().to_string();
    let name = SocketAddr::from_abstract_name(format!("kbmfa-server/admin/{pid}")).unwrap();
    let taken = UnixListener::bind_addr(&name).unwrap();
    serve.stdin.take().unwrap().write_all(b"\n").unwrap();
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
    let why = world.admin.try_run(&["reload", "--pid", &pid]).unwrap_err();
    assert!(why.contains(&format!("another process than {pid} answered")), "{why}");
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("the admin socket of this process: Address already in use"), "{said}");
    assert!(world.admin.run(&["reload"]).contains("read again"), "the one in the state directory is its own");
    drop(taken);
    until("the name to be the server's", || world.admin.try_run(&["reload", "--pid", &pid]).ok());
    serve.kill().unwrap();
    serve.wait().unwrap();
}

#[test]
fn check_names_a_group_that_is_not_there_or_cannot_be_given_the_socket() {
    let host = Host::new("\"anyone\"");
    host.run_ok(&["check"]);
    let complaint = |members: &str| {
        host.set_members(members);
        let output = host.machine.try_exec(&["kbmfa-server", "check"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_snapshot!(complaint("alice"), @r#"
    kbmfa-server: error: /etc/kbmfa/server.toml: admin.group: kbmfa is not in the group "kbmfa-approvers" and cannot give it the socket: usermod -aG kbmfa-approvers kbmfa, then restart the server
    hint: until then only root can list and answer logins here
    "#);
    files::set_key(&host.machine.path(CONFIG), "admin", "group", "\"approvers\"");
    assert_snapshot!(complaint("kbmfa,alice"), @r#"
    kbmfa-server: error: /etc/kbmfa/server.toml: admin.group: there is no group "approvers", so nobody is in it: groupadd approvers, then restart the server
    hint: until then only root can list and answer logins here
    "#);
}
