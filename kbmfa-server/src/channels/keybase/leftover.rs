//! Ends a Keybase service that a killed server left running at the server's own home. Its lock on the home
//! prevents a new service from starting.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

/// Time for a service to exit after `keybase ctl stop`.
const GRACE_TIME: Duration = Duration::from_secs(1);

/// Time for a service to exit after SIGTERM, and again after SIGKILL.
const TERM_TIME: Duration = Duration::from_secs(3);

/// How often to check whether a service has exited.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Ends every service that runs at this home as this account, with SIGTERM and then SIGKILL. Only the server
/// uses this home, so no other program needs these services.
pub(super) async fn end_all(home: &Path) {
    for pid in services(home) {
        if wait_for_exit(pid, home, GRACE_TIME).await {
            continue;
        }
        log::warn!(
            "keybase: ending the service {pid} at {}, which an earlier server left running",
            home.display()
        );
        signal(pid, Signal::SIGTERM);
        if !wait_for_exit(pid, home, TERM_TIME).await {
            signal(pid, Signal::SIGKILL);
            wait_for_exit(pid, home, TERM_TIME).await;
        }
    }
}

/// Waits at most this time for the service to exit; returns whether it did.
async fn wait_for_exit(pid: Pid, home: &Path, time: Duration) -> bool {
    let mut left = time;
    while is_service(pid, home) {
        if left.is_zero() {
            return false;
        }
        sleep(POLL_INTERVAL).await;
        left = left.saturating_sub(POLL_INTERVAL);
    }
    true
}

fn signal(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => log::error!("keybase: cannot end the service {pid}: {error}"),
    }
}

/// Processes of this account that are a service at this home, by their command lines.
fn services(home: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| is_service(*pid, home)).collect()
}

fn is_service(pid: Pid, home: &Path) -> bool {
    let dir = format!("/proc/{pid}");
    let is_ours = fs::metadata(&dir).is_ok_and(|found| found.uid() == Uid::effective().as_raw());
    is_ours && fs::read(format!("{dir}/cmdline")).is_ok_and(|line| is_command(&line, home))
}

/// True for the command line with which this server starts a service: `PROGRAM --home HOME --no-auto-fork
/// service ..`. Each argument ends in a NUL.
fn is_command(line: &[u8], home: &Path) -> bool {
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let is_home = |pair: &[&[u8]]| *pair == [b"--home".as_slice(), home.as_os_str().as_bytes()];
    arguments.windows(2).any(is_home) && arguments.contains(&b"service".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_at_exactly_this_home_counts_as_left_behind() {
        let check = |line: &str, expected| {
            let line = line.replace(' ', "\0") + "\0";
            assert_eq!(is_command(line.as_bytes(), Path::new("/var/lib/kbmfa/keybase")), expected, "{line}");
        };
        check("keybase --home /var/lib/kbmfa/keybase --no-auto-fork service --oneshot-username sshbot", true);
        check("keybase --home /var/lib/kbmfa/keybase --no-auto-fork chat api", false);
        check("keybase --home /home/alice --no-auto-fork service", false);
        check("keybase service", false);
        check("", false);
    }
}
