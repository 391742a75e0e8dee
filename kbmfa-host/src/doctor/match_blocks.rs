//! Lists `Match` blocks in sshd's configuration that change how somebody logs in. `sshd -T` answers for one
//! connection only, so these blocks may not be checked otherwise.

use kbmfa_finding::Finding;
use std::fs;
use std::path::{Path, PathBuf};

/// Depth limit of included files, as in sshd.
const DEPTH_MAX: usize = 16;

/// Settings that decide whether a login leads through the module.
const DECISIVE: [&str; 9] = [
    "authenticationmethods",
    "challengeresponseauthentication",
    "gssapiauthentication",
    "hostbasedauthentication",
    "kbdinteractiveauthentication",
    "kerberosauthentication",
    "pamservicename",
    "passwordauthentication",
    "pubkeyauthentication",
];

/// Every block with a decisive setting, and every file that was read.
pub(super) fn look(config: &Path) -> (Vec<Finding>, Vec<PathBuf>) {
    let (mut blocks, mut files) = (Vec::new(), Vec::new());
    read(config, None, 0, (&mut blocks, &mut files));
    blocks.dedup();
    let told = |block: &String| {
        let found = format!(
            "{block} has its own authentication settings, which were checked only if it applies to --user"
        );
        Finding::weak("Match", found).fix(
            "run doctor again with --user, --from and --port of somebody to whom it applies; check \
                  blocks for host names or local addresses by hand",
        )
    };
    (blocks.iter().map(told).collect(), files)
}

/// Reads a file and the files that it includes. `block` is the `Match` block around the `Include`, if any.
fn read(
    file: &Path,
    block: Option<String>,
    depth: usize,
    (blocks, files): (&mut Vec<String>, &mut Vec<PathBuf>),
) {
    let (Ok(text), true) = (fs::read(file), depth <= DEPTH_MAX) else { return };
    let text = String::from_utf8_lossy(&text);
    files.push(file.to_owned());
    let mut block = block;
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty());
        let Some(keyword) = words.next().map(str::to_ascii_lowercase) else { continue };
        match keyword.as_str() {
            "match" => {
                let whom = words.collect::<Vec<_>>().join(" ");
                let everybody = whom.eq_ignore_ascii_case("all");
                block = (!everybody).then(|| format!("`Match {whom}` ({}:{})", file.display(), number + 1));
            }
            "include" => {
                for file in words.flat_map(included) {
                    read(&file, block.clone(), depth + 1, (blocks, files));
                }
            }
            key if DECISIVE.contains(&key) => blocks.extend(block.clone()),
            _ => {}
        }
    }
}

/// The files that match a word after `Include`.
fn included(pattern: &str) -> Vec<PathBuf> {
    let pattern = Path::new("/etc/ssh").join(pattern.trim_matches('"'));
    let found = glob::glob(&pattern.to_string_lossy());
    found.map(|files| files.flatten().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let (file, more) = (dir.path().join("sshd_config"), dir.path().join("more.conf"));
        fs::write(&more, "Match Group staff\nPasswordAuthentication yes\n").unwrap();
        fs::write(&file, text.replace("MORE", &format!("{}/*.conf", dir.path().display()))).unwrap();
        look(&file).0.len()
    }

    #[test]
    fn match_blocks_with_their_own_authentication_are_named_and_no_others() {
        assert_eq!(blocks("AuthenticationMethods publickey\n"), 0);
        assert_eq!(blocks("Match User git\n  ForceCommand x\nMatch all\nPasswordAuthentication no\n"), 0);
        assert_eq!(blocks("match Address=10.0.0.0/8\n\tAuthenticationMethods = publickey\n"), 1);
        assert_eq!(blocks("# gr\u{fc}n\nInclude MORE\n"), 1);
        assert_eq!(blocks("Match User bob\nInclude MORE\nPAMServiceName other\n"), 2);
    }
}
