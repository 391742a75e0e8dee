//! Environment variables: those of sshd, and those of PAM.

use kbmfa_tests::builder::Root;
use kbmfa_tests::impostor::Stranger;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::syslog::severity;
use kbmfa_tests::world::World;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::{su, with_su};
use crate::faults::Refusal;
use crate::sessions::{heard, sessions_of};
use crate::story::LET_IN;

/// Variables that other programs use. `EAR` stands for a port to which nothing may connect, and
/// `/tmp/stranger.pem` is another CA.
const HOSTILE: &str = "
export LD_LIBRARY_PATH=/tmp LD_PRELOAD=/tmp/none.so
export RUST_BACKTRACE=full RUST_LOG=trace RUST_MIN_STACK=1 MALLOC_PERTURB_=165
export SSL_CERT_FILE=/tmp/stranger.pem SSL_CERT_DIR=/tmp SSLKEYLOGFILE=/tmp/keys
export http_proxy=http://127.0.0.1:EAR HTTP_PROXY=http://127.0.0.1:EAR
export https_proxy=http://127.0.0.1:EAR HTTPS_PROXY=http://127.0.0.1:EAR
export all_proxy=socks5://127.0.0.1:EAR ALL_PROXY=socks5://127.0.0.1:EAR
export KBMFA_CONFIG=/tmp/pam.toml KBMFA_SERVER=https://127.0.0.1:EAR KBMFA_ON_UNREACHABLE=allow
export LC_ALL=tr_TR.UTF-8 LANGUAGE=tr TMPDIR=/nonexistent HOME=/nonexistent
";

/// A port to which nothing may connect.
struct Ear(TcpListener);

impl Ear {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn assert_heard_nothing(&self) {
        let knock = self.0.accept();
        assert!(matches!(&knock, Err(error) if error.kind() == ErrorKind::WouldBlock), "{knock:?}");
    }
}

/// Whether the heap of a process contains this text. sshd overwrites its environment with its title, and
/// keeps a copy in the heap.
fn heap_holds(pid: u32, text: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let heap = maps.lines().find(|line| line.ends_with("[heap]")).expect("a heap");
    let (from, to) = heap.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
    let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
    let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
    File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut bytes, from).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn nothing_in_the_environment_of_sshd_changes_anything() {
    for root in [Root::Debian12, Root::Debian13] {
        let (world, ear) = (World::new(), Ear::open());
        let hostile = HOSTILE.replace("EAR", &ear.port().to_string());
        let machine = world.machine().root(root).before_sshd(&hostile).start();
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        let pid = machine.asking();
        assert!(heap_holds(pid, "SSLKEYLOGFILE=/tmp/keys"), "the process does not have these variables");
        world.admin.approve(&id);
        assert_eq!(login.wait().transcript(), "in\nexit 0\n");
        world.admin.assert_story(&id, &LET_IN);

        world.server.stop();
        let stranger = Stranger::in_place_of(&world);
        let ca = stranger.server.state_dir.join("ca/signs/ca.pem");
        fs::copy(ca, machine.path("/tmp/stranger.pem")).unwrap();
        let prompt = "Your login needs an approval, and the approval server does not work properly.";
        Refusal { prompt, log: "TLS: invalid peer certificate", within: Duration::ZERO }.meets(&machine);
        drop(stranger);
        let prompt = "Your login needs an approval, and the approval server cannot be reached.";
        Refusal { prompt, log: "no connection: Connection refused", within: Duration::ZERO }.meets(&machine);

        ear.assert_heard_nothing();
        assert!(!machine.path("/tmp/keys").exists());
        assert!(!machine.sshd_log().contains("panicked"), "{}", machine.sshd_log());
    }
}

#[test]
fn nothing_in_the_environment_of_su_changes_anything() {
    let (world, ear) = (World::new(), Ear::open());
    let machine = with_su(world.machine());
    let hostile = HOSTILE.replace("EAR", &ear.port().to_string());
    let login = su(&machine, &hostile);
    let id = world.admin.pending();
    let environment = fs::read(format!("/proc/{}/environ", machine.asking())).unwrap();
    assert!(String::from_utf8(environment).unwrap().contains("SSLKEYLOGFILE=/tmp/keys"));
    world.admin.approve(&id);
    let finished = login.wait();
    assert!(finished.stdout.ends_with("bob\n"), "{finished:?}");
    world.admin.assert_story(&id, &LET_IN);

    world.server.stop();
    let stranger = Stranger::in_place_of(&world);
    let ca = stranger.server.state_dir.join("ca/signs/ca.pem");
    fs::copy(ca, machine.path("/tmp/stranger.pem")).unwrap();
    let finished = su(&machine, &hostile).wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 1), "{}", finished.stderr);
    machine.syslog.lines_with("TLS: invalid peer certificate");
    ear.assert_heard_nothing();
    assert!(!machine.path("/tmp/keys").exists());
    machine.assert_nothing_left();
}

/// A file of forged variables.
const FORGED: &str = "SSH_CONNECTION DEFAULT=\"192.0.2.1 50000 192.0.2.2 22\"
SSH_AUTH_INFO_0 DEFAULT=\"publickey ssh-ed25519 AAAAforged\"
FORGED DEFAULT=forged
";

/// Has alice write the forged variables to a file in her home, which Debian 12's `pam_env` reads.
fn forges(machine: &Machine) {
    fs::write(machine.path("/home/alice/.pam_environment"), FORGED).unwrap();
}

#[test]
fn changes_of_pams_environment_after_the_module_have_no_effect() {
    let world = World::new();
    // `pam_env` as Debian 12 has it, in the place that the recipe names.
    let stack = "auth required pam_deny.so\naccount required pam_unix.so\n\
                 session required pam_kbmfa.so silent\nsession required pam_env.so user_readenv=1\n";
    let machine = world.machine().phase(Phase::Session).pam_stack(stack).start();
    forges(&machine);
    let login = machine.ssh("alice", &["echo $FORGED"]);
    let id = world.admin.pending();
    let shown = world.admin.login(&id);
    assert_eq!(shown["source"], "127.0.0.1");
    let accepted = format!("Accepted key ED25519 {} ", shown["key"].as_str().unwrap());
    assert!(machine.sshd_log().contains(&accepted), "{accepted:?} in\n{}", machine.sshd_log());
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "forged\n");
    machine.assert_nothing_left();
}

#[test]
fn a_session_is_reported_with_its_login_whatever_people_set() {
    let world = World::new();
    let stack = "auth required pam_deny.so\naccount required pam_kbmfa.so\naccount required pam_unix.so\n\
                 session required pam_env.so user_readenv=1\n";
    let machine = world.machine().pam_stack(stack).reporting().start();
    forges(&machine);
    let login = machine.ssh("alice", &["echo $FORGED"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "forged\n");
    let session = heard(&world, &machine, "the close", || {
        sessions_of(&world, "alice").pop().filter(|session| !session["closed"].is_null())
    });
    assert_eq!((&session["login"], &session["source"]), (&id.into(), &"127.0.0.1".into()));
    assert!(!session["opened"].is_null(), "{session}");
    machine.assert_nothing_left();
}

#[test]
fn a_session_without_an_ask_is_not_reported_with_an_address_without_a_socket() {
    let world = World::new();
    let stack = "auth required pam_deny.so\naccount required pam_unix.so\n\
                 session required pam_env.so user_readenv=1\n";
    let machine = world.machine().pam_stack(stack).reporting().start();
    forges(&machine);
    assert_eq!(machine.ssh("alice", &["echo $FORGED"]).wait().stdout, "forged\n");
    let doubts =
        machine.syslog.lines_with("names 192.0.2.1:50000, but no socket of this process is connected to it");
    assert_eq!(doubts[0].severity, severity::WARNING);
    // A file cannot change PAM_RHOST.
    machine.syslog.lines_with("session opened for user alice from 127.0.0.1");
    machine.syslog.lines_with("session closed for user alice from 127.0.0.1");
    machine.assert_nothing_left();
}
