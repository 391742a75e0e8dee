//! Machines with accounts and keys of before this server: shown, taken over when that is confirmed, and handed back.

use kbmfa_tests::delivery::{self, KEYS, REVOKED, Sudo, gets_in, is_refused, sh, until_state};
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;

const PAGE: &str = include_str!("../../../docs/provisioning.md");

/// Accounts of people, made by hand, and what their owners have put in the way.
const BY_HAND: &str = r#"
add() { # add NAME UID
  useradd -m -u "$2" -s /bin/sh -p '*' "$1"; install -d -m 700 -o "$1" -g "$1" "/home/$1/.ssh"
}
own() { chown "$1:$1" "/home/$1/.ssh/authorized_keys"; chmod 600 "/home/$1/.ssh/authorized_keys"; }
key() { # key COMMENT: a key that nobody has
  printf 'ssh-ed25519 %s %s\n' "$( { printf '\000\000\000\013ssh-ed25519\000\000\000\040'; head -c 32 /dev/urandom; } | base64 -w0)" "$1"
}
add dora 1501
{ echo '# my own keys'; cat /root/dora.pub; key dora@home; echo 'ssh-dss AAAA old'
  printf 'command="id" '; key job; printf '%s' "$(key without-line-end)"; } >/home/dora/.ssh/authorized_keys; own dora
add deploy 1503; for n in $(seq 200); do key "host$n"; done >/home/deploy/.ssh/authorized_keys; own deploy
add linked 1504; ln -s /etc/shadow /home/linked/.ssh/authorized_keys
add piped 1505; mkfifo /home/piped/.ssh/authorized_keys
add huge 1506; truncate -s 1G /home/huge/.ssh/authorized_keys; own huge
add long 1507; { head -c 50000 /dev/zero | tr '\0' x; echo; key fine; } >/home/long/.ssh/authorized_keys; own long
echo 'Weird.Name:x:1508:1508::/home/weird:/bin/sh' >>/etc/passwd
add opsy 1509; groupadd -f sudo; usermod -a -G sudo opsy; key opsy >/home/opsy/.ssh/authorized_keys; own opsy
add emil 1510; key emil >/home/emil/.ssh/authorized_keys; own emil
"#;

/// A machine with these accounts, in the pool `web`, to which dora has a grant, and that is served in homes.
fn by_hand(world: &World, sudo: Sudo) -> Machine {
    let machine = delivery::machine(world, sudo, &format!("{KEYS}{REVOKED}"));
    put(&machine.path("/root/dora.pub"), 0o644, fs::read(machine.local_file("id_ed25519.pub")).unwrap());
    sh(&machine, BY_HAND);
    let add = ["employee", "add", "dora@example.com", "--name", "Dora", "--unix-name", "dora"];
    world.admin.run(&[&add[..], &["--uid", "1501"]].concat());
    world.admin.run(&["pool", "add", "web", "--employee", "dora@example.com", "--machine", "web1"]);
    let enable = ["provision", "enable", "web1", "--keys", "home"];
    let by_helper = if sudo == Sudo::HelperOnly { &["--by-helper"][..] } else { &[] };
    world.admin.run(&[&enable[..], by_helper].concat());
    until_state(world, "web1", "confirmed");
    machine
}

/// Everything that `adopt` could change: files of homes but dora's, with owners, modes and times, and the databases.
fn others(machine: &Machine) -> String {
    sh(
        machine,
        "find /home -xdev ! -path '/home/dora*' ! -path '/home/ssh-admin*' -printf '%p %m %u %g %l %s %T@\\n' | sort
         find /home -xdev ! -path '/home/ssh-admin*' ! -path '/home/dora*' -type f -size -1000k -exec sha256sum {} + | sort
         cat /etc/passwd /etc/shadow; grep -v '^kbmfa-managed:' /etc/group",
    )
}

fn file_of(machine: &Machine, account: &str) -> String {
    fs::read_to_string(machine.path(&format!("/home/{account}/.ssh/authorized_keys"))).unwrap()
}

/// The row of this account.
fn row(found: &Value, account: &str) -> Value {
    let rows = found["accounts"].as_array().unwrap();
    rows.iter()
        .find(|row| row["account"] == account)
        .cloned()
        .unwrap_or_else(|| panic!("no {account}: {found}"))
}

#[test]
fn a_survey_shows_whose_accounts_are_there_and_changes_nothing() {
    let world = World::new();
    let machine = by_hand(&world, Sudo::Free);
    let (before, dora) = (others(&machine), file_of(&machine, "dora"));
    let found = world.admin.json(&["machine", "adopt", "web1"]);
    let (dora_row, deploy) = (row(&found, "dora"), row(&found, "deploy"));
    assert_eq!(
        (&dora_row["can_be_taken"], &dora_row["by"]),
        (&true.into(), &"name-and-uid".into()),
        "{dora_row}"
    );
    assert_eq!((&deploy["can_be_taken"], &deploy["keys"]), (&false.into(), &200.into()), "{deploy}");
    for (account, why) in [
        ("root", "never taken over"),
        ("ssh-admin", "server itself"),
        ("deploy", "nobody's"),
        ("linked", "authorized_keys is a link"),
        ("piped", "authorized_keys is a link"),
        ("huge", "larger than 256 KiB"),
    ] {
        let note = row(&found, account)["note"].as_str().unwrap().to_owned();
        assert!(note.contains(why), "{account}: {note}");
    }
    assert!(found["names_not_accepted"].to_string().contains("Weird.Name"));
    let states: Vec<_> =
        found["keys"].as_array().unwrap().iter().filter(|key| key["account"] == "long").collect();
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states[0]["state"].as_str().unwrap().contains("too long"));
    let everything = found.to_string();
    assert!(!everything.contains("$6$") && !everything.contains("$y$"), "the file of passwords was read");
    let table = world.admin.run(&["machine", "adopt", "web1"]);
    assert!(table.contains("--take dora"), "{table}");
    for (words, why) in [
        (["--take", "deploy"], "nobody's"),
        (["--take", "root"], "never taken over"),
        (["--take", "ssh-admin"], "server itself"),
        (["--take", "nobody-here"], "no account nobody-here"),
        (["--map", "deploy=dora@example.com"], "account is called dora on every machine"),
        (["--map", "dora=nobody@example.com"], "no employee"),
    ] {
        let words = [&["machine", "adopt", "web1"], &words[..], &["--yes"]].concat();
        let refused = world.admin.try_run(&words).unwrap_err();
        assert!(refused.contains(why), "{words:?}: {refused}");
    }
    world.admin.dry_run(&["machine", "adopt", "web1", "--take", "dora", "--import-keys"]);
    world.admin.run(&["provision", "run", "web1"]);
    assert_eq!((others(&machine), file_of(&machine, "dora")), (before, dora));
    assert_eq!(world.admin.count(["account.adopted", "key.added"]), [0, 0]);
}

#[test]
fn an_account_that_is_taken_over_gets_and_loses_keys_and_is_handed_back_as_it_was() {
    let world = World::new();
    let machine = by_hand(&world, Sudo::HelperOnly);
    let (before, dora) = (others(&machine), file_of(&machine, "dora"));
    let taken = world.admin.json(&["machine", "adopt", "web1", "--take", "dora", "--import-keys", "--yes"]);
    let taken = &taken["taken"][0];
    assert_eq!(taken["imported"].as_array().unwrap().len(), 3, "{taken}");
    assert_eq!(
        taken["refused"].as_array().unwrap().len(),
        2,
        "the weak one and the one with options: {taken}"
    );
    until_state(&world, "web1", "confirmed");
    let file = file_of(&machine, "dora");
    let (own, block) = file.split_once("# kbmfa begin").unwrap();
    assert_eq!(own, format!("{dora}\n"), "what was there stays, with an end to its last line");
    assert_eq!(block.matches("ssh-ed25519 ").count(), 3, "{block}");
    assert!(sh(&machine, "getent group kbmfa-managed").trim().ends_with(":dora"));
    gets_in(&machine);
    assert_eq!(others(&machine), before, "what was not confirmed is byte for byte as it was");

    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    world.admin.run(&["employee", "resume", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);
    assert!(sh(&machine, "getent passwd dora").trim().ends_with(":/bin/sh"), "its own shell comes back");

    world.admin.dry_run(&["machine", "adopt", "web1", "--release", "dora"]);
    world.admin.run(&["machine", "adopt", "web1", "--release", "dora", "--yes"]);
    until_state(&world, "web1", "confirmed");
    assert_eq!(file_of(&machine, "dora"), format!("{dora}\n"));
    assert!(sh(&machine, "getent group kbmfa-managed").trim().ends_with(':'));
    assert_eq!(others(&machine), before);
    gets_in(&machine);
    let left = delivery::status(&world, "web1")["left"].to_string();
    assert!(left.contains("account dora was handed back"), "{left}");
    assert_eq!(world.admin.count(["account.adopted", "account.released", "key.added"]), [1, 1, 3]);

    // A machine that leaves gets all of them back, too.
    world.admin.run(&["machine", "adopt", "web1", "--take", "dora", "--yes"]);
    until_state(&world, "web1", "confirmed");
    assert!(file_of(&machine, "dora").contains("# kbmfa begin"));
    world.admin.run(&["provision", "disable", "web1", "--yes"]);
    until("the machine to be forgotten", || delivery::status(&world, "web1").is_null().then_some(()));
    assert_eq!(file_of(&machine, "dora"), format!("{dora}\n"));
    assert!(sh(&machine, "getent group kbmfa-managed").trim().ends_with(':'));
    assert_eq!(others(&machine), before);
    gets_in(&machine);
    world.admin.audit_verify();
}

#[test]
fn with_exclusive_the_whole_file_is_ours_and_what_others_add_is_removed() {
    let world = World::new();
    let machine = by_hand(&world, Sudo::Free);
    let take = ["machine", "adopt", "web1", "--take", "dora", "--exclusive"];
    let refused = world.admin.try_run(&[&take[..], &["--yes"]].concat()).unwrap_err();
    assert!(refused.contains("no active key, and would be locked out"), "{refused}");
    assert_eq!(world.admin.count(["account.adopted"]), [0]);
    let preview = world.admin.dry_run(&[&take[..], &["--import-keys"]].concat());
    assert!(preview.contains("  enrol SHA256:") && preview.contains("  remove SHA256:"), "{preview}");
    world.admin.run(&[&take[..], &["--import-keys", "--yes"]].concat());
    until_state(&world, "web1", "confirmed");
    let file = file_of(&machine, "dora");
    assert!(file.starts_with("# kbmfa begin") && file.trim_end().ends_with("# kbmfa end"), "{file}");
    assert!(!file.contains("command=") && !file.contains("my own keys"), "{file}");
    gets_in(&machine);
    sh(&machine, "cat /home/emil/.ssh/authorized_keys >>/home/dora/.ssh/authorized_keys");
    let ran = world.admin.run(&["provision", "run", "web1"]);
    assert!(ran.contains("write dora's ~/.ssh/authorized_keys"), "{ran}");
    assert_eq!(file_of(&machine, "dora"), file);
    let refused = world.admin.try_run(&["provision", "enable", "web1", "--keys", "system"]);
    refused.unwrap();
    let refused = world.admin.try_run(&[&take[..], &["--yes"]].concat()).unwrap_err();
    assert!(refused.contains("root alone writes"), "{refused}");
}

#[test]
fn a_uid_that_differs_is_named_and_can_be_set_until_a_machine_has_it() {
    let world = World::new();
    let machine = by_hand(&world, Sudo::Free);
    let add =
        ["employee", "add", "emil@example.com", "--name", "Emil", "--unix-name", "emil", "--pool", "web"];
    world.admin.run(&add);
    let map = ["machine", "adopt", "web1", "--map", "emil=emil@example.com", "--yes"];
    let found = world.admin.json(&["machine", "adopt", "web1"]);
    assert!(row(&found, "emil")["note"].as_str().unwrap().contains("--map emil=emil@example.com"));
    let refused = world.admin.try_run(&map).unwrap_err();
    assert!(refused.contains("employee set emil@example.com --uid 1510"), "{refused}");
    let refused = world.admin.try_run(&["employee", "set", "emil@example.com", "--uid", "1501"]).unwrap_err();
    assert!(refused.contains("uid 1501 is or was that of dora@example.com"), "{refused}");
    world.admin.run(&["employee", "set", "emil@example.com", "--uid", "1510"]);
    world.admin.run(&[&map[..], &["--import-keys"]].concat());
    until_state(&world, "web1", "confirmed");
    assert!(file_of(&machine, "emil").contains("kbmfa:"));
    let refused = world.admin.try_run(&["employee", "set", "emil@example.com", "--uid", "1511"]).unwrap_err();
    assert!(refused.contains("it does not change any more"), "{refused}");
}

#[test]
fn an_account_that_sudoers_knows_is_taken_over_only_if_the_machine_itself_allows_it() {
    let world = World::new();
    let machine = by_hand(&world, Sudo::HelperOnly);
    let add = ["employee", "add", "opsy@example.com", "--name", "O", "--unix-name", "opsy", "--pool", "web"];
    world.admin.run(&[&add[..], &["--uid", "1509"]].concat());
    let take = ["machine", "adopt", "web1", "--take", "opsy", "--import-keys", "--yes"];
    let refused = world.admin.try_run(&take).unwrap_err();
    assert!(refused.contains("write `adopt opsy` to /etc/ssh/kbmfa/policy"), "{refused}");
    sh(&machine, "echo 'adopt opsy' >>/etc/ssh/kbmfa/policy");
    world.admin.run(&take);
    until_state(&world, "web1", "confirmed");
    // The machine decides itself, whatever the server was told: dora comes into sudoers after she was taken over.
    world.admin.run(&["machine", "adopt", "web1", "--take", "dora", "--import-keys", "--yes"]);
    until_state(&world, "web1", "confirmed");
    sh(&machine, "gpasswd -d dora kbmfa-managed; echo 'User_Alias OPS = emil, dora' >>/etc/sudoers");
    until("a pass", || world.admin.try_run(&["provision", "run", "web1"]).ok());
    let row = delivery::status(&world, "web1");
    assert!(row["left"].to_string().contains("could not take over account dora: in-sudoers"), "{row}");
    assert!(sh(&machine, "getent group kbmfa-managed").trim().ends_with(":opsy"));
    let refused = world.admin.try_run(&["machine", "adopt", "web1", "--take", "dora", "--yes"]).unwrap_err();
    assert!(refused.contains("sudoers names it"), "{refused}");
}

/// The commands that the page tells an operator to type, on a machine with accounts made by hand.
#[test]
fn the_commands_of_the_page_take_accounts_over_and_hand_them_back() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, &format!("{KEYS}{REVOKED}"));
    put(&machine.path("/root/dora.pub"), 0o644, fs::read(machine.local_file("id_ed25519.pub")).unwrap());
    sh(&machine, BY_HAND);
    let dora = file_of(&machine, "dora");
    let part = PAGE.split("\n## From Ansible or hand-made keys to this and back\n").nth(1).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let blocks = part.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    let folder = machine.local_file("out");
    fs::create_dir(&folder).unwrap();
    for command in commands {
        let command = command.split("  #").next().unwrap().trim();
        let command = command.replace("--directory ", &format!("--directory {}/", folder.display()));
        let words: Vec<&str> = command.strip_prefix("kbmfa-server ").unwrap().split(' ').collect();
        if words.first() == Some(&"export")
            || command.ends_with("--yes")
            || !command.contains("--import-keys")
        {
            world.admin.run(&words);
        } else {
            world.admin.dry_run(&words);
        }
        if command.contains("provision enable") || command.ends_with("--yes") {
            until_state(&world, "web1", "confirmed");
            let is_ours = sh(&machine, "getent group kbmfa-managed || true").trim().ends_with(":dora");
            assert_eq!(is_ours, command.contains("--take"), "{command}");
        }
    }
    assert_eq!(file_of(&machine, "dora"), format!("{dora}\n"));
    gets_in(&machine);
    for file in ["keys/web1/dora", "ansible/playbook.yml", "ansible/inventory.json"] {
        assert!(folder.join(file).exists(), "{file}");
    }
}
