//! sudo, which first asks for a password and then for an approval: `first_factor=stack`, in a real ssh
//! session without a terminal.

use insta::assert_snapshot;
use kbmfa_tests::login::Finished;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, PASSWORD_OF_BOB, SUDOERS};
use kbmfa_tests::world::World;

use crate::story::{LET_IN, TURNED_AWAY};

fn machine(world: &World, sudoers: &str) -> Machine {
    world.machine().pam_stack(FREE).sudo(sudoers).start()
}

/// bob runs `sudo id -u`, and types the next of these passwords each time he is asked for one.
fn sudo(machine: &Machine, passwords: &[&str], meanwhile: impl FnOnce()) -> Finished {
    let typed = passwords.join("\\n");
    let login = machine.ssh("bob", &[&format!("printf '{typed}\\n' | sudo -S -p '' id -u")]);
    meanwhile();
    login.wait()
}

#[test]
fn a_password_and_an_approval_make_root() {
    let world = World::new();
    let machine = machine(&world, SUDOERS);
    let finished = sudo(&machine, &[PASSWORD_OF_BOB], || {
        let id = world.admin.pending();
        let login = world.admin.login(&id);
        assert_eq!((&login["service"], &login["user"]), (&"sudo".into(), &"bob".into()));
        // sudo keeps its caller's real uid and names the caller. It passes neither the target account nor the
        // command to PAM.
        assert_eq!((&login["caller"]["uid"], &login["caller"]["ruser"]), (&2002.into(), &"bob".into()));
        world.admin.approve(&id);
    });
    assert_eq!((finished.stdout.as_str(), finished.code), ("0\n", 0), "{}", finished.stderr);
    world.admin.assert_story(&world.admin.only_login(), &LET_IN);
    machine.assert_nothing_left();
}

/// Checks what the documents say about asks at sudo, with a target that is neither root nor the caller.
#[test]
fn sudo_tells_pam_neither_the_command_nor_whose_it_runs_as() {
    let world = World::new();
    let machine = machine(&world, SUDOERS);
    let typed = format!("printf '{PASSWORD_OF_BOB}\\n' | sudo -S -p '' -u alice id -un");
    let login = machine.ssh("bob", &[&typed]);
    let id = world.admin.pending();
    let told = world.admin.login(&id);
    // PAM gets the caller's account. sudo keeps the caller's real uid meanwhile.
    assert_eq!((&told["user"], &told["caller"]["ruser"]), (&"bob".into(), &"bob".into()));
    assert_eq!(told["caller"]["uid"], 2002);
    let told = told.to_string();
    assert!(!told.contains("alice") && !told.contains("id -un"), "{told}");
    world.admin.approve(&id);
    let finished = login.wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("alice\n", 0), "{}", finished.stderr);
    machine.assert_nothing_left();
}

#[test]
fn a_wrong_password_asks_nobody() {
    let world = World::new();
    let machine = machine(&world, SUDOERS);
    let finished = sudo(&machine, &["guess"], || {});
    assert_snapshot!(finished.transcript(), @r"
    sudo: 1 incorrect password attempt
    exit 1
    ");
    assert!(world.admin.logins(&[]).is_empty());
    machine.assert_nothing_left();
}

#[test]
fn a_wrong_password_and_then_the_right_one_asks_once() {
    let world = World::new();
    let machine = machine(&world, "");
    let finished =
        sudo(&machine, &["guess", PASSWORD_OF_BOB], || world.admin.approve(&world.admin.pending()));
    assert_eq!((finished.stdout.as_str(), finished.code), ("0\n", 0), "{}", finished.stderr);
    assert_eq!(world.admin.logins(&[]).len(), 1);
    machine.assert_nothing_left();
}

/// sudo calls every module with `PAM_SILENT`, so none of our texts is displayed. The reason is in the syslog.
#[test]
fn a_denial_ends_sudo_at_once() {
    let world = World::new();
    let machine = machine(&world, SUDOERS);
    let finished = sudo(&machine, &[PASSWORD_OF_BOB; 3], || world.admin.deny(&world.admin.pending()));
    assert_snapshot!(finished.transcript(), @r"
    sudo: 1 incorrect password attempt
    exit 1
    ");
    world.admin.assert_story(&world.admin.only_login(), &TURNED_AWAY);
    machine.syslog.lines_with("user bob from this machine: denied (denied)");
    machine.assert_nothing_left();
}

/// By default sudo asks for the password three times, whatever PAM returns.
#[test]
fn repeated_passwords_at_sudo_cause_no_second_ask() {
    let world = World::new();
    let machine = machine(&world, "");
    let finished = sudo(&machine, &[PASSWORD_OF_BOB; 3], || world.admin.deny(&world.admin.pending()));
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 1));
    assert_eq!(world.admin.count(["login.opened", "ask.posted", "login.denied"]), [3, 1, 3]);
    machine.assert_nothing_left();
}
