//! `kbmfa-host doctor` on real machines: well where everything is as the recipes say, and a fault with its fix for each
//! thing that is not.

use kbmfa_tests::builder::{MachineBuilder, Root};
use kbmfa_tests::files::put;
use kbmfa_tests::impostor::Stranger;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use serde_json::Value;

/// What an administrator adds besides the packaged lines when more than a few log in at once.
const STARTUPS: &str = "MaxStartups 100:30:300";

/// Debian 13's `/etc/pam.d/sshd` up to its session lines; Debian 12's is the same.
const DEBIANS: &str = "@include common-auth\naccount    required     pam_nologin.so\n@include common-account\n\
                       session required pam_loginuid.so\nsession required pam_env.so\n";

struct Report {
    ok: bool,
    findings: Vec<Value>,
}

fn doctor(machine: &Machine, more: &[&str]) -> Report {
    let output = machine.try_exec(&[&["kbmfa-host", "doctor", "--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&output.stderr)));
    let ok = report["ok"].as_bool().unwrap();
    assert_eq!(output.status.success(), ok, "the exit code says something else than {report}");
    Report { ok, findings: report["findings"].as_array().unwrap().clone() }
}

impl Report {
    #[track_caller]
    fn is_well(&self) {
        let ill: Vec<_> = self.findings.iter().filter(|finding| finding["level"] != "ok").collect();
        assert!(self.ok && ill.is_empty(), "{ill:#?}");
    }

    /// Something of this level says this, and names a fix.
    #[track_caller]
    fn has(&self, level: &str, found: &str) {
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
            machine.syslog.lines_with("rehearsed, and nobody let in");
            machine.assert_nothing_left();
        }
    }
    let everything = world.admin.logins(&[]);
    assert_eq!(everything.len(), 6, "a machine rehearsed more than once, or did something else");
}

#[test]
fn people_read_a_table_and_each_fault_once_more_below_it() {
    let world = World::new();
    let machine = machine(&world).start();
    let table = machine.exec(&["kbmfa-host", "doctor"]);
    assert!(
        table.contains("WHAT") && table.contains("asks, and nothing before it lets anybody in"),
        "{table}"
    );
    assert!(table.lines().last().unwrap().trim_start().starts_with("ok  rehearsal"), "{table}");
    machine.exec(&["chmod", "644", "/etc/kbmfa/credential"]);
    let output = machine.try_exec(&["kbmfa-host", "doctor"]);
    let (table, below) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(table.contains("FAULT  configuration") && table.contains(" -> "), "{table}");
    assert!(below.contains("kbmfa-host: error: configuration: /etc/kbmfa/credential"), "{below}");
}

/// Debian's own stack with one line of ours, where the recipes say, and where they say it must not be.
#[test]
fn the_place_in_debians_own_stack_decides() {
    let world = World::new();
    let ours = "account required pam_kbmfa.so\n";
    for root in [Root::Debian12, Root::Debian13] {
        let before =
            DEBIANS.replace("@include common-account\n", &format!("{ours}@include common-account\n"));
        doctor(&machine(&world).root(root).pam_stack(&before).start(), &[]).is_well();
        let after =
            DEBIANS.replace("session required pam_loginuid", &format!("{ours}session required pam_loginuid"));
        doctor(&machine(&world).root(root).pam_stack(&after).start(), &[])
            .has("fault", "ends the stack on new_authtok_reqd");
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
    stack(&ours.replace("required", "[success=ok default=ignore]"))
        .has("fault", "does not end a login that it refuses");
    stack(&format!("account sufficient pam_localuser.so\n{ours}")).has("fault", "is not always asked");
    stack("account required pam_unix.so\n").has("fault", "nobody needs an approval");
    stack("account required pam_kbmfa.so log_only\n").has("fault", "only looks on");
    stack("account required pam_kbmfa.so log-only\n").has("fault", "\"log-only\" is not known");
    stack("account required /opt/pam_kbmfa.so\n").has("fault", "would be refused: Module is unknown");
    sshd("").has("weak", "while 10 logins wait");
    sshd("LoginGraceTime 60").has("fault", "ends logins that could still be approved");
    sshd("UsePAM no").has("fault", "never calls the module");
    auth("AuthenticationMethods any").has("fault", "with a key alone");
    auth("AuthenticationMethods publickey publickey,keyboard-interactive").has("fault", "leads past");
    auth(
        "AuthenticationMethods publickey,password publickey,keyboard-interactive\nPasswordAuthentication yes",
    )
    .has("weak", "asked twice");
}

#[test]
fn a_match_block_is_looked_at_for_the_user_it_is_about() {
    let world = World::new();
    let lines = format!("{STARTUPS}\nMatch User bob\nAuthenticationMethods publickey\nMatch all");
    let machine = world.machine().phase(Phase::Auth).sshd_lines(&lines).start();
    doctor(&machine, &["--user", "alice"]).is_well();
    doctor(&machine, &["--user", "bob"]).has("fault", "leads past the auth line");
}

#[test]
fn each_fault_of_the_files_names_its_fix() {
    let world = World::new();
    let machine = machine(&world).start();
    let module = format!("/usr/lib/{}-linux-gnu/security/pam_kbmfa.so", std::env::consts::ARCH);
    let looked = |fault: &[&str], mended: &[&str], level: &str, found: &str| {
        machine.exec(fault);
        doctor(&machine, &[]).has(level, found);
        machine.exec(mended);
    };
    looked(
        &["chmod", "644", "/etc/kbmfa/credential"],
        &["chmod", "600", "/etc/kbmfa/credential"],
        "fault",
        "others could read it",
    );
    looked(&["chmod", "777", "/etc/kbmfa"], &["chmod", "755", "/etc/kbmfa"], "fault", "others can replace");
    looked(&["chown", "alice", "/etc/kbmfa"], &["chown", "root", "/etc/kbmfa"], "fault", "who can replace");
    looked(&["chown", "alice", &module], &["chown", "root", &module], "fault", "somebody beside root");
    looked(&["mv", &module, "/tmp/away"], &["mv", "/tmp/away", &module], "fault", "not where libpam looks");
    let config = "/etc/kbmfa/pam.toml";
    machine.exec(&["cp", "-p", config, "/tmp/pam.toml"]);
    let mend = ["cp", "-p", "/tmp/pam.toml", config];
    let set = |key: &str, value: &str| machine.set(key, value);
    for (key, value, level, found) in [
        ("on_unreachable", "\"allow\"", "weak", "needs no approval"),
        ("deadline", "\"60s\"", "fault", "the deadline here is 60s"),
        ("deadline", "\"110s\"", "weak", "little is left"),
        ("deadlin", "\"60s\"", "fault", "unknown field `deadlin`"),
    ] {
        set(key, value);
        doctor(&machine, &[]).has(level, found);
        machine.exec(&mend);
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
    report.has("fault", "cannot be reached");
    // A rehearsal goes by no exception: it lets nobody in, also where a login would be let in.
    machine.set("on_unreachable", "\"allow\"");
    doctor(&machine, &[]).has("fault", "a login of root would be refused");
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
fn sudos_stack_is_looked_at_by_its_name_without_sshd() {
    let world = World::new();
    let machine = world.machine().sudo("").start();
    doctor(&machine, &["--service", "sudo"]).is_well();
    machine.exec(&["sed", "-i", "s/requisite/required/", "/etc/pam.d/sudo"]);
    doctor(&machine, &["--service", "sudo"]).has("weak", "a wrong password rings people");
}

#[test]
fn it_is_for_root() {
    let world = World::new();
    let machine = machine(&world).start();
    let output = machine.try_exec(&["setpriv", "--reuid", "2001", "kbmfa-host", "doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("run it as root"));
}
