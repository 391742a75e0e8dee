//! What a login has left behind on a machine, as the kernel reports it: processes, descriptors of sshd,
//! connections.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Time in which sshd and the module must have cleaned up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What sshd holds when nobody logs in.
#[derive(Debug, Default)]
pub struct Baseline {
    descriptors: BTreeSet<String>,
}

impl Baseline {
    /// Reads it while sshd sleeps, which sshd does only when it waits for connections.
    pub fn of_idle(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let asleep = stat.rsplit(')').next()?.trim_start().starts_with('S');
        asleep.then(|| Self { descriptors: descriptors_of(pid) })
    }
}

/// Everything that is not in the baseline, one line each.
pub fn of(pid: u32, baseline: &Baseline, ports: &[u16]) -> Vec<String> {
    let mut left: Vec<String> = processes_beside(pid).into_iter().map(described).collect();
    left.extend(descriptors_of(pid).difference(&baseline.descriptors).map(|new| format!("sshd holds {new}")));
    left.extend(connections_of(ports));
    left
}

/// The one child of a process.
pub fn only_child_of(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("one child of {pid}, not '{children}'"))
}

/// Kills a process by its id. Does nothing if the id is 0 or the process has ended.
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).ok();
    }
}

/// The processes in the same pid namespace as `pid`.
pub fn processes_beside(pid: u32) -> Vec<u32> {
    let namespace = |of: u32| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    let ours = namespace(pid);
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|other| *other != pid && namespace(*other) == ours).collect()
}

/// Whether a process with this number exists.
pub fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn described(pid: u32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("process {pid}: {}", command.replace('\0', " "))
}

fn descriptors_of(pid: u32) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let name = |path: &Path| {
        Some(format!("{} {}", path.file_name()?.display(), fs::read_link(path).ok()?.display()))
    };
    entries.flatten().filter_map(|entry| name(&entry.path())).collect()
}

/// Connections from or to these ports that at least one side still holds open.
fn connections_of(ports: &[u16]) -> Vec<String> {
    let concerned = |end: &End| ports.contains(&end.local) || ports.contains(&end.remote);
    let text = |End { local, remote, state, .. }| format!("connection {local} -> {remote} in state {state}");
    open_ends().into_iter().filter(concerned).map(text).collect()
}

/// The processes among `pids` that hold a connection to `port`.
pub fn connected_to(port: u16, pids: Vec<u32>) -> Vec<u32> {
    let ends = open_ends().into_iter().filter(|end| end.remote == port);
    let sockets: Vec<String> = ends.map(|end| format!(" socket:[{}]", end.inode)).collect();
    let is_one = |descriptor: &String| sockets.iter().any(|socket| descriptor.ends_with(socket));
    pids.into_iter().filter(|pid| descriptors_of(*pid).iter().any(is_one)).collect()
}

/// The states of the connections' ends at this port.
pub fn ends_at(port: u16) -> Vec<String> {
    open_ends().into_iter().filter(|end| end.local == port).map(|end| end.state).collect()
}

/// One end of a TCP connection that is not completely closed.
struct End {
    local: u16,
    remote: u16,
    state: String,
    inode: String,
}

fn open_ends() -> Vec<End> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let end = |row: &str| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = columns[..] else { return None };
        let (local, remote) = (port(local)?, port(remote)?);
        Some(End { local, remote, state: state.to_owned(), inode: inode.to_owned() })
    };
    // /proc/net would show the network of the process, not that of this thread.
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let ends = table.lines().skip(1).filter_map(end);
    ends.filter(|end| !matches!(end.state.as_str(), TIME_WAIT | LISTEN)).collect()
}

/// States in `/proc/net/tcp`.
const TIME_WAIT: &str = "06";
const LISTEN: &str = "0A";
