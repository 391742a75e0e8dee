//! Machines on which something stands in the way: what is refused, what is put back, and what stays.

use kbmfa_tests::delivery::sh;
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::world::World;

use super::{DROP_IN, INCLUDE, bootstrap, delivers, fresh, from_key, set_up};

/// Everything that sshd and sudo read, with owners, modes and contents.
fn settings(machine: &Machine) -> String {
    sh(
        machine,
        "find /etc/ssh /etc/sudoers /etc/sudoers.d -path /etc/ssh/kbmfa -prune -o -printf '%p %u %g %m\\n' | sort; \
         find /etc/ssh /etc/sudoers /etc/sudoers.d -path /etc/ssh/kbmfa -prune -o -type f -print0 | sort -z | \
         xargs -0 sha256sum; getent passwd",
    )
}

#[test]
fn a_broken_sshd_config_is_named_before_anything_is_changed() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    put(&machine.path("/etc/ssh/sshd_config.d/90-site.conf"), 0o644, "PermitRootLogin perhaps\n");
    let before = settings(&machine);
    let (code, printed) = bootstrap(&world, &from_key(&machine, &["--yes"]), "");
    assert!(code == Some(1) && printed.contains("nothing was changed"), "{printed}");
    assert!(printed.contains("90-site.conf") && printed.contains("perhaps"), "{printed}");
    assert_eq!(settings(&machine), before);
    assert!(!machine.path("/etc/ssh/kbmfa").exists());
    sh(&machine, "rm /etc/ssh/sshd_config.d/90-site.conf");
    set_up(&world, &from_key(&machine, &["--yes"]), "");
}

#[test]
fn sshd_is_put_back_if_a_new_connection_does_not_work() {
    for lines in [INCLUDE, ""] {
        let world = World::new();
        let machine = fresh("fresh", &format!("{lines}AllowUsers root bob\n"));
        let config = machine.exec(&["cat", "/etc/ssh/sshd_config"]);
        let (code, printed) = bootstrap(&world, &from_key(&machine, &["--yes"]), "");
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("a new connection as ssh-admin failed"), "{printed}");
        assert!(printed.contains("sshd has its old files again"), "{printed}");
        assert!(!machine.path(DROP_IN).exists() && !machine.path("/etc/ssh/kbmfa/undo").exists());
        assert_eq!(machine.exec(&["cat", "/etc/ssh/sshd_config"]), config);
        let installed = machine.exec(&["cat", "/etc/ssh/kbmfa/installed"]);
        assert!(!installed.contains("sshd_config"), "{installed}");
        assert!(world.admin.json(&["provision", "status"])["machines"].as_array().unwrap().is_empty());
        sh(
            &machine,
            "sed -i 's/^AllowUsers.*/AllowUsers root bob ssh-admin dora/' /etc/ssh/sshd_config; kill -HUP 1",
        );
        set_up(&world, &from_key(&machine, &["--yes"]), "");
        delivers(&world, &machine);
    }
}

#[test]
fn other_files_of_sshd_do_not_win_over_ours_with_or_without_an_include_line() {
    for lines in
        [INCLUDE, "", "AuthorizedKeysFile .ssh/authorized_keys\nInclude /etc/ssh/sshd_config.d/*.conf\n"]
    {
        let world = World::new();
        let machine = fresh("fresh", lines);
        let cloud = "PasswordAuthentication yes\nAuthorizedKeysFile .ssh/authorized_keys\n";
        put(&machine.path("/etc/ssh/sshd_config.d/50-cloud-init.conf"), 0o600, cloud);
        let before = machine.exec(&["cat", "/etc/ssh/sshd_config"]);
        set_up(&world, &from_key(&machine, &["--yes"]), "");
        let after = machine.exec(&["cat", "/etc/ssh/sshd_config"]);
        let line = if lines == INCLUDE { "" } else { "Include /etc/ssh/sshd_config.d/00-kbmfa-keys.conf\n" };
        assert_eq!(after, format!("{line}{before}"));
        delivers(&world, &machine);
    }
}

#[test]
fn a_match_block_that_wins_over_our_file_is_noticed_and_nothing_of_sshd_is_changed() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let site = "Match User ssh-admin\nAuthorizedKeysFile /etc/site/%u\n";
    put(&machine.path("/etc/ssh/sshd_config.d/90-site.conf"), 0o644, site);
    let (code, printed) = bootstrap(&world, &from_key(&machine, &["--yes"]), "");
    assert!(code == Some(1) && printed.contains("sshd would still use other values"), "{printed}");
    assert!(printed.contains("/etc/site/%u") && printed.contains("old files again"), "{printed}");
    assert!(!machine.path(DROP_IN).exists());
}

#[test]
fn a_full_disk_leaves_sshd_and_sudo_as_they_are() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let before = settings(&machine);
    sh(
        &machine,
        "dd if=/dev/zero of=/fill bs=1M 2>/dev/null || true; dd if=/dev/zero of=/fill2 bs=1 2>/dev/null || true",
    );
    let (code, printed) = bootstrap(&world, &from_key(&machine, &["--yes"]), "");
    assert!(code == Some(1) && printed.contains("is the disk full"), "{printed}");
    assert_eq!(settings(&machine), before);
    sh(&machine, "rm /fill /fill2");
    set_up(&world, &from_key(&machine, &["--yes"]), "");
    delivers(&world, &machine);
}
