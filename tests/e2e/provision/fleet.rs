//! A fleet of real machines, and a server that is killed and stopped at random moments. In the end every machine has
//! what the roster says, nothing is lost, and no key that was revoked has come back.

use kbmfa_tests::delivery::Sudo;
use kbmfa_tests::fleet::{Fleet, until_confirmed};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::server::Server;
use kbmfa_tests::settings::number;
use kbmfa_tests::wait;
use kbmfa_tests::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::time::Duration;

/// Time in which everything is confirmed once nothing disturbs the server: a pause after a failure, and passes.
const CONVERGED: Duration = Duration::from_secs(60);

const PEOPLE: [&str; 4] = ["ada", "bea", "cleo", "dora"];

/// Limits that never stop a test which takes nearly everything away.
const UNGUARDED: [(&str, &str, &str); 2] =
    [("provision", "removals", "1000"), ("provision", "removals_percent", "100")];

/// Random numbers that a run can repeat: `KBMFA_SEED` is the printed seed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = number("KBMFA_SEED").unwrap_or_else(|| {
            let mut bytes = [0; 8];
            File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
            u64::from_ne_bytes(bytes) >> 1 | 1
        });
        println!("KBMFA_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn pass(&mut self, milliseconds: u64) {
        wait::pass(Duration::from_millis(self.below(milliseconds)));
    }
}

/// What the test knows of the roster, without asking the server.
struct Roster<'a> {
    world: &'a World,
    people: BTreeMap<&'static str, Person>,
    revoked: BTreeSet<String>,
    /// Revoked keys that a machine has lost, by its number.
    gone: BTreeSet<(usize, String)>,
    made: usize,
}

#[derive(Default)]
struct Person {
    /// Fingerprint and line of each active key.
    keys: Vec<(String, String)>,
    is_suspended: bool,
    has_no_grant: bool,
}

impl<'a> Roster<'a> {
    fn new(world: &'a World) -> Self {
        let mut roster =
            Self { world, people: BTreeMap::new(), revoked: BTreeSet::new(), gone: BTreeSet::new(), made: 0 };
        for name in PEOPLE {
            let words =
                ["employee", "add", &mail(name), "--name", name, "--unix-name", name, "--pool", "web"];
            world.admin.run(&words);
            roster.people.insert(name, Person::default());
            roster.add_key(name);
        }
        roster
    }

    fn add_key(&mut self, name: &'static str) {
        self.made += 1;
        let path = self.world.dir().join(format!("key{}", self.made));
        run(brief("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path));
        let public = path.with_extension("pub");
        let device = format!("device{}", self.made);
        let words = ["key", "add", &mail(name), public.to_str().unwrap(), "--device", &device];
        let added = self.world.admin.json(&words);
        let line = fs::read_to_string(&public).unwrap().trim().to_owned();
        let key = (added["fingerprint"].as_str().unwrap().to_owned(), line);
        self.people.get_mut(name).unwrap().keys.push(key);
    }

    /// Changes one thing.
    fn change(&mut self, dice: &mut Dice) {
        let name = PEOPLE[usize::try_from(dice.below(4)).unwrap()];
        let admin = &self.world.admin;
        let person = self.people.get_mut(name).unwrap();
        match dice.below(4) {
            0 if !person.keys.is_empty() => {
                let (fingerprint, line) = person.keys.remove(0);
                admin.run(&["key", "revoke", &fingerprint, "--lost", "--yes"]);
                self.revoked.insert(line);
            }
            1 => {
                let verb = if person.is_suspended { "resume" } else { "suspend" };
                admin.run(&["employee", verb, &mail(name)]);
                person.is_suspended = !person.is_suspended;
            }
            2 if person.has_no_grant => {
                admin.run(&["grant", "add", &mail(name), "web"]);
                person.has_no_grant = false;
            }
            2 => {
                admin.run(&["grant", "remove", &mail(name), "web", "--yes"]);
                person.has_no_grant = true;
            }
            _ => self.add_key(name),
        }
    }

    /// The keys of everybody who may log in, as lines.
    fn allowed(&self) -> BTreeMap<String, BTreeSet<String>> {
        let may = self.people.iter().filter(|(_, person)| !person.is_suspended && !person.has_no_grant);
        let keys = may.map(|(name, person)| {
            ((*name).to_owned(), person.keys.iter().map(|(_, line)| line.clone()).collect::<BTreeSet<_>>())
        });
        keys.filter(|(_, keys)| !keys.is_empty()).collect()
    }

    /// Remembers which revoked keys are gone from which machine, as the server has confirmed, and panics if one of
    /// them is back.
    fn none_is_back(&mut self, machines: &[Machine]) {
        let status = self.world.admin.json(&["provision", "status"]);
        let rows = status["machines"].as_array().unwrap();
        for (machine, number) in machines.iter().zip(1..) {
            let name = format!("m{number}");
            let is_confirmed = rows.iter().any(|row| row["machine"] == *name && row["state"] == "confirmed");
            let present: BTreeSet<String> = on(machine).into_values().flatten().collect();
            for line in &self.revoked {
                let one = (number, line.clone());
                if present.contains(line) {
                    assert!(!self.gone.contains(&one), "a revoked key is back on {name}: {line}");
                } else if is_confirmed {
                    self.gone.insert(one);
                }
            }
        }
    }

    /// Each machine has the keys of the roster and no others, and refuses the revoked ones.
    fn is_on(&self, machines: &[Machine]) {
        for (machine, number) in machines.iter().zip(1..) {
            assert_eq!(on(machine), self.allowed(), "m{number}");
            let revoked = fs::read_to_string(machine.path("/etc/ssh/kbmfa/revoked")).unwrap();
            let revoked: BTreeSet<String> = revoked.lines().map(str::to_owned).collect();
            assert_eq!(revoked, self.revoked, "m{number}");
            let shadow = fs::read_to_string(machine.path("/etc/shadow")).unwrap();
            for (name, person) in &self.people {
                let Some(entry) = shadow.lines().find(|line| line.starts_with(&format!("{name}:"))) else {
                    continue;
                };
                let is_off = entry.starts_with(&format!("{name}:!")) && entry.split(':').nth(7) == Some("1");
                assert_eq!(is_off, person.is_suspended || person.has_no_grant, "m{number}: {entry}");
            }
        }
    }
}

fn mail(name: &str) -> String {
    format!("{name}@example.com")
}

/// The keys in the root-owned files of a machine, by account.
fn on(machine: &Machine) -> BTreeMap<String, BTreeSet<String>> {
    let files = fs::read_dir(machine.path("/etc/ssh/kbmfa/keys")).unwrap().flatten();
    let named = files.filter_map(|file| file.file_name().into_string().ok());
    // A file that is being written has a name of its own until it is complete.
    let named = named.filter(|name| !name.starts_with('.'));
    named
        .map(|name| {
            let text = fs::read_to_string(machine.path(&format!("/etc/ssh/kbmfa/keys/{name}")));
            let lines = text.unwrap_or_default();
            let keys = lines.lines().filter(|line| !line.starts_with('#'));
            let keys = keys.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
            (name, keys)
        })
        .collect()
}

/// Kills the server, or stops it for a while, after a while.
fn disturb(server: &Server, dice: &mut Dice) {
    dice.pass(1200);
    if dice.below(2) == 0 {
        server.kill();
        server.start();
    } else {
        server.hang();
        dice.pass(1500);
        server.go_on();
    }
}

#[test]
fn killed_and_stopped_at_random_moments_the_server_ends_with_every_machine_as_the_roster_says() {
    let mut dice = Dice::new();
    let world = World::with(&UNGUARDED);
    let fleet = Fleet::start(&world, number("KBMFA_FLEET").unwrap_or(10), Sudo::Free);
    let mut roster = Roster::new(&world);
    fleet.enable(&world);
    for _ in 0..number("KBMFA_KILLS").unwrap_or(6_u32) {
        roster.change(&mut dice);
        roster.change(&mut dice);
        disturb(&world.server, &mut dice);
        roster.none_is_back(&fleet.machines);
    }
    until_confirmed(&world, CONVERGED);
    roster.none_is_back(&fleet.machines);
    roster.is_on(&fleet.machines);
    // A second look finds nothing to do.
    let planned = world.admin.run(&["provision", "plan", "--all"]);
    assert!(!planned.contains("would change\n"), "{planned}");
    world.admin.audit_verify();
}

/// The helper, with a line in `/run/work` that says whether it has the machine for itself, by a lock of its own.
fn told(machine: &Machine) {
    let lines = "sed -i 's/^  say ready 1$/  exec 8>>\\/run\\/other; \
                 if flock -n 8; then echo alone; else echo together; fi >>\\/run\\/work; say ready 1/' \
                 /usr/local/libexec/kbmfa-helper; grep -q 'echo together' /usr/local/libexec/kbmfa-helper";
    kbmfa_tests::delivery::sh(machine, lines);
}

#[test]
fn two_servers_on_one_state_never_work_on_one_machine_at_once() {
    let mut dice = Dice::new();
    let world = World::with(&UNGUARDED);
    let second = world.server.twin();
    second.start();
    let fleet = Fleet::start(&world, 3, Sudo::HelperOnly);
    fleet.machines.iter().for_each(told);
    let mut roster = Roster::new(&world);
    fleet.enable(&world);
    for server in [&second, &world.server, &second, &world.server] {
        roster.change(&mut dice);
        disturb(server, &mut dice);
    }
    // Whichever has the lease hangs for longer than the lease lasts, and comes back.
    roster.change(&mut dice);
    dice.pass(500);
    world.server.hang();
    // The other one takes over, once the lease has ended.
    wait::pass(Duration::from_secs(11));
    roster.change(&mut dice);
    wait::pass(Duration::from_secs(2));
    world.server.go_on();
    until_confirmed(&world, CONVERGED);
    roster.is_on(&fleet.machines);
    for machine in &fleet.machines {
        let work = fs::read_to_string(machine.path("/run/work")).unwrap();
        assert!(!work.is_empty() && work.lines().all(|line| line == "alone"), "{work}");
    }
}
