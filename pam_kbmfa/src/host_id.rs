//! Identifies the computer, so that the server notices a machine that was cloned together with its
//! credential.
//!
//! machine-id(5) asks programs to keep the machine id private, and to hash it with a key of their own.

use kbmfa_proto::machine::Host;
use kbmfa_proto::names::HostHash;
use ring::hmac;
use std::path::Path;

use crate::files::{self, Kind};
use crate::procfs::Proc;

/// Where systemd and D-Bus keep the machine id.
pub const MACHINE_ID: &str = "/etc/machine-id";

/// Identifies kbmfa in each hash, as `sd_id128_get_machine_app_specific` does it, so that the hash differs from
/// those of other programs.
const APPLICATION: &[u8; 16] = b"kbmfa host id v1";

/// The hashes of this computer; `None` without a machine id, as in a container or during the first boot.
pub fn read(machine_id: &Path, proc: &Proc) -> Option<Host> {
    let machine = files::read(machine_id, Kind::System).ok()?;
    let machine = machine.trim();
    let is_set = machine.len() == 32 && machine.bytes().all(|byte| byte.is_ascii_hexdigit());
    let boot = proc.boot_id().ok().filter(|boot| !boot.is_empty())?;
    is_set.then(|| Host { machine: hash(machine), boot: hash(&boot) })
}

/// HMAC-SHA256 of [`APPLICATION`] with the id as the key, cut to 128 bits.
fn hash(id: &str) -> HostHash {
    let key = hmac::Key::new(hmac::HMAC_SHA256, id.as_bytes());
    let tag = hmac::sign(&key, APPLICATION);
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(tag.as_ref()).for_each(|(byte, from)| *byte = *from);
    HostHash::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn computer(machine_id: &str, boot_id: &str) -> Option<Host> {
        let dir = tempfile::tempdir().unwrap();
        let random = dir.path().join("sys/kernel/random");
        fs::create_dir_all(&random).unwrap();
        fs::write(random.join("boot_id"), boot_id).unwrap();
        fs::write(dir.path().join("machine-id"), machine_id).unwrap();
        read(&dir.path().join("machine-id"), &Proc::at(dir.path()))
    }

    #[test]
    fn the_machine_id_itself_is_never_sent() {
        let id = "0123456789abcdef0123456789abcdef";
        let host = computer(&format!("{id}\n"), "b007\n").unwrap();
        assert_ne!(host.machine.as_str(), id);
        assert_eq!(Some(&host), computer(id, "b007").as_ref());
        assert_ne!(host.machine, computer(&id.replace('0', "1"), "b007").unwrap().machine);
        assert_ne!(host.boot, computer(id, "b008").unwrap().boot);
        assert_eq!(host.machine, computer(id, "b008").unwrap().machine);
    }

    #[test]
    fn without_a_machine_id_no_host_is_sent() {
        for id in ["", "uninitialized\n", "0123", "0123456789abcdef0123456789abcdeg"] {
            assert_eq!(computer(id, "b007"), None, "{id:?}");
        }
        assert_eq!(computer("0123456789abcdef0123456789abcdef", ""), None);
    }
}
