//! `kbmfa-host` as people and scripts use it: its errors, and the files that it leaves.

use kbmfa_tests::files::put;
use kbmfa_tests::impostor::Stranger;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::ports::Port;
use kbmfa_tests::terminal::Terminal;
use kbmfa_tests::world::World;
use serde_json::Value;

/// The result of `kbmfa-host`: exit status, standard output, standard error.
fn host(machine: &Machine, words: &[&str]) -> (i32, String, String) {
    let output = machine.try_exec(&[&["kbmfa-host"], words].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Joins in a directory of its own, with this token in `/run/token` and with the file's mode.
fn join(machine: &Machine, port: u16, pin: &str, (token, mode): (&str, u32)) -> (i32, String, String) {
    put(&machine.path("/run/token"), mode, token);
    let server = format!("https://127.0.0.1:{port}");
    let words =
        ["join", "--server", &server, "--pin", pin, "--dir", "/etc/joined", "--token-file", "/run/token"];
    host(machine, &words)
}

#[test]
fn a_failed_join_says_how_far_it_got_and_what_cures_it() {
    let world = World::new();
    let machine = world.machine().start();
    let (port, pin) = (world.server.port, world.server.pin.clone());
    let check = |(code, _, said): (i32, String, String), error: &str, hint: &str| {
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(error) && said.contains(hint), "{said}");
        assert_eq!(
            said.contains("refused to let this machine join"),
            error.contains("refused to let"),
            "{said}"
        );
        assert!(!machine.path("/etc/joined/credential").exists());
    };
    let wrong = format!("sha256:{}", "ab".repeat(32));
    let unused = Port::reserve();
    check(join(&machine, unused.number, &pin, ("x", 0o600)), "cannot connect to https://", "nothing listens");
    check(join(&machine, port, &wrong, ("x", 0o600)), "did not prove its identity", "compare --pin");
    check(
        join(&machine, port, &pin, ("x", 0o600)),
        "refused to let this machine join",
        "machine join-token NAME",
    );
    machine.exec(&["sh", "-c", "echo 127.0.0.1 elsewhere.example >> /etc/hosts"]);
    let server = format!("https://elsewhere.example:{port}");
    let words =
        ["join", "--server", &server, "--pin", &pin, "--dir", "/etc/joined", "--token-file", "/run/token"];
    check(host(&machine, &words), "did not prove", "add \"elsewhere.example\" to `names`");
    assert!(machine.path("/run/token").exists(), "a token that was not used is kept");
}

#[test]
fn a_token_that_others_can_read_is_refused_and_a_used_one_is_removed() {
    let world = World::new();
    let machine = world.machine().start();
    let (port, pin) = (world.server.port, world.server.pin.clone());
    let token = world.admin.add_machine("web2");
    let (code, _, said) = join(&machine, port, &pin, (&token, 0o644));
    assert_eq!(code, 1);
    assert!(said.contains("has mode 0644") && said.contains("chmod 600 /run/token"), "{said}");
    assert!(machine.path("/run/token").exists() && !machine.path("/etc/joined/credential").exists());
    put(&machine.path("/run/token"), 0o600, &token);
    machine.exec(&["chown", "alice", "/run/token"]);
    let server = format!("https://127.0.0.1:{port}");
    let words = [
        "join",
        "--json",
        "--server",
        &server,
        "--pin",
        &pin,
        "--dir",
        "/etc/joined",
        "--token-file",
        "/run/token",
    ];
    let (code, _, said) = host(&machine, &words);
    assert!(code == 1 && said.contains("chown 0 /run/token"), "{said}");
    machine.exec(&["chown", "root", "/run/token"]);
    let (code, said, errors) = host(&machine, &words);
    assert_eq!((code, errors.as_str()), (0, ""));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["machine"], &said["window_s"], &said["deadline_s"]),
        (&"web2".into(), &60.into(), &75.into())
    );
    assert!(said["removed"][0].as_str().unwrap().contains("/run/token"), "{said}");
    assert!(!machine.path("/run/token").exists());
}

#[test]
fn before_it_has_joined_each_verb_says_join_first() {
    let world = World::new();
    let machine = world.machine().start();
    machine.exec(&["mv", "/etc/kbmfa/pam.toml", "/tmp/pam.toml"]);
    for verb in ["status", "refresh"] {
        let (code, _, said) = host(&machine, &[verb]);
        assert_eq!(code, 1);
        assert!(said.contains("this machine has not joined a server"), "{said}");
        assert!(said.contains("hint: join first: `kbmfa-host join --server https://"), "{said}");
    }
    let (code, said, _) = host(&machine, &["doctor"]);
    assert_eq!(code, 1);
    assert!(said.contains("has not joined") && said.contains("-> join first: `kbmfa-host join"), "{said}");
}

#[test]
fn every_verb_speaks_json_errors_included() {
    let world = World::new();
    let machine = world.machine().start();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    for verb in ["status", "doctor", "refresh"] {
        let (code, said, errors) = host(&machine, &[verb, "--json"]);
        assert!(code == 0 && json(&said).is_object() && errors.is_empty(), "{verb}: {said} {errors}");
    }
    world.server.stop();
    let stranger = Stranger::in_place_of(&world);
    for verb in ["status", "doctor", "refresh"] {
        let (code, _, errors) = host(&machine, &[verb, "--json"]);
        let error = json(&errors);
        assert!(code == 1 && error["error"].is_string() && error["hints"].is_array(), "{verb}: {errors}");
    }
    drop(stranger);
    for words in [&["join", "--json"][..], &["--json", "no-such-verb"]] {
        let (code, _, errors) = host(&machine, words);
        assert!(code == 64 && json(&errors)["error"].is_string(), "{words:?}: {errors}");
    }
    let (code, _, errors) = host(&machine, &["no-such-verb"]);
    assert!(code == 64 && errors.contains("unrecognized subcommand"), "{errors}");
}

#[test]
fn at_a_terminal_an_error_begins_with_the_programs_name_and_no_number() {
    let mut command = kbmfa_tests::process::brief(kbmfa_tests::built::host());
    command.args(["status", "--config", "/nonexistent/pam.toml"]);
    let (code, screen) = Terminal::start(command).end();
    assert_eq!(code, Some(1));
    assert!(screen.trim_start().starts_with("kbmfa-host: error: ") && !screen.contains('<'), "{screen:?}");
}

#[test]
fn a_machine_leaves_only_when_no_line_names_us_and_needs_no_server_for_that() {
    let world = World::new();
    let machine = world.machine().start();
    world.server.stop();
    let (code, _, said) = host(&machine, &["leave", "--yes"]);
    assert!(code == 1 && said.contains("/etc/pam.d/sshd:"), "{code} {said}");
    assert!(
        machine.path("/etc/kbmfa/credential").exists(),
        "nothing is removed while a line names the module"
    );
    machine.exec(&["sed", "-i", "/pam_kbmfa/d", "/etc/pam.d/sshd"]);
    let (code, would, said) = host(&machine, &["leave"]);
    assert!(code == 2 && would.contains("/etc/kbmfa/credential"), "{code} {would} {said}");
    assert!(machine.path("/etc/kbmfa/credential").exists(), "a dry run removes nothing");
    let (code, done, said) = host(&machine, &["leave", "--yes"]);
    assert!(code == 0 && done.contains("kbmfa-server machine remove"), "{code} {done} {said}");
    for file in ["pam.toml", "credential", "ca.pem"] {
        assert!(!machine.path(&format!("/etc/kbmfa/{file}")).exists(), "{file}");
    }
    let (code, again, _) = host(&machine, &["leave", "--yes"]);
    assert!(code == 0 && again.contains("nothing to do"), "{code} {again}");
}
