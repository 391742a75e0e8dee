//! The connection id. It is the same in every phase and every process of one ssh connection, and never used
//! again. If `/proc` lacks some facts, the id is that of this process alone; this is no reason to refuse a
//! login.

use kbmfa_proto::login::{Connection, SshConnection};
use kbmfa_proto::text::SafeText;
use std::io;

use crate::procfs::{Proc, Process};

/// Maximum number of ancestors that are checked. sshd needs at most two.
const ANCESTORS_MAX: usize = 16;

/// Makes the id of the connection that `pid` serves. `inode` is the ssh client's socket. Also returns a
/// warning for the log, if some facts could not be read.
pub(crate) fn identify(
    proc: &Proc,
    pid: u32,
    ssh: Option<SshConnection>,
    inode: Option<u64>,
) -> (Connection, Option<String>) {
    let (owner, mut warning) = match proc.process(pid) {
        Ok(own) => inode.map_or((own, None), |inode| monitor(proc, own, inode)),
        Err(error) => {
            (Process { pid, parent: 0, session: 0, start: 0 }, Some(format!("cannot read /proc: {error}")))
        }
    };
    let boot = proc.boot_id().unwrap_or_else(|error| {
        warning = Some(format!("cannot read the boot id: {error}"));
        "unknown".into()
    });
    let ends = ssh.map(|ssh| format!(".{}-{}", ssh.client, ssh.server)).unwrap_or_default();
    let id = SafeText::new(&format!("{boot}.{}.{}{ends}", owner.pid, owner.start));
    (Connection { id, ssh }, warning)
}

/// The topmost ancestor that holds the socket: sshd's monitor. Each phase may run in a child of it.
fn monitor(proc: &Proc, own: Process, inode: u64) -> (Process, Option<String>) {
    let mut top = own;
    for _ in 0..ANCESTORS_MAX {
        // Process 1 adopts orphans. It is never a monitor.
        if top.parent <= 1 {
            break;
        }
        match holder(proc, top.parent, inode) {
            Ok(Some(parent)) => top = parent,
            Ok(None) => break,
            Err(error) => return (top, Some(format!("cannot read /proc/{}: {error}", top.parent))),
        }
    }
    (top, None)
}

/// The process, if it holds the socket; otherwise `None`.
fn holder(proc: &Proc, pid: u32, inode: u64) -> io::Result<Option<Process>> {
    let holds = proc.sockets(pid)?.any(|(_, held)| held == inode);
    if holds { proc.process(pid).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const SOCKET: u64 = 777;

    /// A model of /proc with these processes, each as `(pid, parent, inode)`.
    fn model(processes: &[(u32, u32, u64)]) -> (tempfile::TempDir, Proc) {
        let dir = tempfile::tempdir().unwrap();
        let random = dir.path().join("sys/kernel/random");
        fs::create_dir_all(&random).unwrap();
        fs::write(random.join("boot_id"), "b007\n").unwrap();
        for (pid, parent, inode) in processes {
            let home = dir.path().join(pid.to_string());
            fs::create_dir_all(home.join("fd")).unwrap();
            let stat = format!(
                "{pid} (sshd) S {parent} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {} 0",
                u64::from(*pid) * 10
            );
            fs::write(home.join("stat"), stat).unwrap();
            symlink(format!("socket:[{inode}]"), home.join("fd/4")).unwrap();
            symlink("/dev/null", home.join("fd/0")).unwrap();
        }
        let proc = Proc::at(dir.path());
        (dir, proc)
    }

    fn id(processes: &[(u32, u32, u64)], pid: u32, inode: Option<u64>) -> (String, Option<String>) {
        let (_dir, proc) = model(processes);
        let (connection, warning) = identify(&proc, pid, None, inode);
        (connection.id.to_string(), warning)
    }

    #[test]
    fn every_process_of_a_connection_names_its_monitor() {
        let listener_monitor_child = [(10, 1, 1), (20, 10, SOCKET), (30, 20, SOCKET)];
        for pid in [20, 30] {
            assert_eq!(id(&listener_monitor_child, pid, Some(SOCKET)), ("b007.20.200".into(), None), "{pid}");
        }
    }

    #[test]
    fn without_an_ssh_connection_the_process_names_itself() {
        assert_eq!(id(&[(10, 1, 1), (20, 10, 2)], 20, None), ("b007.20.200".into(), None));
    }

    #[test]
    fn the_ends_of_the_connection_are_part_of_its_name() {
        let (_dir, proc) = model(&[(20, 1, SOCKET)]);
        let ssh = crate::ssh::connection("192.0.2.1 50000 192.0.2.2 22").known();
        let (connection, _) = identify(&proc, 20, ssh, Some(SOCKET));
        assert_eq!(connection.id.as_str(), "b007.20.200.192.0.2.1:50000-192.0.2.2:22");
    }

    #[test]
    fn an_unreadable_proc_degrades_to_the_process_itself_with_a_warning() {
        let (found, warning) = id(&[(30, 20, SOCKET)], 30, Some(SOCKET));
        assert!(found == "b007.30.300" && warning.is_some(), "{found}");
        let (connection, warning) = identify(&Proc::at("/nonexistent"), 5, None, None);
        assert!(connection.id.as_str() == "unknown.5.0" && warning.is_some());
    }

    #[test]
    fn a_loop_of_parents_ends() {
        assert!(id(&[(20, 30, SOCKET), (30, 20, SOCKET)], 30, Some(SOCKET)).0.starts_with("b007."));
    }
}
