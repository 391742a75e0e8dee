//! Logins through kbmfa: the module in the account phase, the server with its defaults except for the limits
//! on asks.

use kbmfa_tests::chat::{Chat, ChatWorld, ROOM};
use kbmfa_tests::machine::Machine;
use std::fs;

use crate::login::Way;
use kbmfa_tests::group::Group;

/// Our server, and a machine that joined it.
pub(crate) struct Ours {
    machine: Machine,
    world: ChatWorld,
    on_machine: Group,
    server: Group,
    clients: Group,
    double: Group,
}

impl Ours {
    pub(crate) fn start() -> Self {
        // Here one user logs in much more often than people do.
        let limits = [("login", "asks_per_user", "1000"), ("login", "asks_per_machine", "1000")];
        let world = ChatWorld::with(&limits, "");
        let machine = world.machine().start();
        let [on_machine, server, clients, double] =
            ["our-machine", "our-server", "our-clients", "our-double"].map(Group::new);
        machine.processes().into_iter().for_each(|pid| on_machine.adopt(pid));
        server.adopt(world.server.pid());
        double.adopt(world.chat.pid());
        world.chat.wait_listeners(1, kbmfa_tests::wait::PATIENCE).unwrap();
        let services: Vec<u32> = world.chat.services().unwrap().iter().map(|service| service.pid).collect();
        for pid in children_of(world.server.pid()) {
            let group = if services.contains(&pid) { &double } else { &clients };
            group.adopt(pid);
        }
        Self { machine, world, on_machine, server, clients, double }
    }

    /// Number of the double's complaints about it.
    pub(crate) fn complaints(&self) -> usize {
        self.world.chat.complaints().unwrap().len()
    }
}

impl Way for Ours {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn chat(&self) -> Option<(&Chat, &'static str)> {
        Some((&self.world.chat, "wants to enter"))
    }

    fn settle(&self, message: u64) {
        let messages = self.world.chat.messages(ROOM).unwrap();
        let ask = messages.into_iter().find(|found| found.id == message).unwrap();
        let login = ask.body.split('`').nth(1).expect("the login's id").to_owned();
        self.world.chat.message(&format!("Login `{login}` was *approved*"));
    }

    fn machine_ms(&self) -> f64 {
        self.on_machine.cpu_ms()
    }

    fn server_ms(&self) -> f64 {
        self.server.cpu_ms() + self.clients.cpu_ms()
    }

    fn clients_ms(&self) -> f64 {
        self.clients.cpu_ms()
    }

    fn double_ms(&self) -> f64 {
        self.double.cpu_ms()
    }

    fn http_requests(&self) -> u64 {
        let metrics = self.world.server.status("/metrics").expect("metrics");
        let count = metrics.lines().find_map(|line| line.strip_prefix("kbmfa_requests_total "));
        count.expect("a count of requests").parse().unwrap()
    }

    fn learned_us(&self) -> Option<i64> {
        let newest = ["audit", "search", "--kind", "login.collected", "--limit", "1"];
        self.world.admin.json(&newest)[0]["at"].as_i64()
    }
}

/// The running processes that a process has started.
fn children_of(pid: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |of: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}
