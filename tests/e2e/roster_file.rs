//! The roster as one file, and the files of the old tool, on the command line of a real server.

use kbmfa_tests::world::World;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMsrimAKNOMGBqTrwdA1La4FPVP5aRhShIR9OkT3cKi2";

/// A directory with files that a test writes.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }
}

/// A server with one of everything.
fn filled() -> World {
    let world = World::new();
    let run = |args: &[&str]| world.admin.run(args);
    run(&["machine", "add", "web1", "--pool", "web"]);
    run(&["machine", "set", "web1", "--address", "web1.example.com", "--port", "2222"]);
    run(&["machine", "add", "db1", "--pool", "db"]);
    run(&["pool", "set", "web", "--label", "Web \"servers\""]);
    for name in ["alice", "bob", "carol"] {
        let email = format!("{name}@example.com");
        run(&["employee", "add", &email, "--name", name, "--unix-name", name, "--pool", "web"]);
    }
    run(&["grant", "add", "alice@example.com", "db", "--sudo", "ops", "--until", "8h"]);
    run(&["employee", "suspend", "carol@example.com"]);
    let files = Files::new();
    let key = files.write("key.pub", KEY);
    run(&["key", "add", "alice@example.com", &key, "--device", "laptop"]);
    world
}

fn count_events(world: &World) -> usize {
    world.admin.json(&["audit", "search", "--limit", "1000000"]).as_array().unwrap().len()
}

#[test]
fn an_exported_roster_is_applied_to_another_server_whole_and_once() {
    let (one, other, files) = (filled(), World::new(), Files::new());
    let (file, again) = (files.path("roster.toml"), files.path("again.toml"));
    let (path, again) = (file.display().to_string(), again.display().to_string());
    one.admin.run(&["roster", "export", "--file", &path]);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(one.admin.run(&["roster", "export"]).trim_end(), text.trim_end());
    assert!(one.admin.run(&["roster", "apply", &path]).contains("nothing to do"));
    let refused = other.admin.try_run(&["roster", "apply", &path]).unwrap_err();
    assert!(
        refused.contains("the roster of another server") && refused.contains("remove the line"),
        "{refused}"
    );
    let moved: String = text
        .lines()
        .filter(|line| !line.starts_with("server ="))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let moved = files.write("moved.toml", &moved);
    let before = count_events(&other);
    let would = other.admin.dry_run(&["roster", "apply", &moved]);
    for line in [
        "+ pool web: Web \"servers\"",
        "+ machine web1, address [web1.example.com]:2222",
        "a record only",
        "suspended",
    ] {
        assert!(would.contains(line), "{line}: {would}");
    }
    assert_eq!(count_events(&other), before, "a dry run changes nothing");
    assert!(other.admin.run(&["roster", "apply", &moved, "--yes"]).contains("done"));
    let after = count_events(&other);
    assert!(other.admin.run(&["roster", "apply", &moved, "--yes"]).contains("nothing to do"));
    assert_eq!(count_events(&other), after, "nothing was done, so nothing is recorded");
    other.admin.run(&["roster", "export", "--file", &again]);
    let entries = |text: &str| text.split_once("[[pool]]").unwrap().1.to_owned();
    assert_eq!(entries(&fs::read_to_string(&again).unwrap()), entries(&text));
    assert!(other.admin.run(&["access", "who", "web1"]).contains("laptop"));
}

#[test]
fn a_file_that_lost_people_removes_nobody_unseen() {
    let (world, files) = (filled(), Files::new());
    let text = world.admin.run(&["roster", "export"]);
    let cut = files.write("cut.toml", text.split_once("[[grant]]").unwrap().0);
    let refused = world.admin.try_run(&["roster", "apply", &cut, "--yes"]).unwrap_err();
    assert!(refused.contains("ends without [end]") && refused.contains("nothing was changed"), "{refused}");
    let empty = files.write("empty.toml", "");
    assert!(
        world
            .admin
            .try_run(&["roster", "apply", &empty, "--yes"])
            .unwrap_err()
            .contains("roster.format: is missing")
    );
    let (head, _) = text.split_once("[[pool]]").unwrap();
    let nobody = files.write("nobody.toml", &format!("{head}[end]\n"));
    let would = world.admin.dry_run(&["roster", "apply", &nobody]);
    let count = would.lines().filter(|line| line.starts_with("- ")).count().to_string();
    assert!(would.contains("- machine web1: its credential ends"), "{would}");
    assert!(would.contains(&format!("--yes --confirm-removals {count}")), "{would}");
    for more in [&[][..], &["--confirm-removals", "3"]] {
        let refused =
            world.admin.try_run(&[&["roster", "apply", &nobody, "--yes"], more].concat()).unwrap_err();
        assert!(refused.contains(&format!("{count} things would be removed")), "{refused}");
    }
    assert!(world.admin.run(&["employee", "list"]).contains("alice"));
    world.admin.run(&["roster", "apply", &nobody, "--yes", "--confirm-removals", &count]);
    assert!(!world.admin.run(&["employee", "list"]).contains("alice"));
    let whole = files.write("whole.toml", &text);
    let refused = world.admin.try_run(&["roster", "apply", &whole]).unwrap_err();
    assert!(refused.contains("was revoked (removed) and is never accepted again"), "{refused}");
}

#[test]
fn every_fault_of_a_roster_file_has_its_line_and_nothing_is_changed() {
    let (world, files) = (filled(), Files::new());
    let text = world.admin.run(&["roster", "export"]);
    let edited =
        text.replace("pool = \"db\"", "pool = \"bd\"").replace("name = \"bob\"\nunix", "name = \"\"\nunix");
    let line = |wanted: &str| 1 + edited.lines().position(|line| line == wanted).unwrap();
    let path = files.write("edited.toml", &edited);
    let refused = world.admin.try_run(&["roster", "apply", &path, "--yes"]).unwrap_err();
    assert!(
        refused.contains(&format!(
            "edited.toml:{}: the file has no pool bd; did you mean db?",
            line("pool = \"bd\"") - 2
        )),
        "{refused}"
    );
    assert!(
        refused.contains(&format!("edited.toml:{}: employee.name: is missing or empty", line("name = \"\""))),
        "{refused}"
    );
    let taken = text.replace("uid = 20001", "uid = 20002").replacen("uid = 20002", "uid = 999", 1);
    let path = files.write("taken.toml", &taken);
    let refused = world.admin.try_run(&["roster", "apply", &path, "--yes"]).unwrap_err();
    assert!(refused.contains("bob@example.com has uid 20001, which never changes"), "{refused}");
    assert!(world.admin.run(&["roster", "export"]).trim_end() == text.trim_end());
}

#[test]
fn the_old_tools_files_are_taken_over_without_passwords() {
    let (world, files) = (World::new(), Files::new());
    let good = format!(
        r#"{{"0": {{"email": "x@x.fr", "password": "azerty-secret", "pool": "WebServer", "public_key": "{KEY} x@x.fr"}},
            "1": {{"email": "test2@test.fr", "pools": ["WebServer", "ProxmoxServer"]}}}}"#
    );
    let data = files.write("data.json", &good);
    let pools = files.write(
        "pools.json",
        r#"{"WebServer": {"name": "Web Server", "machines": ["192.168.163.135"]},
            "ProxmoxServer": {"name": "Proxmox Server", "machines": ["192.168.163.136", "192.168.163.135"]}}"#,
    );
    let import = ["import", "ssh-handler", "--data", &data, "--pools", &pools];
    let would = world.admin.dry_run(&import);
    assert!(would.contains("+ pool webserver: Web Server") && would.contains("+ employee x@x.fr"), "{would}");
    assert!(!world.admin.run(&["employee", "list"]).contains("x@x.fr"), "a dry run is the default");
    let output = world.admin.verb(&[&import[..], &["--yes"]].concat()).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        output.status.success() && said.contains("no key yet") && said.contains("not taken over"),
        "{said}"
    );
    assert!(!said.contains("azerty-secret") && !would.contains("azerty-secret"));
    assert!(world.admin.run(&["access", "of", "test2@test.fr"]).contains("192.168.163.136"));
    assert!(world.admin.run(&import).contains("nothing to do"));
    let kept = world.admin.run(&["--json", "audit", "search", "--limit", "1000000"])
        + &world.admin.run(&["roster", "export"]);
    assert!(!kept.contains("azerty-secret"));
    files.write(
        "data.json",
        &good.replace("WebServer\", \"public", "WebSrever\", \"public").replace("test2@", "test2"),
    );
    let refused = world.admin.try_run(&import).unwrap_err();
    for part in [
        "record \"0\": pools.json has no pool \"WebSrever\"; did you mean WebServer?",
        "record \"1\": not an e-mail address",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}
