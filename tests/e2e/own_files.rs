//! The server's own files. It does not trust a file that others could change, and a file that root creates by
//! name does not replace somebody else's.

use kbmfa_tests::files::{put, set_mode};
use kbmfa_tests::process::brief;
use kbmfa_tests::world::World;
use kbmfa_tests::{built, wait::until};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};

#[test]
fn a_server_with_unsafe_files_does_not_start_and_names_the_fix() {
    let world = World::down(None);
    for (file, right, wrong, fix) in [
        (world.server.config.clone(), 0o644, 0o666, "chmod go-w"),
        (world.server.state_dir.join("ca/1/ca.key"), 0o600, 0o644, "chmod 0600"),
        (world.server.state_dir.join("tls/server.pem"), 0o600, 0o640, "chmod 0600"),
        (world.server.state_dir.clone(), 0o700, 0o777, "chmod go-w"),
    ] {
        set_mode(&file, wrong);
        let fix = format!("{fix} {}", file.display());
        for complaint in
            [world.server.start_in_vain(), world.admin.try_run(&["check"]).unwrap_err(), world.admin.doctor()]
        {
            assert!(complaint.contains(&fix), "{complaint}");
        }
        set_mode(&file, right);
    }
    chown(&world.server.config, Some(12345), None).unwrap();
    let complaint = world.server.start_in_vain();
    assert!(complaint.contains(&format!("chown root {}", world.server.config.display())), "{complaint}");
    chown(&world.server.config, Some(0), None).unwrap();
    world.server.start();
    set_mode(&world.server.config, 0o666);
    world.server.reload();
    until("the reload to be refused", || world.server.log().contains("nothing was reloaded").then_some(()));
}

#[test]
fn root_writes_copies_of_a_server_that_is_another_account_s_into_its_own_folder() {
    let world = World::down(Some("nobody"));
    world.server.start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    put(&folder.path().join("copy.db.part"), 0o600, "somebody's");
    world.admin.run(&["backup", &path("copy.db")]);
    world.admin.run(&["audit", "export", &path("events")]);
    for name in ["copy.db", "events"] {
        let made = fs::metadata(path(name)).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o777), (0, 0o600), "{name}");
    }
    world.admin.run(&["audit", "verify", "--file", &path("events")]);
    assert!(world.admin.dry_run(&["restore", &path("copy.db")]).contains("undoes"));
    for verb in [&["backup"][..], &["audit", "export"]] {
        let there = path("copy.db.part");
        let refused = world.admin.try_run(&[verb, &[there.as_str()]].concat()).unwrap_err();
        assert!(refused.contains("exists already") && refused.contains("choose another name"), "{refused}");
    }
    assert_eq!(fs::read_to_string(path("copy.db.part")).unwrap(), "somebody's");
    let left: Vec<_> = fs::read_dir(&world.server.state_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".backup"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    world.admin.audit_verify();
}

#[test]
fn init_as_root_follows_no_link_that_the_owner_of_the_directory_planted() {
    built::assert_root();
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    let (state, theirs) = (dir.path().join("state"), dir.path().join("roots"));
    for made in [&state, &theirs] {
        fs::create_dir(made).unwrap();
    }
    chown(&state, Some(12345), Some(12345)).unwrap();
    set_mode(&theirs, 0o755);
    let init = || {
        let mut command = brief(built::server());
        command.args(["init", "--name", "localhost", "--listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(&state).arg("--config").arg(dir.path().join("server.toml"));
        command.output().unwrap()
    };
    for name in ["tls", "ca", "kbmfa.db"] {
        let target = if name == "kbmfa.db" { theirs.join("new") } else { theirs.clone() };
        symlink(&target, state.join(name)).unwrap();
        let output = init();
        assert!(!output.status.success(), "{name}");
        let found = fs::metadata(&theirs).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o755), "{name}");
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0, "{name}");
        assert!(!dir.path().join("server.toml").exists(), "nothing is left behind");
        fs::remove_file(state.join(name)).unwrap();
    }
    let output = init();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["tls/server.pem", "ca/1/ca.key", "kbmfa.db"] {
        assert_eq!(fs::metadata(state.join(name)).unwrap().uid(), 12345, "{name}");
    }
    assert_eq!(fs::metadata(dir.path().join("server.toml")).unwrap().uid(), 0);
}
