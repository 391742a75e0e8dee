//! A Keybase service that a killed server left behind at our own home. It holds the home's lock, so that ours cannot start.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

/// Time for one to end that may have been stopped by its own verb a moment ago.
const GRACE_TIME: Duration = Duration::from_secs(1);

/// Time for one to end after SIGTERM.
const TERM_TIME: Duration = Duration::from_secs(3);

/// How often it is looked whether it has ended.
const TICK: Duration = Duration::from_millis(100);

/// Ends every service that runs at this home as this account: politely, then by force. The home is ours alone, and so are
/// they.
pub(super) async fn end_all(home: &Path) {
    for pid in services(home) {
        if has_ended(pid, home, GRACE_TIME).await {
            continue;
        }
        log::warn!("relay keybase: the service {pid} at {} was left behind, and is ended", home.display());
        signal(pid, Signal::SIGTERM);
        if !has_ended(pid, home, TERM_TIME).await {
            signal(pid, Signal::SIGKILL);
            has_ended(pid, home, TERM_TIME).await;
        }
    }
}

/// Waits for its end, no longer than this.
async fn has_ended(pid: Pid, home: &Path, time: Duration) -> bool {
    let mut left = time;
    while is_service(pid, home) {
        if left.is_zero() {
            return false;
        }
        sleep(TICK).await;
        left = left.saturating_sub(TICK);
    }
    true
}

fn signal(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => log::error!("relay keybase: the service {pid} cannot be ended: {error}"),
    }
}

/// Processes of this account whose command line is a service's at this home.
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

/// `PROGRAM --home HOME --no-auto-fork service ..`, as it is started here: arguments that each end in a NUL.
fn is_command(line: &[u8], home: &Path) -> bool {
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let is_home = |pair: &[&[u8]]| *pair == [b"--home".as_slice(), home.as_os_str().as_bytes()];
    arguments.windows(2).any(is_home) && arguments.contains(&b"service".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_at_this_very_home_is_taken_for_one_left_behind() {
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
