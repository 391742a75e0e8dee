//! Finds the lines of PAM and sshd that name the module. A file that cannot be read is an error, because it
//! might name it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::{Error, doctor};

/// A line that contains this word, in any case, names kbmfa.
const NAME: &str = "kbmfa";

/// Where libpam reads stacks.
const PAM_PLACES: [&str; 3] = ["etc/pam.conf", "etc/pam.d", "usr/lib/pam.d"];

/// One line that names kbmfa.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    file: PathBuf,
    /// Line number, from 1.
    number: usize,
    text: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.number, self.text)
    }
}

/// Every line that names kbmfa, in PAM's files and in sshd's configuration, with their included files.
pub(super) fn find(root: &Path, sshd_config: &Path) -> Result<Vec<Reference>, Error> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = Vec::new();
    for place in PAM_PLACES {
        open.extend(files(&root.join(place)).map_err(|error| unreadable(&root.join(place), &error))?);
    }
    let mut seen = BTreeSet::new();
    while let Some(file) = open.pop() {
        if seen.insert(file.clone()) {
            let text = read(&file)?;
            found.extend(in_text(&file, &text, |line| line.split('#').next().unwrap_or_default()));
            open.extend(text.lines().filter_map(included).filter(|file| file.exists()));
        }
    }
    let beside = root.join("etc/ssh/sshd_config.d");
    let mut of_sshd: BTreeSet<PathBuf> = doctor::sshd_files(sshd_config).into_iter().collect();
    of_sshd.extend(files(&beside).map_err(|error| unreadable(&beside, &error))?);
    of_sshd.extend(sshd_config.exists().then(|| sshd_config.to_owned()));
    for file in of_sshd {
        let code = |line: &str| !line.trim_start().starts_with('#');
        found.extend(in_text(&file, &read(&file)?, |line| if code(line) { line } else { "" }));
    }
    found.sort_by(|one, other| (&one.file, one.number).cmp(&(&other.file, other.number)));
    Ok(found)
}

/// The file that a PAM line includes by an absolute path. Other included files are in PAM's own directories.
fn included(line: &str) -> Option<PathBuf> {
    let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
    let includes = words.iter().position(|word| {
        ["@include", "include", "substack"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
    })?;
    words.get(includes + 1).filter(|word| word.starts_with('/')).map(PathBuf::from)
}

fn in_text(file: &Path, text: &str, code: impl Fn(&str) -> &str) -> Vec<Reference> {
    let lines = text.lines().enumerate();
    let ours = lines.filter(|(_, line)| code(line).to_ascii_lowercase().contains(NAME));
    ours.map(|(at, line)| Reference { file: file.to_owned(), number: at + 1, text: line.trim().to_owned() })
        .collect()
}

/// The file itself, or the files in a directory. Empty if there is none.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.is_dir() => Ok(vec![path.to_owned()]),
        Ok(_) => {
            let all: io::Result<Vec<PathBuf>> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect();
            Ok(all?.into_iter().filter(|path| path.is_file()).collect())
        }
    }
}

fn read(file: &Path) -> Result<String, Error> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(format_args!("cannot read {}, which may name kbmfa: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_that_names_us_is_found_with_its_file_and_number_and_no_comment() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let stack = root.join("stack").display().to_string();
        put(
            "etc/pam.d/sshd",
            "# pam_kbmfa.so\naccount required \\\n  pam_kbmfa.so\nauth required pam_unix.so # kbmfa\n",
        );
        put("etc/pam.d/sudo", &format!("@include {stack}\nauth include {stack}\n"));
        put("usr/lib/pam.d/su", "auth [success=1 default=die] /opt/PAM_KBMFA.SO\n");
        put("stack", "session required pam_kbmfa.so log_only\n");
        put("etc/ssh/sshd_config", "Port 22\n  # kbmfa\n\tPAMServiceName sshd-kbmfa\n");
        put("etc/ssh/sshd_config.d/00-kbmfa.conf", "UsePAM yes\n");
        let found = find(root, &root.join("etc/ssh/sshd_config")).unwrap();
        let mut places: Vec<String> = found
            .iter()
            .map(|one| format!("{}:{}", one.file.strip_prefix(root).unwrap().display(), one.number))
            .collect();
        places.sort();
        assert_eq!(places, ["etc/pam.d/sshd:3", "etc/ssh/sshd_config:3", "stack:1", "usr/lib/pam.d/su:1"]);
        assert!(find(&root.join("empty"), &root.join("none")).unwrap().is_empty());
    }
}
