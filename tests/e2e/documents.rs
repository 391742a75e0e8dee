//! Runs the commands of the documentation in their order, on a machine that is also the server's host, so
//! that every path is as documented. All other commands are compared with the programs' own help.

use kbmfa_tests::builder::Root;
use kbmfa_tests::built;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::ports::Port;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const RECIPES: &str = include_str!("../../docs/recipes.md");
const KEYBASE: &str = include_str!("../../docs/keybase.md");

/// Lines in the console blocks of a page's part, in order.
fn commands(part: &str) -> Vec<&str> {
    let blocks = part.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).collect()
}

/// The part of a page below this heading.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let rest = page.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no part {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// The host on which the commands run.
struct Host {
    machine: Machine,
    pin: String,
    /// Ports in place of the documented 8443 and 8444, because tests share the network.
    ports: [Port; 2],
}

impl Host {
    /// A machine with both programs and the module as they are built, and little else.
    fn new() -> Self {
        let machine = Machine::stand_in(Root::Debian12, Phase::Account, "account required pam_permit.so\n");
        for (program, place) in [
            (built::server(), "/usr/sbin/kbmfa-server"),
            (built::server(), "/root/kbmfa-server.new"),
            (built::host(), "/usr/sbin/kbmfa-host"),
            (built::keybase(), "/usr/bin/keybase"),
            (built::module(), &module()),
        ] {
            fs::copy(program, machine.path(place)).unwrap();
        }
        machine.exec(&["sh", "-c", "echo 127.0.0.1 kbmfa.example >> /etc/hosts"]);
        machine.exec(&["chmod", "-x", &module()]);
        Self { machine, pin: String::new(), ports: [Port::reserve(), Port::reserve()] }
    }

    /// Runs a command as root, in root's home directory. Returns its output.
    fn enter(&mut self, command: &str) -> String {
        let port = format!(":{}", self.ports[0].number);
        let command = command.replace("sha256:THE-PIN", &self.pin).replace(":8443", &port);
        match command.as_str() {
            // There is no systemd here, so its part is done by hand.
            "systemctl stop kbmfa-server" => self.stop(),
            "systemctl start kbmfa-server" | "systemctl enable --now kbmfa-server" => self.start(),
            "systemctl restart kbmfa-server" => {
                self.stop();
                self.start();
            }
            // sshd is the machine's first process. `sshd -T` reads the files again each time.
            "sshd -t && systemctl reload ssh" => drop(self.machine.exec(&["/usr/sbin/sshd", "-t"])),
            ours if is_typed(ours) => return self.type_in(ours),
            _ => {}
        }
        String::new()
    }

    fn type_in(&mut self, command: &str) -> String {
        if command == "kbmfa-host doctor" {
            self.turn_on();
        }
        let printed = self.run(command);
        if command.starts_with("kbmfa-server init") {
            let pin = printed.split_whitespace().find(|word| word.starts_with("sha256:"));
            self.pin = pin.unwrap().into();
            let [port, status] = self.ports.each_ref().map(|port| port.number);
            let edit = format!("s/0.0.0.0:8443/127.0.0.1:{port}/; s/127.0.0.1:8444/127.0.0.1:{status}/");
            self.machine.exec(&["sed", "-i", &edit, "/etc/kbmfa/server.toml"]);
        }
        printed
    }

    /// Runs a command that may be a dry run which finds something to change.
    fn run(&self, command: &str) -> String {
        let done = self.machine.try_exec(&["sh", "-c", &format!("cd /root && {command}")]);
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        let is_dry_run =
            done.status.code() == Some(2) && printed.contains("hint: repeat the command with --yes");
        assert!(done.status.success() || is_dry_run, "{command}: {done:?}");
        printed
    }

    fn start(&self) {
        self.machine.exec(&["sh", "-c", "kbmfa-server serve </dev/null >/run/serve.log 2>&1 &"]);
        let log = self.machine.path("/run/serve.log");
        until("the server to serve", || fs::read_to_string(&log).unwrap().contains("serving").then_some(()));
    }

    fn stop(&self) {
        self.machine.exec(&["pkill", "-TERM", "-f", "kbmfa-server serve"]);
        let running = ["pgrep", "-f", "kbmfa-server serve"];
        until("the server to stop", || (!self.machine.try_exec(&running).status.success()).then_some(()));
    }

    /// Adds the README's line to the PAM stack. The machine's `sshd_config` has the README's other lines
    /// already.
    fn turn_on(&self) {
        let line = README.split("and in `/etc/pam.d/sshd`").nth(1).unwrap().split("```").nth(1).unwrap();
        let stack =
            format!("account required pam_nologin.so\n{}\naccount required pam_unix.so\n", line.trim());
        fs::write(self.machine.path("/etc/pam.d/sshd"), stack).unwrap();
    }
}

/// True for commands that can run here. The others build, install, or wait for a person.
fn is_typed(command: &str) -> bool {
    let waits = ["kbmfa-server login watch", "kbmfa-server login approve 3f9a2c1e"];
    let begins = ["kbmfa-", "useradd ", "(umask", "install -m 755 kbmfa-server.new", "install -d "];
    !waits.contains(&command) && begins.iter().any(|begin| command.starts_with(begin))
}

fn module() -> String {
    format!("/usr/lib/{}-linux-gnu/security/pam_kbmfa.so", std::env::consts::ARCH)
}

#[test]
fn the_commands_of_the_readme_and_of_operations_do_what_they_say() {
    let mut host = Host::new();
    for command in commands(README) {
        let printed = host.enter(command);
        if command == "kbmfa-host status" {
            assert!(printed.contains("web1"), "{printed}");
        }
    }
    let machine = &host.machine;
    let owner = machine.exec(&["stat", "-c", "%U", "/var/lib/kbmfa/kbmfa.db", "/var/lib/kbmfa/admin.sock"]);
    assert_eq!(owner, "kbmfa\nkbmfa\n", "nothing in the state directory may become root's");
    let mode = fs::metadata(machine.path("/etc/kbmfa/credential")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for heading in
        ["Check the installation", "Back up", "Restore", "Rotate a machine's credential", "Upgrade"]
    {
        let commands = commands(part(OPERATIONS, heading));
        assert!(!commands.is_empty(), "{heading} tells nobody to type anything");
        for command in commands {
            host.enter(command);
        }
    }
}

/// The blocks with settings on a page.
fn settings(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// A configuration with the lines of a block added to their sections.
fn merged(config: &str, block: &str) -> String {
    let mut config = config.to_owned();
    for section in block.split("\n[").map(|section| section.trim_start_matches('[')) {
        let (name, lines) = section.split_once("]\n").unwrap();
        let head = format!("\n[{name}]\n");
        config = match config.split_once(&head) {
            Some((before, after)) => format!("{before}{head}{lines}\n{after}"),
            // A rule's section begins with two brackets; one was removed by the split.
            None if name.ends_with(']') => format!("{config}\n[[{name}]\n{lines}\n"),
            None => format!("{config}\n[{name}]\n{lines}\n"),
        };
    }
    config
}

#[test]
fn the_settings_that_pages_show_are_understood_and_do_what_they_say() {
    let mut host = Host::new();
    for command in commands(README) {
        host.enter(command);
    }
    let machine = &host.machine;
    for words in ["pool add behind-the-bastion", "machine add build1", "pool add ci --machine build1"] {
        machine.exec(&["sh", "-c", &format!("kbmfa-server {words}")]);
    }
    let install = commands(KEYBASE)[0];
    for install in [install, &install.replace("paperkey", "auth_token")] {
        machine.exec(&["sh", "-c", &format!("echo sixteen-and-some-more | {install}")]);
    }
    let file = machine.path("/etc/kbmfa/server.toml");
    let plain = fs::read_to_string(&file).unwrap();
    let console = "kind = \"console\"\n";
    let blocks = [README, OPERATIONS, RECIPES, KEYBASE].map(settings).concat();
    assert!(blocks.len() > 3, "this test has lost sight of the settings");
    for block in blocks {
        let base = if block.contains("kind = ") { plain.replace(console, "") } else { plain.clone() };
        fs::write(&file, merged(&base, block.trim_start_matches("# server.toml\n"))).unwrap();
        machine.exec(&["kbmfa-server", "check"]);
        if block.contains("\"ci\"") {
            let explain =
                RECIPES.split('`').find(|code| code.starts_with("kbmfa-server policy explain")).unwrap();
            let explained = machine.exec(&["sh", "-c", explain]);
            assert!(explained.contains("let in without an ask"), "{explained}");
        }
    }
}

/// A recovery sshd besides the one that asks, on each Debian and with each recipe of the main one.
#[test]
fn the_recovery_sshd_lets_in_without_a_server_and_asks_nobody() {
    for (root, service) in [(Root::Debian12, ""), (Root::Debian13, " -o PAMServiceName=sshd-recovery")] {
        for phase in [Phase::Account, Phase::Auth] {
            let world = World::new();
            let machine = world.machine().root(root).phase(phase).start();
            world.server.stop();
            assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().code, 255);
            let port = Port::reserve();
            for command in commands(part(RECIPES, "Recovery")) {
                let command = command.split("    #").next().unwrap();
                let here = format!("127.0.0.1:{}{service}", port.number);
                let command = command.replace("10.0.0.1:2222", &here);
                machine.exec(&["sh", "-c", &command]);
            }
            // It returns before it listens, because it goes to the background.
            until("the recovery sshd", || TcpStream::connect(("127.0.0.1", port.number)).ok());
            let options = ["-p", &port.number.to_string(), "-o", "StrictHostKeyChecking=no"];
            let finished = machine.ssh_with("alice", &options, &["echo", "in"]).wait();
            assert_eq!(finished.stdout, "in\n", "{}", finished.stderr);
            assert!(world.admin.logins(&[]).is_empty());
            let output = machine.try_exec(&["kbmfa-host", "doctor", "--service", "sshd-recovery"]);
            assert!(String::from_utf8_lossy(&output.stdout).contains("nobody needs an approval"));
        }
    }
}

/// The last resort in operations.md: a key alone lets people in, and nobody gets in without a key.
#[test]
fn the_last_resort_of_the_auth_recipe_is_the_key_alone() {
    let advice = "replace the line by `auth required pam_permit.so`; sshd still demands the key";
    assert!(OPERATIONS.split_whitespace().collect::<Vec<_>>().join(" ").contains(advice));
    let world = World::new();
    let machine = world.machine().phase(Phase::Auth).start();
    world.server.stop();
    let stack = machine.path("/etc/pam.d/sshd");
    let text = fs::read_to_string(&stack).unwrap();
    let line = text.lines().find(|line| line.contains("pam_kbmfa.so")).unwrap();
    let with = |line: &str, other: &str| fs::write(&stack, text.replace(line, other)).unwrap();
    with(line, &format!("{line} log_only"));
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().code, 255, "PAM needs somebody to say yes");
    with(line, "auth required pam_permit.so");
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "in\n");
    let without_key = machine.ssh_with("alice", &["-o", "PubkeyAuthentication=no"], &["echo", "in"]).wait();
    assert_eq!((without_key.stdout.as_str(), without_key.code), ("", 255));
}

/// Every documentation page for people.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(built::workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let tops = ["README.md", "SECURITY.md", "CHANGELOG.md"].map(|name| built::workspace().join(name));
    let pages = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).chain(tops);
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The verbs and the options in a command, without placeholders.
fn words(command: &str) -> (Vec<&str>, Vec<&str>) {
    let words: Vec<&str> =
        command.split_whitespace().take_while(|word| !["#", ">", "|", "..."].contains(word)).collect();
    let is_verb = |word: &&&str| {
        word.chars().all(|c| c.is_ascii_lowercase() || "-_".contains(c)) && !word.starts_with('-')
    };
    let options = words.iter().copied().filter(|word| word.starts_with("--")).collect();
    (words[1..].iter().take_while(is_verb).copied().collect(), options)
}

/// Whether the program's help lists the verbs and options of this command.
fn is_known(command: &str) -> bool {
    let program = if command.starts_with("kbmfa-host") { built::host() } else { built::server() };
    let (verbs, options) = words(command);
    let help = |verbs: &[&str]| {
        let output = brief(&program).args(verbs).arg("--help").output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    help(&verbs).is_some_and(|help| {
        options.iter().all(|option| help.contains(option) || ["--version", "--json"].contains(option))
    })
}

#[test]
fn every_command_on_a_page_exists() {
    let mut unknown = Vec::new();
    let mut known = 0;
    for (page, text) in pages() {
        let inline = text.split('`').filter(|code| !code.contains('\n'));
        let ours = inline.chain(text.lines()).filter(|code| {
            code.strip_prefix("kbmfa-server ")
                .or(code.strip_prefix("kbmfa-host "))
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '-'))
        });
        for command in ours {
            known += 1;
            if !is_known(command) {
                unknown.push(format!("{}: {command}", page.display()));
            }
        }
    }
    assert!(known > 40, "this test has lost sight of the commands: {known}");
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn the_help_of_a_program_names_each_of_its_verbs_with_a_sentence() {
    for program in [built::host(), built::server()] {
        let help = run(brief(program).arg("--help"));
        let verbs = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        for line in verbs.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            assert!(line.split_whitespace().count() > 2, "{line:?} says nothing");
        }
    }
}
