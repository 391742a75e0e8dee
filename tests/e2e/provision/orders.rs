//! What somebody with the server's stolen SSH key can do on a machine that takes only signed orders. The thief logs in
//! as ssh-admin and talks to the helper.

use kbmfa_tests::delivery::{
    self, HELPER, KEYS, REVOKED, SIGNERS, Sudo, deliver, dora, gets_in, is_refused, sh, status, until_state,
};
use kbmfa_tests::files::put;
use kbmfa_tests::login::Finished;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{program, run};
use kbmfa_tests::wait::{PATIENCE, until, until_within};
use kbmfa_tests::world::World;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A machine that takes only signed orders, on which dora has her key. Returns the key's fingerprint, too.
fn machine(world: &World) -> (Machine, String) {
    let machine = delivery::machine(world, Sudo::HelperOnly, &format!("{KEYS}{REVOKED}"));
    let key = dora(world, &[&machine]);
    deliver(world, &[&machine], "system");
    gets_in(&machine);
    (machine, key)
}

/// Runs a command with the server's SSH key, as its thief does.
fn thief(world: &World, machine: &Machine, command: &str) -> Finished {
    let key = world.server.state_dir.join("ssh_admin_key").display().to_string();
    machine.ssh_with("ssh-admin", &["-i", &key, "-o", "IdentitiesOnly=yes"], &[command]).wait()
}

/// What the helper replies to the thief's request.
fn reply(world: &World, machine: &Machine, request: &str) -> String {
    put(&machine.path("/tmp/request"), 0o644, request);
    thief(world, machine, &format!("sudo -n {HELPER} </tmp/request")).stdout
}

fn base64(file: &Path) -> String {
    run(program("base64").arg("-w0").arg(file))
}

/// A request with the signature of this key, or with none.
fn request(world: &World, verb: &str, body: &str, key: Option<&Path>) -> String {
    let hash = Sha256::digest(body).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let signature = key.map_or(String::new(), |key| {
        let (file, signature) = (world.dir().join("order"), world.dir().join("order.sig"));
        put(&file, 0o600, body);
        let _ = fs::remove_file(&signature);
        run(program("ssh-keygen").args(["-q", "-Y", "sign", "-n", "kbmfa-order", "-f"]).arg(key).arg(&file));
        base64(&signature)
    });
    format!("{verb} {} {hash} {signature}\n{body}", body.len())
}

/// The key by which the server signs, which the thief does not have: for orders that the server made.
fn roster_key(world: &World) -> PathBuf {
    world.server.state_dir.join("roster_key")
}

/// An order to open the account of dora to the thief, `later` than the last one, for the machine with this id.
fn order(machine: &Machine, later: u64, host: &str, valid: i64) -> String {
    let state = fs::read_to_string(machine.path("/etc/ssh/kbmfa/state")).unwrap();
    let (rest, counter) = state.trim_end().rsplit_once(' ').unwrap();
    let counter = counter.parse::<u64>().unwrap() + later;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let until = now.checked_add_signed(valid).unwrap();
    format!(
        "for {rest} {counter} {host} {until}\nadmin ssh-admin\nkeys dora {}\n",
        base64(&machine.path("/etc/hostname"))
    )
}

fn host(machine: &Machine) -> String {
    fs::read_to_string(machine.path("/etc/machine-id")).unwrap().trim().to_owned()
}

/// Hashes, modes and owners of everything in /etc, /home and beside the helper.
fn everything(machine: &Machine) -> String {
    let files = "find /etc /home /usr/local /var/spool/cron -xdev";
    sh(
        machine,
        &format!(
            "{files} -printf '%p %u %g %m %l\\n' | sort; {files} -type f -print0 | sort -z | xargs -0 sha256sum"
        ),
    )
}

/// Runs passes until one fails in this way. The loop of the server may be at the machine meanwhile.
fn fails(world: &World, why: &str) {
    let mut last = String::new();
    let found = until_within(PATIENCE, || {
        last = world.admin.try_run(&["provision", "run", "web1"]).unwrap_or_else(|error| error);
        last.contains(why).then_some(())
    });
    assert!(found.is_some(), "{last}");
}

#[test]
fn a_stolen_ssh_admin_key_alone_changes_nothing() {
    let world = World::new();
    let (machine, _) = machine(&world);
    let before = everything(&machine);
    let own = world.dir().join("own");
    run(program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&own));
    let stolen = world.server.state_dir.join("ssh_admin_key");
    let body = order(&machine, 1, &host(&machine), 300);
    for (key, word) in [(None, "unsigned"), (Some(own.as_path()), "signature"), (Some(&stolen), "signature")]
    {
        let reply = reply(&world, &machine, &request(&world, "apply", &body, key));
        assert_eq!(reply, format!("ready 1\nfailed {word}\n"));
    }
    for command in ["id", &format!("{HELPER} apply"), "tee /etc/ssh/kbmfa/signers"] {
        let refused = thief(&world, &machine, &format!("sudo -n {command} </dev/null"));
        assert!(refused.code != 0 && refused.stdout.is_empty(), "{command}: {refused:?}");
    }
    assert_eq!(everything(&machine), before);
    // What the thief may do is look, and the server itself goes on.
    let looked = reply(&world, &machine, &request(&world, "look", "admin ssh-admin\nplace system\n", None));
    assert!(looked.contains("\nkeys dora "), "{looked}");
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
}

#[test]
fn one_machines_order_is_refused_by_another() {
    let world = World::new();
    let (one, _) = machine(&world);
    let other = delivery::machine(&world, Sudo::HelperOnly, KEYS);
    deliver(&world, &[&other], "system");
    let before = everything(&one);
    let theirs = request(&world, "apply", &order(&one, 9, &host(&other), 300), Some(&roster_key(&world)));
    assert_eq!(reply(&world, &one, &theirs), "ready 1\nfailed other-machine\n");
    assert_eq!(everything(&one), before);
}

#[test]
fn an_order_is_taken_once_and_none_that_is_older() {
    let world = World::new();
    let (machine, _) = machine(&world);
    let keys = machine.path("/etc/ssh/kbmfa/keys/dora");
    let mut orders = [1, 2].map(|later| {
        request(&world, "apply", &order(&machine, later, &host(&machine), 300), Some(&roster_key(&world)))
    });
    let [older, newer] = &mut orders;
    let taken = reply(&world, &machine, newer);
    assert!(taken.starts_with("ready 1\nstep 1 changed\nend apply\n"), "{taken}");
    put(&keys, 0o644, "");
    for replayed in [newer, older] {
        assert_eq!(reply(&world, &machine, replayed), "ready 1\nfailed older\n");
    }
    assert_eq!(fs::read(&keys).unwrap(), b"");
}

#[test]
fn an_edited_order_is_refused() {
    let world = World::new();
    let (machine, _) = machine(&world);
    let before = everything(&machine);
    let body = order(&machine, 1, &host(&machine), 300);
    let signed = request(&world, "apply", &body, Some(&roster_key(&world)));
    let signature = signed.lines().next().unwrap().rsplit(' ').next().unwrap();
    let edits = [
        body.replace("keys dora", "keys alice"),
        body.replace("admin ssh-admin", "admin dora"),
        body.clone() + "disable dora\n",
        body.lines().take(2).fold(String::new(), |text, line| text + line + "\n"),
        body.replacen("for ", "for  ", 1),
    ];
    for edited in edits {
        let request = request(&world, "apply", &edited, None);
        let (head, rest) = request.split_once('\n').unwrap();
        let reply = reply(&world, &machine, &format!("{head}{signature}\n{rest}"));
        assert_eq!(reply, "ready 1\nfailed signature\n", "{edited}");
    }
    // Cut off, or with more than the hash is of.
    for damaged in [signed[..signed.len() - 9].to_owned(), signed.replacen("keys dora", "keys alic", 1)] {
        assert_eq!(reply(&world, &machine, &damaged), "ready 1\nfailed damaged\n");
    }
    assert_eq!(everything(&machine), before);
}

#[test]
fn an_order_is_refused_after_its_end_and_a_wrong_clock_is_named() {
    let (world, clock) = World::on_clock(&[]);
    clock.set(0);
    let (machine, _) = machine(&world);
    for valid in [-1, 1_300] {
        let request =
            request(&world, "apply", &order(&machine, 1, &host(&machine), valid), Some(&roster_key(&world)));
        assert_eq!(reply(&world, &machine, &request), "ready 1\nfailed clock\n", "{valid}");
    }
    for wrong in [-900, 900] {
        clock.set(wrong);
        world.admin.run(&["employee", "suspend", "dora@example.com"]);
        fails(&world, "the machine's clock differs from the server's by more than 10 minutes");
        gets_in(&machine);
        world.admin.run(&["employee", "resume", "dora@example.com"]);
    }
    clock.set(300);
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until("the pass", || world.admin.try_run(&["provision", "run", "web1"]).ok());
    is_refused(&machine);
}

#[test]
fn a_signers_file_that_others_could_have_written_stops_every_order() {
    let world = World::new();
    let (machine, _) = machine(&world);
    let line = fs::read_to_string(machine.path(SIGNERS)).unwrap();
    let faults = [
        format!("chmod 666 {SIGNERS}"),
        format!("chown ssh-admin {SIGNERS}"),
        format!("mv {SIGNERS} /etc/signers; ln -s /etc/signers {SIGNERS}"),
        format!("rm {SIGNERS}; mkdir {SIGNERS}"),
        format!("rm {SIGNERS}; ln -s nowhere {SIGNERS}"),
    ];
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    let break_by = |fault: &str| {
        sh(
            &machine,
            &format!("rm -rf {SIGNERS}; cat >{SIGNERS} <<'E'\n{line}E\nchmod 644 {SIGNERS}; {fault}"),
        );
    };
    break_by(&faults[0]);
    world.admin.run(&["employee", "resume", "dora@example.com"]);
    for fault in &faults {
        break_by(fault);
        fails(&world, "is no file that root alone can write, so it takes no order");
        let checked = world.admin.try_run(&["machine", "check", "web1"]).unwrap_or_else(|error| error);
        assert!(checked.contains("FAIL signed orders"), "{fault}: {checked}");
    }
    is_refused(&machine);
}

#[test]
fn signatures_are_demanded_at_every_level_of_sudo() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    put(&machine.path(SIGNERS), 0o644, world.admin.run(&["provision", "signers"]));
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    // Another server that has taken the place of this one, with its SSH key and its database.
    fs::remove_file(roster_key(&world)).unwrap();
    run(program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(roster_key(&world)));
    world.admin.run(&["employee", "resume", "dora@example.com"]);
    fails(&world, "does not take the signature of this server's roster key");
    is_refused(&machine);
}

#[test]
fn a_helper_of_another_version_is_named_and_goes_on() {
    let world = World::new();
    let (machine, _) = machine(&world);
    let checked = world.admin.run(&["machine", "check", "web1"]);
    assert!(checked.contains("ok   helper: this server's version"), "{checked}");
    let older = fs::read_to_string(machine.path(HELPER)).unwrap() + "# another version\n";
    put(&machine.path(HELPER), 0o755, older);
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    let left = status(&world, "web1")["left"].to_string();
    assert!(left.contains("kbmfa-helper is not the program of this server's version"), "{left}");
    let checked = world.admin.try_run(&["machine", "check", "web1"]).unwrap_or_else(|error| error);
    assert!(checked.contains("FAIL helper: another version"), "{checked}");
}
