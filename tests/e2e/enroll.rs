//! The program `kbmfa-enroll` of an employee's computer, at a terminal and in scripts, with a real server over TLS.

use insta::assert_snapshot;
use kbmfa_tests::disk::Disk;
use kbmfa_tests::files::{put, set_mode};
use kbmfa_tests::laptop::Laptop;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::transcript::normalised;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

const EMAIL: &str = "alice@example.com";
const KEY: &str = ".ssh/id_ed25519_kbmfa";
const ASKS_FOR_INVITE: &str = "Invite (it is not shown):";
const ASKS_FOR_YES: &str = "[yes/no]";

/// A server where alice may go to web9.
fn world() -> World {
    let world = World::new();
    world.admin.run(&["machine", "add", "web9", "--pool", "web"]);
    world.admin.run(&["machine", "set", "web9", "--address", "web9.example.com", "--port", "2222"]);
    world.admin.run(&[
        "employee",
        "add",
        EMAIL,
        "--name",
        "Alice Liddell",
        "--unix-name",
        "alice",
        "--pool",
        "web",
    ]);
    world
}

fn invite(world: &World) -> String {
    world.admin.json(&["employee", "invite", EMAIL])["invite"].as_str().unwrap().to_owned()
}

/// Enrols a key without a question. The key is made if it is not there. Its device is called as the file.
fn enrolled(world: &World, laptop: &Laptop, key: &str, more: &[&str]) -> Value {
    put(&laptop.path("invite"), 0o600, invite(world));
    let (invite, file) = (laptop.path("invite"), laptop.path(key));
    let usual = ["--email", EMAIL, "--yes", "--no-passphrase", "--device", key.rsplit('/').next().unwrap()];
    let files = ["--invite-file", invite.to_str().unwrap(), "--key", file.to_str().unwrap()];
    laptop.json(&[&laptop.server()[..], &usual, &files, more].concat())
}

/// The keys that count, as the operator sees them.
fn keys(world: &World) -> Vec<String> {
    let list = world.admin.json(&["key", "list"]);
    list.as_array().unwrap().iter().map(|key| key["fingerprint"].as_str().unwrap().to_owned()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(laptop: &Laptop, inside: &str) -> u32 {
    fs::metadata(laptop.path(inside)).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_key_is_made_at_a_terminal_and_enrolled() {
    let world = world();
    let (laptop, secret) = (Laptop::of(&world), invite(&world));
    let options = ["--email", EMAIL, "--device", "laptop"];
    let mut terminal = laptop.at_terminal(&[&laptop.server()[..], &options].concat());
    terminal.answer_unseen(ASKS_FOR_INVITE, &secret);
    terminal.answer_unseen("Enter passphrase (empty for no passphrase):", "open sesame");
    terminal.answer_unseen("Enter same passphrase again:", "open sesame");
    terminal.answer(ASKS_FOR_YES, "yes");
    terminal.answer_unseen("Signing with", "open sesame");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains(&secret) && !screen.contains("sesame"), "{screen}");
    assert_snapshot!(normalised(&screen), @r"
    Invite (it is not shown):
    Alice Liddell <alice@example.com>, account alice
      machine  web9
    Making a new key: <path>
    Enter passphrase (empty for no passphrase):
    Enter same passphrase again:
    Enrol <fingerprint>? [yes/no] yes
    Signing with <path>
    Enter passphrase:
    key      <fingerprint>  ssh-ed25519  active  laptop
    To connect:
      ssh -i <path> -p 2222 alice@web9.example.com
    ");
    assert_eq!(keys(&world), [laptop.fingerprint(KEY)]);
    assert_eq!((mode(&laptop, ".ssh"), mode(&laptop, KEY)), (0o700, 0o600));
    let shown = &world.admin.json(&["key", "list"])[0];
    assert_eq!((&shown["device"], &shown["state"]), (&"laptop".into(), &"active".into()));
}

#[test]
fn who_has_a_key_sees_both_and_chooses() {
    let world = world();
    let here = "id";
    let laptop = Laptop::of(&world);
    enrolled(&world, &laptop, here, &[]);
    let chosen = |answer: &str, key: &str| {
        let secret = invite(&world);
        let path = laptop.make_key(key, "");
        let options = ["--email", EMAIL, "--device", key, "--key", path.to_str().unwrap()];
        let mut terminal = laptop.at_terminal(&[&laptop.server()[..], &options].concat());
        terminal.answer_unseen(ASKS_FOR_INVITE, &secret);
        terminal.answer("that the new one replaces:", answer);
        terminal.answer(ASKS_FOR_YES, "yes");
        terminal.end()
    };
    let (code, screen) = chosen("add", "second");
    assert_eq!(code, Some(0), "{screen}");
    assert_snapshot!(normalised(&screen), @r"
    Invite (it is not shown):
    Alice Liddell <alice@example.com>, account alice
      key      <fingerprint>  ssh-ed25519  active  id
      machine  web9
    You have keys already:
      1  <fingerprint>  ssh-ed25519  active  id
    The new one:
      -  <fingerprint>  ssh-ed25519  second
    Machines where they count: web9
    Type `add` for one more device, or the number of the key that the new one replaces: add
    Enrol <fingerprint>? [yes/no] yes
    Signing with <path>
    key      <fingerprint>  ssh-ed25519  active  second
    To connect:
      ssh -i <path> -p 2222 alice@web9.example.com
    ");
    assert_eq!(keys(&world).len(), 2);
    let place = laptop.json(&["list"]);
    let old = laptop.fingerprint(here);
    let at = place.as_array().unwrap().iter().position(|key| key["fingerprint"] == old.as_str()).unwrap();
    let (code, screen) = chosen(&(at + 1).to_string(), "third");
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains(&format!("revoked  {old}")), "{screen}");
    assert!(!keys(&world).contains(&old) && keys(&world).len() == 2);
}

#[test]
fn a_refused_invite_has_the_same_words_whatever_is_wrong() {
    let world = world();
    let laptop = Laptop::of(&world);
    let tried = |invite: &str, email: &str| {
        put(&laptop.path("invite"), 0o600, invite);
        let path = laptop.path("invite");
        let options = ["--email", email, "--invite-file", path.to_str().unwrap(), "--yes", "--no-passphrase"];
        let output = laptop.enroll(&[&laptop.server()[..], &options].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        stderr(&output)
    };
    let good = invite(&world);
    let wrong = tried(&format!("{}.{}", good.split('.').next().unwrap(), "0".repeat(40)), EMAIL);
    assert_snapshot!(wrong, @r"kbmfa-enroll: the server refused: the invite is not accepted; check it and your e-mail address, or ask your administrator for a new one (invite-refused)");
    assert_eq!(tried(&good, "bob@example.com"), wrong);
    assert_eq!(tried("00.11", EMAIL), wrong);
    world.admin.run(&["employee", "suspend", EMAIL]);
    assert_eq!(tried(&good, EMAIL), wrong);
    assert!(!laptop.path(".ssh").exists(), "no key is made for a refused invite");
    assert!(tried("not an invite", EMAIL).contains("it is ID.SECRET"));
}

/// The screen of somebody who types this invite, which is refused.
fn refused_at_a_terminal(laptop: &Laptop, secret: &str) -> String {
    let options = ["--email", EMAIL, "--device", "laptop"];
    let mut terminal = laptop.at_terminal(&[&laptop.server()[..], &options].concat());
    terminal.answer_unseen(ASKS_FOR_INVITE, secret);
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(1), "{screen}");
    assert!(!screen.contains(secret), "{screen}");
    normalised(&screen)
}

#[test]
fn an_invite_whose_time_is_over_and_one_that_was_used_are_refused_at_a_terminal() {
    let world = world();
    let laptop = Laptop::of(&world);
    let made = world.admin.json(&["employee", "invite", EMAIL, "--expires", "1s"]);
    let short = made["invite"].as_str().unwrap();
    let is_over = || world.admin.json(&["employee", "show", EMAIL])["invite"].is_null().then_some(());
    until("the end of the invite", is_over);
    let expired = refused_at_a_terminal(&laptop, short);
    assert_snapshot!(expired, @r"
    Invite (it is not shown):
    kbmfa-enroll: the server refused: the invite is not accepted; check it and your e-mail address, or ask your administrator for a new one (invite-refused)
    ");
    assert!(!laptop.path(".ssh").exists(), "no key is made for a refused invite");

    let secret = invite(&world);
    put(&laptop.path("invite"), 0o600, &secret);
    let (file, key) = (laptop.path("invite"), laptop.make_key("id", ""));
    let usual =
        ["--email", EMAIL, "--yes", "--invite-file", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
    laptop.json(&[&laptop.server()[..], &usual].concat());
    assert_eq!(refused_at_a_terminal(&laptop, &secret), expired);
    assert_eq!(keys(&world), [laptop.fingerprint("id")]);
}

#[test]
fn nothing_is_sent_to_a_server_with_another_pin_and_one_that_is_down_is_named() {
    let world = world();
    let good = invite(&world);
    let (other, laptop) =
        (Laptop::of(&world).with_pin(&format!("sha256:{}", "00".repeat(32))), Laptop::of(&world));
    let tried = |laptop: &Laptop| {
        put(&laptop.path("invite"), 0o600, &good);
        let path = laptop.path("invite");
        let options = ["--email", EMAIL, "--invite-file", path.to_str().unwrap(), "--yes", "--no-passphrase"];
        let output = laptop.enroll(&[&laptop.server()[..], &options].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!laptop.path(".ssh").exists());
        stderr(&output)
    };
    assert_snapshot!(tried(&other), @r"
    kbmfa-enroll: TLS: unexpected error: the server's chain holds no CA with the given pin
    This may not be your server, so nothing was sent to it. Compare the pin with your administrator, by another way than the one by which it came.
    ");
    world.server.stop();
    assert_snapshot!(tried(&laptop), @r"
    kbmfa-enroll: no connection: Connection refused (os error 111)
    The server cannot be reached, so nothing was changed. Try again later, or ask your administrator whether the address is right.
    ");
    world.server.start();
    enrolled(&world, &laptop, KEY, &[]);
}

#[test]
fn one_of_several_keys_of_an_agent_is_enrolled_and_signs() {
    let world = world();
    let laptop = Laptop::of(&world).with_agent();
    let [first, second] = ["elsewhere/one", "elsewhere/two"].map(|name| laptop.make_key(name, ""));
    let wanted = laptop.fingerprint("elsewhere/two");
    for key in [&first, &second] {
        laptop.give_to_agent(key);
        fs::remove_file(key).unwrap();
        fs::remove_file(key.with_extension("pub")).unwrap();
    }
    let secret = invite(&world);
    let options = ["--email", EMAIL, "--device", "laptop"];
    let mut terminal = laptop.at_terminal(&[&laptop.server()[..], &options].concat());
    terminal.answer_unseen(ASKS_FOR_INVITE, &secret);
    terminal.answer("or `new` for a new one:", "2");
    terminal.answer(ASKS_FOR_YES, "yes");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert_snapshot!(normalised(&screen), @r"
    Invite (it is not shown):
    Alice Liddell <alice@example.com>, account alice
      machine  web9
    Keys of this computer:
      1  <fingerprint>  ssh-ed25519  in the agent
      2  <fingerprint>  ssh-ed25519  in the agent
    Number of the key to enrol, or `new` for a new one: 2
    Enrol <fingerprint>? [yes/no] yes
    Signing with <path>
    key      <fingerprint>  ssh-ed25519  active  laptop
    To connect:
      ssh -i <path> -p 2222 alice@web9.example.com
    ");
    assert_eq!(keys(&world), [wanted.as_str()]);
    assert_eq!(
        laptop.json(&["list"])[0]["fingerprint"],
        wanted.as_str(),
        "the agent signs later requests, too"
    );
}

#[test]
fn a_key_with_a_passphrase_signs_at_a_terminal_alone() {
    let world = world();
    let laptop = Laptop::of(&world);
    let key = laptop.make_key("id", "open sesame");
    let secret = invite(&world);
    put(&laptop.path("invite"), 0o600, &secret);
    let options = ["--email", EMAIL, "--key", key.to_str().unwrap(), "--yes"];
    let file = laptop.path("invite");
    let from_file = ["--invite-file", file.to_str().unwrap()];
    let arguments = [&laptop.server()[..], &options, &from_file].concat();
    let refused = laptop.enroll(&arguments);
    assert!(stderr(&refused).contains("needs a terminal or an agent"), "{refused:?}");
    let signed = |passphrase: &str| {
        let mut terminal = laptop.at_terminal(&arguments);
        terminal.answer_unseen("Signing with", passphrase);
        terminal.end()
    };
    let (code, screen) = signed("wrong");
    assert_eq!((code, keys(&world).len()), (Some(1), 0), "{screen}");
    let (code, screen) = signed("open sesame");
    assert_eq!((code, keys(&world).len()), (Some(0), 1), "{screen}");
}

#[test]
fn existing_files_stay_and_a_full_disk_leaves_them_whole() {
    let world = world();
    let laptop = Laptop::of(&world);
    let key = laptop.make_key(KEY, "");
    let config = "Host mine\n    HostName mine.example.com\n";
    put(&laptop.path(".ssh/config"), 0o644, config);
    let disk = Disk::under(&laptop.path(".ssh"));
    disk.fill();
    put(&laptop.path("invite"), 0o600, invite(&world));
    let file = laptop.path("invite");
    let usual = ["--email", EMAIL, "--invite-file", file.to_str().unwrap(), "--yes", "--write-config"];
    let enroll = |key: &str| {
        let arguments = [&laptop.server()[..], &usual, &["--key", key, "--no-passphrase"]].concat();
        laptop.enroll(&arguments)
    };
    let new = laptop.path(".ssh/new");
    assert_eq!(enroll(new.to_str().unwrap()).status.code(), Some(1));
    assert_eq!(keys(&world).len(), 0);
    let names = || fs::read_dir(laptop.path(".ssh")).unwrap().count();
    let before = names();
    let late = enroll(key.to_str().unwrap());
    assert!(stderr(&late).contains("the server has done it, but then"), "{late:?}");
    assert_eq!(keys(&world), [laptop.fingerprint(KEY)]);
    assert_eq!((laptop.read(".ssh/config").as_str(), names()), (config, before));
    disk.clear();
    let usual = ["--by", key.to_str().unwrap(), "--write-config"];
    laptop.json(&[&["status"], &laptop.server()[..], &usual].concat());
    let written = laptop.read(".ssh/config");
    assert!(written.contains("Host web9\n") && written.ends_with(config), "{written}");
    assert_eq!(mode(&laptop, ".ssh/config"), 0o644);
}

#[test]
fn the_configuration_that_was_written_opens_the_machine_without_a_question_about_its_host_key() {
    let world = World::new();
    let machine = world.machine().phase(Phase::Account).start();
    world.admin.run(&["employee", "add", EMAIL, "--name", "Alice Liddell", "--unix-name", "alice"]);
    world.admin.run(&["pool", "add", "web", "--machine", "web1", "--employee", EMAIL]);
    let port = machine.port.number.to_string();
    world.admin.run(&["machine", "set", "web1", "--address", "127.0.0.1", "--port", &port]);
    let line = fs::read_to_string(machine.path("/etc/ssh/ssh_host_ed25519_key.pub")).unwrap();
    let known = world.dir().join("known_hosts");
    put(&known, 0o644, format!("[127.0.0.1]:{port} {line}"));
    let pinned = ["machine", "set", "web1", "--known-hosts", known.to_str().unwrap(), "--yes"];
    world.admin.run(&pinned);
    let laptop = Laptop::of(&world);
    for (name, mode) in [("id_ed25519", 0o600), ("id_ed25519.pub", 0o644)] {
        put(&laptop.path(name), mode, fs::read(machine.local_file(name)).unwrap());
    }
    enrolled(&world, &laptop, "id_ed25519", &["--write-config"]);
    let mut ssh = kbmfa_tests::process::program("ssh");
    ssh.arg("-F").arg(laptop.path(".ssh/config")).args(["web1", "echo", "in"]);
    let client = laptop.here(ssh).stdout(std::process::Stdio::piped()).spawn().unwrap();
    world.admin.approve(&world.admin.pending());
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in\n");
    put(&laptop.path(".ssh/known_hosts_kbmfa"), 0o600, "");
    let mut ssh = kbmfa_tests::process::brief("ssh");
    ssh.arg("-F").arg(laptop.path(".ssh/config")).args(["web1", "echo", "in"]);
    let refused = laptop.here(ssh).output().unwrap();
    assert!(stderr(&refused).contains("Host key verification failed"), "{refused:?}");
}

#[test]
fn a_key_that_is_rotated_waits_for_an_approval_and_then_signs() {
    let world = world();
    let laptop = Laptop::of(&world);
    enrolled(&world, &laptop, KEY, &[]);
    let old = laptop.fingerprint(KEY);
    let rotated = laptop.json(&["rotate", "--no-passphrase", "--yes"]);
    assert_eq!(rotated["key"]["state"], "pending");
    let new = laptop.fingerprint(".ssh/id_ed25519_kbmfa_2");
    assert_eq!(rotated["key"]["fingerprint"], new.as_str());
    assert_eq!(laptop.json(&["status"])["person"]["keys"].as_array().unwrap().len(), 2);
    world.admin.run(&["key", "approve", &new]);
    let listed = laptop.json(&["list"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["fingerprint"]), (1, &new.as_str().into()));
    assert_eq!(keys(&world), [new.as_str()]);
    let by_old = laptop.path(KEY);
    let refused = laptop.enroll(&["list", "--by", by_old.to_str().unwrap(), "--json"]);
    let error: Value = serde_json::from_str(&stderr(&refused)).unwrap();
    assert!(error["code"].is_string(), "{error}: {old} is revoked");
}

#[test]
fn a_lost_key_takes_along_what_it_enrolled() {
    let world = world();
    let laptop = Laptop::of(&world);
    enrolled(&world, &laptop, "safe", &[]);
    enrolled(&world, &laptop, "lost", &["--another"]);
    let path = |name: &str| laptop.path(name).to_str().unwrap().to_owned();
    laptop.json(&["add", "--by", &path("lost"), "--key", &path("thief"), "--no-passphrase", "--yes"]);
    world.admin.run(&["key", "approve", &laptop.fingerprint("thief")]);
    assert_eq!(keys(&world).len(), 3);
    let lost = laptop.fingerprint("lost");
    assert_eq!(laptop.enroll(&["revoke", &lost, "--by", &path("safe")]).status.code(), Some(64));
    assert_eq!(keys(&world).len(), 3, "nothing happens without --yes");
    let revoked = laptop.json(&["revoke", &lost, "--lost", "--by", &path("safe"), "--yes"]);
    assert_eq!(revoked["revoked"].as_array().unwrap().len(), 2, "{revoked}");
    assert_eq!(keys(&world), [laptop.fingerprint("safe")]);
}

#[test]
fn a_password_leaves_the_computer_as_a_hash_alone() {
    let world = world();
    let laptop = Laptop::of(&world);
    put(&laptop.path("invite"), 0o600, invite(&world));
    let (file, key) = (laptop.path("invite"), laptop.make_key("id", ""));
    let options = ["--email", EMAIL, "--yes", "--password"];
    let files = ["--invite-file", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let mut terminal = laptop.at_terminal(&[&laptop.server()[..], &options, &files].concat());
    terminal.answer_unseen("Password for your account", "correct horse battery");
    terminal.answer_unseen("The same password again:", "correct horse battery");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("horse"), "{screen}");
    let shown = world.admin.run(&["employee", "show", EMAIL]);
    assert!(shown.contains("password"), "{shown}");
    for text in [shown, world.admin.run(&["audit", "export"]), world.server.log()] {
        assert!(!text.contains("horse") && !text.contains("$6$"), "{text}");
    }
}

#[test]
fn a_password_is_chosen_later_with_an_enrolled_key_and_removed_again() {
    let world = world();
    let laptop = Laptop::of(&world);
    enrolled(&world, &laptop, "id", &[]);
    let mut terminal = laptop.at_terminal(&["password"]);
    terminal.answer_unseen("Password for your account", "correct horse battery");
    terminal.answer_unseen("The same password again:", "correct horse battery");
    terminal.answer(ASKS_FOR_YES, "yes");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert_snapshot!(normalised(&screen), @r"
    Password for your account on the machines (it is not shown):
    The same password again:
    Set this password for your account on the machines? [yes/no] yes
    Signing with <path>
    The password was set.
    ");
    let shown = world.admin.run(&["employee", "show", EMAIL]);
    assert!(shown.contains("account password: chosen"), "{shown}");
    for text in [shown, world.admin.run(&["audit", "export"]), world.server.log()] {
        assert!(!text.contains("horse") && !text.contains("$6$"), "{text}");
    }
    assert!(laptop.json(&["status"])["person"]["password_set_us"].is_u64());
    let would = world.admin.dry_run(&["key", "revoke", &laptop.fingerprint("id"), "--lost"]);
    assert!(would.contains("the password of their account is forgotten"), "{would}");

    let removed = laptop.json(&["password", "--remove", "--yes"]);
    assert!(removed["person"]["password_set_us"].is_null(), "{removed}");
    assert!(!world.admin.run(&["employee", "show", EMAIL]).contains("account password"));
    assert_eq!(world.admin.count(["employee.password-set", "employee.password-removed"]), [1, 1]);
    assert_eq!(laptop.enroll(&["password"]).status.code(), Some(64), "nobody can be asked");
}

#[test]
fn a_script_gets_errors_that_name_the_option_and_a_code() {
    let world = world();
    let laptop = Laptop::of(&world);
    let run = |arguments: &[&str]| {
        let output = laptop.enroll(&[&laptop.server()[..], arguments].concat());
        (output.status.code(), stderr(&output))
    };
    for (arguments, option) in
        [(&["--yes"][..], "--email"), (&["--email", EMAIL], "--invite-file"), (&["list"], "--by FILE")]
    {
        let (code, said) = run(arguments);
        assert!(code == Some(64) && said.contains(option), "{arguments:?}: {code:?} {said}");
    }
    assert_eq!(laptop.enroll(&["status"]).status.code(), Some(64), "no server is known yet");
    assert_eq!(run(&["--no-such-option", "--json"]).0, Some(64));
    put(&laptop.path("invite"), 0o600, "00.11");
    let invite = laptop.path("invite");
    let (code, said) = run(&["--email", EMAIL, "--invite-file", invite.to_str().unwrap(), "--json"]);
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &error["code"]), (Some(1), &"invite-refused".into()), "{error}");
}

/// No token is here, so that `ssh-keygen` can find no private half.
#[test]
fn a_key_of_a_security_token_is_offered_and_signs_through_ssh_keygen() {
    let world = world();
    let laptop = Laptop::of(&world);
    let public = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIC6gqGzZ7nTRjQGhP1MyWEY8\
                  6XHJSnkyQ9kPr7jbZ2tXAAAABHNzaDo= token\n";
    put(&laptop.path(".ssh/id_ed25519_sk.pub"), 0o644, public);
    set_mode(&laptop.path(".ssh"), 0o700);
    let secret = invite(&world);
    let mut terminal = laptop.at_terminal(&[&laptop.server()[..], &["--email", EMAIL]].concat());
    terminal.answer_unseen(ASKS_FOR_INVITE, &secret);
    terminal.answer("or `new` for a new one:", "1");
    terminal.answer(ASKS_FOR_YES, "yes");
    let (code, screen) = terminal.end();
    assert!(code == Some(1) && screen.contains("did not sign"), "{screen}");
    assert_eq!(keys(&world).len(), 0);
}
