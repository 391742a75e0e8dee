//! kbmfa: the server with its defaults, and its verbs.

use kbmfa_tests::fleet::{Fleet, until_confirmed};
use kbmfa_tests::group::Group;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::{Cost, PEOPLE};

/// Longest time of one measurement.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server that looks after the fleet.
pub(crate) struct Ours<'a> {
    world: &'a World,
    /// The server's process, and the verbs that work on machines.
    group: Group,
    keys: RefCell<BTreeMap<&'static str, Vec<String>>>,
    made: RefCell<usize>,
}

impl<'a> Ours<'a> {
    /// Gives every machine five accounts with a key each.
    pub(crate) fn start(world: &'a World, fleet: &Fleet) -> (Self, Cost) {
        let group = Group::new("fleet");
        group.adopt(world.server.pid());
        let ours = Self { world, group, keys: RefCell::default(), made: RefCell::default() };
        for (name, uid) in PEOPLE {
            let (mail, uid) = (format!("{name}@example.com"), uid.to_string());
            let words = ["--name", name, "--unix-name", name, "--uid", &uid, "--pool", "web"];
            world.admin.run(&[&["employee", "add", &mail][..], &words].concat());
            ours.enrol(name);
        }
        let cost = ours.until_confirmed(|| fleet.enable(world));
        (ours, cost)
    }

    /// A check-up of every machine by the verb of an operator.
    pub(crate) fn check_up(&self) -> Cost {
        self.cost(|| {
            let mut verb = self.world.admin.verb(&["provision", "run", "--all"]);
            let mut child = verb.stdout(Stdio::null()).spawn().unwrap();
            self.group.adopt(child.id());
            assert!(child.wait().unwrap().success());
        })
    }

    /// One more key, until every machine has confirmed it.
    pub(crate) fn add_a_key(&self) -> Cost {
        self.until_confirmed(|| drop(self.enrol(PEOPLE[0].0)))
    }

    /// Takes the last key of somebody away, until every machine has confirmed that.
    pub(crate) fn revoke_a_key(&self) -> Cost {
        let name = PEOPLE[1].0;
        let lost = self.enrol(name);
        until_confirmed(self.world, PATIENCE);
        self.keys.borrow_mut().get_mut(name).unwrap().pop();
        self.until_confirmed(|| drop(self.world.admin.run(&["key", "revoke", &lost, "--lost", "--yes"])))
    }

    /// The keys of each account.
    pub(crate) fn keys(&self) -> BTreeMap<&'static str, Vec<String>> {
        self.keys.borrow().clone()
    }

    /// Enrols a new key of this person, and returns its fingerprint.
    fn enrol(&self, name: &'static str) -> String {
        let number = self.made.replace_with(|made| *made + 1);
        let path = self.world.dir().join(format!("key{number}"));
        run(brief("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path));
        let (public, device) = (path.with_extension("pub"), format!("device{number}"));
        let mail = format!("{name}@example.com");
        let words = ["key", "add", &mail, public.to_str().unwrap(), "--device", &device];
        let added = self.world.admin.json(&words);
        let line = fs::read_to_string(&public).unwrap().trim().to_owned();
        self.keys.borrow_mut().entry(name).or_default().push(line);
        added["fingerprint"].as_str().unwrap().to_owned()
    }

    fn until_confirmed(&self, change: impl FnOnce()) -> Cost {
        self.cost(|| {
            change();
            until_confirmed(self.world, PATIENCE);
        })
    }

    fn cost(&self, work: impl FnOnce()) -> Cost {
        let before = self.group.cpu_ms();
        let ((), took) = timed(work);
        Cost { seconds: took.as_secs_f64(), cpu_ms: self.group.cpu_ms() - before }
    }
}
