//! Writes files with exact modes, whatever the umask is, and changes keys in TOML files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file. Directories above it are created with mode 0755.
pub fn put(path: &Path, mode: u32, content: impl AsRef<[u8]>) {
    make_dir(path.parent().unwrap());
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    set_mode(path, mode);
}

/// Creates a directory with mode 0755, and all missing ones above it.
pub fn make_dir(path: &Path) {
    if path.is_dir() {
        return;
    }
    make_dir(path.parent().unwrap());
    fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    set_mode(path, 0o755);
}

/// Sets the mode of a file or directory.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes `key` of `[section]` in place, so that the file's owner and mode stay. With an empty `section`, a
/// key at the top.
pub fn set_key(path: &Path, section: &str, key: &str, value: &str) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::write(path, with_key(&text, section, key, value)).unwrap();
}

fn with_key(text: &str, section: &str, key: &str, value: &str) -> String {
    let line = format!("{key} = {value}");
    let head = format!("[{section}]");
    let mut inside = section.is_empty();
    let mut found = inside;
    let mut lines: Vec<&str> = if inside { vec![&line] } else { vec![] };
    for old in text.lines() {
        if old.trim_start().starts_with('[') {
            inside = old.trim() == head;
            lines.push(old);
            if inside {
                lines.push(&line);
                found = true;
            }
        } else if !(inside && old.split('=').next().is_some_and(|name| name.trim() == key)) {
            lines.push(old);
        }
    }
    if !found {
        lines.extend([head.as_str(), line.as_str()]);
    }
    lines.join("\n") + "\n"
}
