//! A network of its own for one test: only a loopback interface, on which packets can be dropped.
//!
//! The host's network and its firewall are not changed.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::thread;

use crate::leftovers;
use crate::process::{brief, program, run};
use crate::wait::until;

/// The network of this thread and of everything that it starts.
#[derive(Debug)]
pub struct Network(());

/// Runs a test in a thread with a network of its own. The test must create its world in there.
pub fn apart(story: impl FnOnce(&Network) + Send) {
    let told = thread::scope(|scope| scope.spawn(|| story(&Network::enter())).join());
    if let Err(panic) = told {
        resume_unwind(panic);
    }
}

impl Network {
    fn enter() -> Self {
        // A namespace is created with a process, and exists as long as somebody uses it.
        let mut first = program("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let place = format!("/proc/{}/ns/net", first.id());
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        until("a network", || fs::read_link(&place).ok().filter(|network| *network != ours));
        let network = File::open(&place).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        run(brief("ip").args(["link", "set", "lo", "up"]));
        // An orphaned end of a connection then sends only once more, instead of for minutes.
        fs::write("/proc/sys/net/ipv4/tcp_orphan_retries", "1").unwrap();
        Self(())
    }

    /// Silently drops every packet to and from this port, on old and new connections.
    pub fn lose(&self, port: u16) {
        nft(&format!(
            "add table ip lost; add chain ip lost incoming {{ type filter hook input priority 0; }};
             add rule ip lost incoming tcp dport {port} drop; add rule ip lost incoming tcp sport {port} drop"
        ));
    }

    /// Waits until the kernel has forgotten the connections of this port whose process has ended.
    pub fn wait_until_forgotten(&self, port: u16) {
        until("the connections to be forgotten", || leftovers::ends_at(port).is_empty().then_some(()));
    }

    /// Stops dropping packets.
    pub fn repair(&self) {
        nft("delete table ip lost");
    }
}

fn nft(commands: &str) {
    run(brief("nft").arg(commands));
}
