//! Programs with time limits and retries of their own, from the table in `docs/recipes.md`: paramiko,
//! Ansible, fail2ban.

use kbmfa_tests::built;
use kbmfa_tests::files::put;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{brief, program, run};
use kbmfa_tests::recipe::{FREE, PASSWORD_OF_BOB, Phase, SUDOERS};
use kbmfa_tests::world::World;

use crate::story::CANCELLED;

const PYTHON: &str = "/usr/bin/python3";

const PARAMIKO: &str = "import paramiko, sys
port, key, seconds = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect('127.0.0.1', port=int(port), username='alice', key_filename=key, allow_agent=False,
    look_for_keys=False, auth_timeout=float(seconds))
print(client.exec_command('echo in')[1].read().decode(), end='')
client.close()
";

fn paramiko(machine: &Machine, seconds: u32) -> Login {
    let mut client = program(PYTHON);
    client.args(["-c", PARAMIKO, &machine.port.number.to_string()]).arg(machine.local_file("id_ed25519"));
    client.arg(seconds.to_string());
    machine.other_client(client)
}

#[test]
fn paramiko_waits_for_its_auth_timeout_and_gives_up_then() {
    let default = "import paramiko, socket; print(paramiko.Transport(socket.socketpair()[0]).auth_timeout)";
    assert_eq!(run(brief(PYTHON).args(["-c", default])), "30\n");
    let world = World::new();
    let machine = world.machine().start();
    let login = paramiko(&machine, 2);
    let id = world.admin.pending();
    let finished = login.wait();
    assert!(finished.code != 0 && finished.stderr.contains("Authentication timeout"), "{finished:?}");
    world.admin.assert_story(&id, &CANCELLED);
    let login = paramiko(&machine, 90);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
    machine.assert_nothing_left();
}

/// Runs `sudo id -u` by Ansible, whose connection waits this long until bob is root.
fn ansible(machine: &Machine, seconds: u32) -> Login {
    let mut ansible = program("ansible");
    ansible.env("ANSIBLE_TIMEOUT", seconds.to_string()).env("ANSIBLE_NOCOLOR", "1");
    ansible
        .env("ANSIBLE_HOST_KEY_CHECKING", "False")
        .env("ANSIBLE_LOCAL_TEMP", machine.local_file("ansible"));
    ansible.env("ANSIBLE_SSH_ARGS", "-F none -o ControlMaster=no -o UserKnownHostsFile=/dev/null");
    ansible.args([
        "all",
        "-i",
        "127.0.0.1,",
        "-u",
        "bob",
        "--become",
        "--module-name",
        "raw",
        "--args",
        "id -u",
    ]);
    ansible.arg("--private-key").arg(machine.local_file("id_ed25519"));
    ansible.args(["-e", &format!("ansible_port={}", machine.port.number)]);
    ansible.args(["-e", &format!("ansible_become_password='{PASSWORD_OF_BOB}'")]);
    machine.other_client(ansible)
}

#[test]
fn ansible_waits_for_its_timeout_until_it_is_root_and_gives_up_then() {
    let world = World::new();
    let machine = world.machine().pam_stack(FREE).sudo(SUDOERS).start();
    let login = ansible(&machine, 2);
    let id = world.admin.pending();
    let finished = login.wait();
    let all = format!("{}{}", finished.stdout, finished.stderr);
    assert!(finished.code != 0 && all.contains("waiting for privilege escalation prompt"), "{finished:?}");
    world.admin.assert_story(&id, &CANCELLED);
    let login = ansible(&machine, 60);
    world.admin.approve(&world.admin.pending());
    let finished = login.wait();
    assert!(finished.code == 0 && finished.stdout.contains("\n0\r\n"), "{finished:?}");
    machine.assert_nothing_left();
}

/// The numbers of lines in sshd's log about one denied login that are failures for fail2ban's own filter: in
/// its normal mode, and in its aggressive mode.
fn failures_of_a_denial(phase: Phase) -> [String; 2] {
    let world = World::new();
    let machine = world.machine().phase(phase).start();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.deny(&world.admin.pending());
    assert_eq!(login.wait().code, 255);
    machine.assert_nothing_left();
    let as_in_syslog = |line: &str| format!("Nov 28 01:00:00 web1 sshd[100]: {line}\n");
    let log = machine.local_file("auth.log");
    put(&log, 0o644, machine.sshd_log().lines().map(as_in_syslog).collect::<String>());
    ["sshd[mode=normal]", "sshd[mode=aggressive]"].map(|filter| {
        let fail2ban = built::fail2ban();
        let mut regex = brief(PYTHON);
        regex.env("PYTHONPATH", fail2ban.join("usr/lib/python3/dist-packages"));
        regex.arg(fail2ban.join("usr/bin/fail2ban-regex")).arg("--config").arg(fail2ban.join("etc/fail2ban"));
        let output = regex.arg(&log).arg(filter).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{phase:?}, {filter}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let summary = text.lines().find(|line| line.starts_with("Lines:")).expect("a summary");
        summary.split(", ").find(|part| part.ends_with(" matched")).expect("a count").to_owned()
    })
}

#[test]
fn a_denial_is_a_failure_for_fail2ban_in_the_auth_phase_only() {
    assert_eq!(failures_of_a_denial(Phase::Auth), ["1 matched", "2 matched"]);
    assert_eq!(failures_of_a_denial(Phase::Account), ["0 matched", "0 matched"]);
}
