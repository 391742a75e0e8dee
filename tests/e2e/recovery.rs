//! The server's host is lost or replaced: the commands of docs/operations.md on an empty host, word for word,
//! with the authority's keys and without; and machines that find a server at its new address.

use kbmfa_tests::builder::{Enrolment, MachineBuilder};
use kbmfa_tests::built;
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

use crate::credentials::gets_in;

/// Owner of the state directory in these tests.
const OWNER: &str = "nobody";
const GROUP: &str = "nogroup";

/// The commands below this heading of the page.
fn commands(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let block = section.split("```console\n").nth(1).unwrap().split("\n```").next().unwrap();
    block.lines().map(str::to_owned).collect()
}

/// A server whose host is lost. Its configuration is restored, and root has a directory with the files that
/// were kept.
struct Lost {
    world: World,
    machine: Machine,
    kept: TempDir,
}

impl Lost {
    fn new() -> Self {
        let world = World::down(Some(OWNER));
        world.server.start();
        let machine = world.machine().start();
        gets_in(&world, &machine);
        world.admin.add_machine("spare");
        let kept = tempfile::tempdir().unwrap();
        world.admin.run(&["backup", kept.path().join("kbmfa.db").to_str().unwrap()]);
        run(brief("cp").arg("-a").arg(world.server.state_dir.join("ca")).arg(kept.path()));
        world.server.stop();
        fs::remove_dir_all(&world.server.state_dir).unwrap();
        Self { world, machine, kept }
    }

    /// Runs one line of the page. Returns what it printed.
    fn follow(&self, line: &str) -> String {
        if line == "systemctl start kbmfa-server" {
            self.world.server.start_until("HTTP/1.1 503");
            return String::new();
        }
        let line = line
            .replace("/root/kept", self.kept.path().to_str().unwrap())
            .replace("/var/lib/kbmfa", self.world.server.state_dir.to_str().unwrap())
            .replace("kbmfa:kbmfa", &format!("{OWNER}:{GROUP}"))
            .replace("-o kbmfa -g kbmfa", &format!("-o {OWNER} -g {GROUP}"));
        match line.strip_prefix("kbmfa-server ") {
            Some(verb) => self.world.admin.run(&verb.split(' ').collect::<Vec<_>>()),
            None => run(brief("sh").args(["-c", &line])),
        }
    }

    fn kinds_since_the_backup(&self) -> Vec<String> {
        let audit = self.world.admin.audit();
        let restored = audit.iter().position(|event| event.kind == "database.restored").unwrap();
        audit[restored..].iter().map(|event| event.kind.clone()).collect()
    }

    fn until_ready(&self) {
        until("the server to be ready", || {
            self.world.server.status("/readyz").filter(|ready| ready.contains(" 200 "))
        });
    }
}

#[test]
fn a_server_is_recovered_on_an_empty_host_as_the_page_says() {
    let lost = Lost::new();
    let lines = commands("Recover on a new host");
    let printed: Vec<String> = lines.iter().map(|line| lost.follow(line)).collect();
    assert!(printed.concat().contains("ends       a join token of machine spare"), "{printed:?}");
    lost.until_ready();
    gets_in(&lost.world, &lost.machine);
    let kinds = lost.kinds_since_the_backup();
    assert!(kinds.contains(&"server.certificate-renewed".to_owned()), "made while read-only: {kinds:?}");
    lost.world.admin.audit_verify();
    lost.machine.assert_nothing_left();
}

#[test]
fn a_server_whose_authority_is_lost_keeps_its_audit_log_under_a_new_one_as_the_page_says() {
    let mut lost = Lost::new();
    fs::remove_dir_all(lost.kept.path().join("ca")).unwrap();
    for line in &commands("Recover without the authority's keys") {
        if line.contains("ca new") {
            let complaint = lost.world.server.start_in_vain();
            assert!(complaint.contains("`kbmfa-server ca new` creates another"), "{complaint}");
            let would = lost.world.admin.dry_run(&["ca", "new"]);
            assert!(would.contains("Every machine refuses all logins until it has joined again"), "{would}");
        }
        lost.follow(line);
    }
    lost.until_ready();
    assert_eq!(lost.machine.ssh("alice", &["true"]).wait().code, 255, "it does not trust the new one");
    let refused = lost.world.admin.try_run(&["ca", "new", "--yes"]).unwrap_err();
    assert!(refused.contains("is in order"), "{refused}");

    let authority = fs::read(lost.world.server.state_dir.join("ca/1/ca.pem")).unwrap();
    put(&lost.machine.path("/etc/kbmfa/ca.pem"), 0o644, authority);
    gets_in(&lost.world, &lost.machine);
    let shown = lost.world.admin.json(&["ca", "show"]);
    lost.world.server.pin = shown[0]["pin"].as_str().unwrap().to_owned();
    let token = lost.world.admin.run(&["machine", "rotate", "web1"]);
    lost.machine.join_again(&lost.world, token.trim());
    gets_in(&lost.world, &lost.machine);
    let kinds = lost.kinds_since_the_backup();
    for kind in ["ca.started-over", "server.certificate-renewed"] {
        assert_eq!(kinds.iter().filter(|found| *found == kind).count(), 1, "{kind}: {kinds:?}");
    }
    lost.world.admin.audit_verify();
    lost.machine.assert_nothing_left();
}

/// A machine that knows its server by name. `/etc/hosts` there has this address for the name.
fn by_name(world: &World) -> Machine {
    let token = world.admin.add_machine("web1");
    let server = format!("https://localhost:{}", world.server.port);
    let (pin, port) = (world.server.pin.clone(), world.server.port);
    MachineBuilder::new("web1").enrolled(Enrolment { token, server, pin, port }).start()
}

#[test]
fn a_server_that_has_moved_is_found_by_refresh_and_never_by_a_login() {
    built::assert_root();
    let world = World::new();
    let machine = by_name(&world);
    gets_in(&world, &machine);
    let config = || fs::read_to_string(machine.path("/etc/kbmfa/pam.toml")).unwrap();
    let moves_to = |address: &str| {
        put(&machine.path("/etc/hosts"), 0o644, format!("{address} localhost web1\n"));
    };
    let before = config();
    assert!(before.contains("\"localhost\" = [\"127.0.0.1\"]"), "{before}");

    moves_to("127.0.0.9");
    let told = machine.exec(&["kbmfa-host", "refresh"]);
    assert!(told.contains("this server does not answer there, so its addresses were not changed"), "{told}");
    assert_eq!(config(), before, "nobody answers there");

    world.server.set("server", "listen", &format!("\"127.0.0.2:{}\"", world.server.port));
    moves_to("127.0.0.2");
    world.server.restart();
    assert_eq!(machine.ssh("alice", &["true"]).wait().code, 255, "no login looks a name up");
    let told = machine.exec(&["kbmfa-host", "refresh"]);
    assert!(told.contains("address    localhost: 127.0.0.2\n"), "{told}");
    assert_eq!(config(), before.replace("127.0.0.1", "127.0.0.2"), "and nothing else");
    gets_in(&world, &machine);
    let told = machine.exec(&["kbmfa-host", "refresh-ca"]);
    assert!(told.starts_with("unchanged"), "the old name of the verb does the same: {told}");
    machine.assert_nothing_left();
}
