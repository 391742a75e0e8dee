//! Finds systemd sockets on which sshd serves connections without addresses: unix sockets and vsocks. The
//! module refuses every login through them, so `doctor` warns about each.

use kbmfa_finding::Finding;
use std::fs;
use std::path::{Path, PathBuf};

/// systemd's unit directories, including that of its ssh-generator; the first file with a name counts.
pub(super) const UNIT_DIRS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator", "/usr/lib/systemd/system"];

/// Largest unit file that is read, in bytes.
const UNIT_BYTES_MAX: u64 = 64 * 1024;

/// Names each socket unit of ssh that listens on something without addresses.
pub(super) fn look(dirs: &[PathBuf]) -> Vec<Finding> {
    let mut seen: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    for unit in dirs.iter().flat_map(|dir| units(dir)) {
        let Some(name) = unit.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        if seen.contains(&name) {
            continue;
        }
        let text = read(&unit);
        if let Some(listens) = text.lines().find_map(without_address) {
            let found = format!("{} has sshd listen on {listens}: logins there are refused", unit.display());
            let fix =
                format!("run `systemctl mask --now {name}`, or do not log in through it; see recipes.md");
            findings.push(Finding::weak("sshd without addresses", found).fix(fix));
        }
        seen.push(name);
    }
    findings
}

/// Socket units of ssh, such as `ssh.socket`, `sshd-unix-local.socket` and `sshd-vsock.socket`. Unordered.
fn units(dir: &Path) -> Vec<PathBuf> {
    let of_ssh = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh") && name.ends_with(".socket")
    };
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(of_ssh).collect()
}

/// The unit's text. A masked unit is a link to /dev/null, so its text is empty.
fn read(unit: &Path) -> String {
    let small = fs::metadata(unit).is_ok_and(|data| data.is_file() && data.len() <= UNIT_BYTES_MAX);
    if small { fs::read_to_string(unit).unwrap_or_default() } else { String::new() }
}

/// The unix socket or vsock that this line listens on, such as `ListenStream=/run/ssh-unix-local/socket` or
/// `ListenStream=vsock::22`.
fn without_address(line: &str) -> Option<&str> {
    let listens = line.trim().strip_prefix("ListenStream")?.trim_start().strip_prefix('=')?.trim();
    ["/", "@", "vsock:"].iter().any(|kind| listens.starts_with(kind)).then_some(listens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_sshd_without_addresses_is_named_unless_it_is_masked() {
        let dir = tempfile::tempdir().unwrap();
        let [etc, generated] = ["etc", "generator"].map(|name| dir.path().join(name));
        for made in [&etc, &generated] {
            fs::create_dir(made).unwrap();
        }
        let unit = |dir: &Path, name: &str, listens: &str| {
            fs::write(dir.join(name), format!("[Socket]\nListenStream={listens}\nAccept=yes\n")).unwrap();
        };
        unit(&generated, "sshd-unix-local.socket", "/run/ssh-unix-local/socket");
        unit(&generated, "sshd-vsock.socket", "vsock::22");
        unit(&generated, "ssh.socket", "22");
        unit(&generated, "other.socket", "/run/other");
        std::os::unix::fs::symlink("/dev/null", etc.join("sshd-vsock.socket")).unwrap();
        let found = look(&[etc, dir.path().join("none"), generated]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].found.contains("sshd-unix-local.socket has sshd listen on /run/ssh-unix-local/socket")
        );
    }
}
