//! sshd behind a unix socket, as systemd's ssh-generator sets it up. Such a connection has no network
//! addresses.

use kbmfa_tests::files::put;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;

/// Does what `sshd-unix-local.socket` and `sshd@.service` do.
const LISTEN: &str = "import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind('/run/ssh-unix')
listener.listen()
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        os.dup2(connection.fileno(), 0)
        os.dup2(connection.fileno(), 1)
        os.execv('/usr/sbin/sshd', ['sshd', '-i'])
    connection.close()
";

/// Does what systemd-ssh-proxy does: passes a connected socket to ssh.
const CONNECT: &str = "import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
socket.send_fds(socket.socket(fileno=1), [b'x'], [connection.fileno()])
";

fn ssh(machine: &Machine, user: &str) -> Login {
    let connect = machine.local_file("connect.py");
    put(&connect, 0o644, CONNECT);
    put(&machine.path("/tmp/listen.py"), 0o644, LISTEN);
    machine.exec(&["sh", "-c", "python3 /tmp/listen.py >/dev/null 2>&1 &"]);
    let socket = machine.path("/run/ssh-unix");
    until("sshd's socket", || socket.exists().then_some(()));
    let proxy = format!("ProxyCommand=/usr/bin/python3 {} {}", connect.display(), socket.display());
    machine.ssh_with(user, &["-o", &proxy, "-o", "ProxyUseFdpass=yes"], &["echo", "in"])
}

#[test]
fn a_connection_without_addresses_is_refused_and_the_person_is_told_what_is_missing() {
    let world = World::new();
    let machine = world.machine().phase(Phase::Account).start();
    let finished = ssh(&machine, "alice").wait();
    assert_eq!((finished.code, finished.stdout.as_str()), (255, ""));
    let told = "Your login needs an approval, and this connection has no network address to ask about.";
    assert!(finished.stderr.contains(told), "{finished:?}");
    machine.syslog.lines_with("SSH_CONNECTION has no address");
    assert!(world.admin.logins(&[]).is_empty());
}
