//! `kbmfa-host doctor` on real machines: no fault if everything follows the recipes, and for each deviation a
//! fault with its fix.

use kbmfa_tests::builder::{MachineBuilder, Root};
use kbmfa_tests::built;
use kbmfa_tests::files::put;
use kbmfa_tests::impostor::Stranger;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What an administrator adds to the packaged lines for many simultaneous logins.
const STARTUPS: &str = "MaxStartups 100:30:300";

/// Debian 13's own `/etc/pam.d/sshd`. That of Debian 12 has no relevant difference.
fn debians() -> String {
    fs::read_to_string(built::trixie().join("etc/pam.d/sshd")).unwrap()
}

pub(crate) struct Report {
    ok: bool,
    findings: Vec<Value>,
}

pub(crate) fn doctor(machine: &Machine, more: &[&str]) -> Report {
    let output = machine.try_exec(&[&["kbmfa-host", "doctor", "--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&output.stderr)));
    let ok = report["ok"].as_bool().unwrap();
    assert_eq!(output.status.success(), ok, "the exit code says something else than {report}");
    Report { ok, findings: report["findings"].as_array().unwrap().clone() }
}

impl Report {
    fn faults(&self) -> usize {
        self.findings.iter().filter(|finding| finding["level"] == "fault").count()
    }

    #[track_caller]
    fn has_no(&self, found: &str) {
        let is_it = |finding: &&Value| finding["found"].as_str().unwrap().contains(found);
        let finding = self.findings.iter().find(is_it);
        assert!(finding.is_none(), "{finding:#?}");
    }

    #[track_caller]
    fn is_well(&self) {
        let ill: Vec<_> = self.findings.iter().filter(|finding| finding["level"] != "ok").collect();
        assert!(self.ok && ill.is_empty(), "{ill:#?}");
    }

    /// Checks that a finding of this level contains this text and has a fix.
    #[track_caller]
    pub(crate) fn has(&self, level: &str, found: &str) {
        let is_it = |finding: &&Value| {
            finding["level"] == level && finding["found"].as_str().unwrap().contains(found)
        };
        let finding = self.findings.iter().find(is_it);
        let finding = finding.unwrap_or_else(|| panic!("no {level} {found:?} in {:#?}", self.findings));
        assert!(finding["fix"].is_string(), "{finding}");
        assert_eq!(self.ok, self.findings.iter().all(|finding| finding["level"] != "fault"));
    }
}

fn machine(world: &World) -> MachineBuilder {
    world.machine().sshd_lines(STARTUPS)
}

#[test]
fn a_machine_that_follows_the_recipes_is_well_and_the_rehearsal_lets_nobody_in_and_asks_nobody() {
    let world = World::new();
    for phase in [Phase::Account, Phase::Auth, Phase::Session] {
        for root in [Root::Debian12, Root::Debian13] {
            let machine = machine(&world).phase(phase).root(root).start();
            doctor(&machine, &["--user", "alice"]).is_well();
            let rehearsed = world.admin.logins(&[]).into_iter().next().unwrap().0;
            assert_eq!(world.admin.state(&rehearsed), "rehearsed");
            world.admin.assert_story(&rehearsed, &["login.opened", "login.rehearsed"]);
            assert_eq!(world.admin.login(&rehearsed)["user"], "alice");
            machine.syslog.lines_with("dry run, nobody let in");
            machine.assert_nothing_left();
        }
    }
    let everything = world.admin.logins(&[]);
    assert_eq!(everything.len(), 6, "a machine rehearsed more than once, or did something else");
}

#[test]
fn people_read_a_table_and_the_number_of_faults_below_it() {
    let world = World::new();
    let machine = machine(&world).start();
    let table = machine.exec(&["kbmfa-host", "doctor"]);
    assert!(table.contains("WHAT") && table.contains("no path through it avoids"), "{table}");
    assert!(table.lines().last().unwrap().trim_start().starts_with("ok  rehearsal"), "{table}");
    machine.exec(&["chmod", "644", "/etc/kbmfa/credential"]);
    let output = machine.try_exec(&["kbmfa-host", "doctor"]);
    let (table, below) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(table.contains("FAULT  configuration") && table.contains(" -> "), "{table}");
    assert_eq!(below, "kbmfa-host: error: 1 fault was found\n");
    assert!(table.contains("weak   rehearsal      not tried because of the faults above"), "{table}");
    machine.exec(&["chmod", "666", "/etc/kbmfa/credential"]);
    let output = machine.try_exec(&["kbmfa-host", "doctor"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "kbmfa-host: error: 1 fault was found\n");
}

/// One line of the module in Debian's own stack: in the place that the recipes name, and in others.
#[test]
fn the_place_in_debians_own_stack_decides() {
    let world = World::new();
    let with = |before: &str, ours: &str| debians().replacen(before, &format!("{ours}\n{before}"), 1);
    let account = "account required pam_kbmfa.so";
    for root in [Root::Debian12, Root::Debian13] {
        let look = |phase, stack: &str| {
            doctor(&machine(&world).root(root).phase(phase).pam_stack(stack).start(), &[])
        };
        look(Phase::Account, &with("@include common-account", account)).is_well();
        look(Phase::Account, &with("@include common-session", account))
            .has("fault", "lets somebody in before it on new_authtok_reqd");
        look(Phase::Auth, &debians().replace("@include common-auth", "auth required pam_kbmfa.so")).is_well();
        look(Phase::Session, &with("session [success=ok", "session required pam_kbmfa.so silent")).is_well();
        // common-auth ends the login after a wrong password.
        let trusting = with("account    required", "auth required pam_kbmfa.so first_factor=stack");
        look(Phase::Auth, &trusting).is_well();
    }
}

#[test]
fn each_fault_of_sshd_and_its_stack_names_its_fix() {
    let world = World::new();
    let look = |builder: MachineBuilder| doctor(&builder.start(), &[]);
    let stack = |text: &str| look(machine(&world).pam_stack(text));
    let sshd = |lines: &str| look(world.machine().sshd_lines(lines));
    let auth = |lines: &str| look(world.machine().phase(Phase::Auth).sshd_lines(lines));
    let ours = "account required pam_kbmfa.so\n";
    let permit = "account required pam_permit.so\n";
    stack(&format!("account [success=ok default=ignore] pam_kbmfa.so\n{permit}"))
        .has("fault", "does not end a login that it refuses");
    stack(&format!("account sufficient pam_localuser.so\n{ours}")).has("fault", "is not always reached");
    stack(&format!("{ours}account [success=reset] pam_permit.so\n{permit}"))
        .has("fault", "discards the refusal");
    stack("account required pam_unix.so\n").has("fault", "nobody needs an approval");
    stack("account required pam_kbmfa.so log_only\n").has("fault", "log_only, which asks nobody");
    stack("account required pam_kbmfa.so log-only\n").has("fault", "\"log-only\" is not known");
    stack("account required /opt/pam_kbmfa.so\n").has("fault", "/opt/pam_kbmfa.so is not there");
    let misspelt = stack("account required pam_kbmfaa.so\n");
    misspelt.has("fault", "`required pam_kbmfaa.so` (/etc/pam.d/sshd:1): the module is missing");
    misspelt.has_no("nobody needs an approval");
    stack(&format!("{ours}account required pam_kbmfaa.so\n")).has("fault", "the module is missing");
    stack(&format!("{ours}-account optional pam_nowhere.so\n")).has_no("the module is missing");
    let closed = stack("account required pam_unix.so\n");
    assert_eq!(closed.faults(), 1, "{:#?}", closed.findings);
    stack("account required\n").has("fault", "the line is incomplete");
    sshd("").has("weak", "while 10 logins wait");
    sshd("LoginGraceTime 60").has("fault", "ends logins that could still be approved");
    sshd("UsePAM no").has("fault", "never calls the module");
    auth("AuthenticationMethods any").has("fault", "publickey alone avoids");
    auth("AuthenticationMethods publickey publickey,keyboard-interactive").has("fault", "avoids");
    auth(
        "AuthenticationMethods publickey,password publickey,keyboard-interactive\nPasswordAuthentication yes",
    )
    .has("weak", "asked twice");
}

#[test]
fn a_match_block_is_named_and_looked_at_for_whom_it_is_about() {
    let world = World::new();
    let lines = format!(
        "{STARTUPS}\nMatch User bob\nAuthenticationMethods publickey\nMatch Address 192.0.2.0/24\n\
         AuthenticationMethods publickey\nMatch all"
    );
    let machine = world.machine().phase(Phase::Auth).sshd_lines(&lines).start();
    let alice = doctor(&machine, &["--user", "alice"]);
    assert!(alice.ok);
    alice.has("weak", "`Match User bob` (/etc/ssh/sshd_config:");
    alice.has("weak", "`Match Address 192.0.2.0/24`");
    doctor(&machine, &["--user", "bob"]).has("fault", "avoids the auth line");
    doctor(&machine, &["--user", "alice", "--from", "192.0.2.7"]).has("fault", "avoids the auth line");
}

#[test]
fn a_clock_that_is_wrong_and_a_ca_that_ends_soon_are_told() {
    let world = World::new();
    let machine = machine(&world).own_clock().start();
    doctor(&machine, &[]).is_well();
    machine.set_clock(3_650);
    doctor(&machine, &[]).has("fault", "the clocks differ by 36");
    // `init` makes the authority for twenty years.
    machine.set_clock(7_290 * 86_400);
    doctor(&machine, &[]).has("weak", "expires in 9 days");
    machine.set_clock(7_310 * 86_400);
    doctor(&machine, &[]).has("fault", "days ago by this machine's clock");
}

/// The dry run writes a stack, which is named after the service.
#[test]
fn no_name_of_a_service_makes_it_write_elsewhere() {
    let world = World::new();
    let machine = machine(&world).start();
    let before = machine.exec(&["sha256sum", "/etc/pam.d/sshd"]);
    for service in ["/etc/pam.d/sshd", "../../etc/pam.d/sshd", "..", ""] {
        let output = machine.try_exec(&["kbmfa-host", "doctor", "--service", service]);
        assert_eq!(output.status.code(), Some(64), "{service}");
    }
    doctor(&machine, &["--service", "SSHD"]).is_well();
    assert_eq!(machine.exec(&["sha256sum", "/etc/pam.d/sshd"]), before);
}

#[test]
fn an_account_that_may_not_log_in_is_refused_in_the_dry_run_too() {
    let world = World::with(&[("policy", "approvers", "\"not-self\"")]);
    let machine = machine(&world).start();
    let report = doctor(&machine, &["--user", "alice"]);
    report.has("fault", "It is not known whose account this is");
    let (id, _) = world.admin.logins(&[]).remove(0);
    world.admin.assert_story(&id, &["login.opened", "login.denied"]);
    // root was only the default, so another account may be able to log in.
    doctor(&machine, &[])
        .has("fault", "a login of root would be refused: It is not known whose account this is");
    let employee = ["employee", "add", "alice@example.com", "--name", "Alice", "--unix-name", "alice"];
    world.admin.run(&employee);
    let of_root = doctor(&machine, &[]);
    of_root.has("weak", "a login of root would be refused: It is not known whose account this is");
    of_root.has("weak", "A login of alice would be asked about");
}

#[test]
fn a_missing_account_is_not_a_successful_dry_run() {
    let world = World::new();
    let machine = machine(&world).start();
    doctor(&machine, &["--user", "alicia"]).has("fault", "there is no account alicia here");
}

#[test]
fn each_fault_of_the_files_names_its_fix() {
    let world = World::new();
    let machine = machine(&world).start();
    let module = format!("/usr/lib/{}-linux-gnu/security/pam_kbmfa.so", std::env::consts::ARCH);
    let looked = |fault: &[&str], repair: &[&str], level: &str, found: &str| {
        machine.exec(fault);
        doctor(&machine, &[]).has(level, found);
        machine.exec(repair);
    };
    looked(
        &["chmod", "644", "/etc/kbmfa/credential"],
        &["chmod", "600", "/etc/kbmfa/credential"],
        "fault",
        "others could read it",
    );
    for (file, is) in
        [("/etc/kbmfa", "755"), ("/etc/pam.d/sshd", "644"), ("/etc/ssh/sshd_config", "644"), (&module, "644")]
    {
        looked(&["chmod", "666", file], &["chmod", is, file], "fault", &format!("{file} has mode 0666"));
        let found = format!("{file} belongs to user 2001");
        looked(&["chown", "alice", file], &["chown", "root", file], "fault", &found);
    }
    let unit = "/etc/systemd/system/kbmfa-host-refresh.service";
    machine.exec(&["mkdir", "-p", "/etc/systemd/system"]);
    put(&machine.path(unit), 0o644, "[Service]\nExecStart=kbmfa-host refresh\n");
    // The program in /usr/bin is the same file for all machines.
    machine.exec(&["cp", "/usr/bin/kbmfa-host", "/usr/sbin/kbmfa-host"]);
    for file in [machine.exec(&["sh", "-c", "command -v kbmfa-host"]).trim(), unit] {
        let is = format!("{:o}", fs::metadata(machine.path(file)).unwrap().permissions().mode() & 0o777);
        looked(&["chmod", "777", file], &["chmod", &is, file], "fault", &format!("{file} has mode 0777"));
    }
    looked(&["mv", &module, "/tmp/away"], &["mv", "/tmp/away", &module], "fault", "every login is refused");
    let config = "/etc/kbmfa/pam.toml";
    machine.exec(&["cp", "-p", config, "/tmp/pam.toml"]);
    let repair = ["cp", "-p", "/tmp/pam.toml", config];
    let set = |key: &str, value: &str| machine.set(key, value);
    for (key, value, level, found) in [
        ("on_unreachable", "\"allow\"", "weak", "needs no approval"),
        ("deadline", "\"60s\"", "fault", "the deadline here is 60s"),
        ("deadline", "\"110s\"", "weak", "has little time left"),
        ("deadlin", "\"60s\"", "fault", "unknown field `deadlin`"),
    ] {
        set(key, value);
        doctor(&machine, &[]).has(level, found);
        machine.exec(&repair);
    }
    put(&machine.path("/var/lib/kbmfa-host/spool/1-x"), 0o600, "{}");
    doctor(&machine, &[]).has("weak", "1 reports wait");
    machine.exec(&["rm", "/var/lib/kbmfa-host/spool/1-x"]);
    doctor(&machine, &[]).is_well();
}

#[test]
fn each_fault_on_the_way_to_the_server_names_its_fix() {
    let world = World::new();
    let machine = machine(&world).start();
    world.server.stop();
    let report = doctor(&machine, &[]);
    report.has("fault", "no connection");
    // The dry run ignores `on_unreachable`: it lets nobody in, even where a login would be let in.
    machine.set("on_unreachable", "\"allow\"");
    let unreachable = doctor(&machine, &[]);
    unreachable.has("weak", "a login of root would be refused");
    assert!(!unreachable.ok, "what follows from the first fault is not told as a second");
    machine.set("on_unreachable", "\"deny\"");
    let stranger = Stranger::in_place_of(&world);
    doctor(&machine, &[]).has("fault", "certificate");
    drop(stranger);
    world.server.start();
    doctor(&machine, &[]).is_well();
    world.admin.run(&["machine", "remove", "web1", "--yes"]);
    doctor(&machine, &[]).has("fault", "credential");
}

#[test]
fn a_socket_unit_of_sshd_without_addresses_is_named() {
    let world = World::new();
    let machine = machine(&world).start();
    let unit = machine.path("/etc/systemd/system/sshd-unix-local.socket");
    machine.exec(&["mkdir", "-p", "/etc/systemd/system"]);
    put(&unit, 0o644, "[Socket]\nListenStream=/run/ssh-unix-local/socket\nAccept=yes\n");
    doctor(&machine, &[])
        .has("weak", "has sshd listen on /run/ssh-unix-local/socket: logins there are refused");
}

#[test]
fn sudos_stack_is_looked_at_by_its_name_without_sshd() {
    let world = World::new();
    let machine = world.machine().sudo("").start();
    doctor(&machine, &["--service", "sudo"]).is_well();
    machine.exec(&["sed", "-i", "s/requisite/required/", "/etc/pam.d/sudo"]);
    doctor(&machine, &["--service", "sudo"]).has("weak", "so a wrong password asks the approvers");
}

#[test]
fn it_is_for_root() {
    let world = World::new();
    let machine = machine(&world).start();
    let output = machine.try_exec(&["setpriv", "--reuid", "2001", "kbmfa-host", "doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("run it as root"));
}
