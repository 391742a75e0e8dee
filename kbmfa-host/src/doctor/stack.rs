//! Reads a PAM stack as libpam does (pam.conf(5)): every line in order, included files in place.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Depth limit of included files; it ends loops.
const DEPTH_MAX: usize = 16;

/// The module's file.
const OURS: &str = "pam_kbmfa.so";

/// The control that includes a file whose end is not the end of the stack.
const SUBSTACK: &str = "substack";

/// The management group of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Auth,
    Account,
    Session,
    Password,
}

/// What PAM does with what a module returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Ok,
    Done,
    Bad,
    Die,
    Ignore,
    Reset,
    /// Skips this many of the following lines.
    Jump(usize),
}

/// One line that calls a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) group: Group,
    /// The control as written.
    pub(super) control: String,
    actions: Vec<(String, Action)>,
    pub(super) module: String,
    pub(super) args: Vec<String>,
    /// Number of `substack`s around it.
    pub(super) level: usize,
    /// Its module's file is missing: libpam uses the result `module_unknown`.
    pub(super) is_missing: bool,
    file: PathBuf,
    number: usize,
}

/// Why a stack cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    #[error("{0}:{1}: {2}")]
    Line(PathBuf, usize, String),
    #[error(
        "{0}:{1}: the line ends in `\\` and none follows it; versions of libpam differ about the next one"
    )]
    Unfinished(PathBuf, usize),
    #[error("{0}: files include each other in a loop")]
    Deep(PathBuf),
}

impl Line {
    /// True if it calls the module of kbmfa.
    pub(super) fn is_ours(&self) -> bool {
        self.name() == OURS
    }

    /// The module without its path.
    pub(super) fn name(&self) -> &str {
        self.module.rsplit('/').next().unwrap_or(&self.module)
    }

    /// True for the line that opens a substack and calls no module.
    pub(super) fn is_substack(&self) -> bool {
        self.control == SUBSTACK
    }

    /// The action for a result; `None` if there is none, which PAM counts as a failure. If a result has
    /// several actions, the last one applies. Of several defaults the first one applies.
    pub(super) fn action(&self, result: &str) -> Option<Action> {
        let said = self.actions.iter().rfind(|(of, _)| of == result);
        let said = said.or_else(|| self.actions.iter().find(|(of, _)| of == "default"));
        said.map(|(_, action)| *action)
    }

    /// Its file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Its file and line.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.number)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{} {}` ({})", self.control, self.module, self.place())
    }
}

/// Every line of a service's stack. `dirs` are searched in order, as libpam searches `/etc/pam.d` and then
/// the distribution's own directory.
pub(super) fn read(dirs: &[PathBuf], service: &str) -> Result<Vec<Line>, Error> {
    let mut stack = Vec::new();
    let reader = Reader { dirs, only: None, level: 0, depth: 0 };
    reader.file(Path::new(service), &mut stack)?;
    Ok(stack)
}

/// Marks missing modules; `is_there` is called with each name in the stack.
pub(super) fn note_missing(stack: &mut [Line], is_there: impl Fn(&str) -> bool) {
    for line in stack.iter_mut().filter(|line| !line.is_substack()) {
        line.is_missing = !is_there(&line.module);
    }
}

/// The state of reading.
#[derive(Clone, Copy)]
struct Reader<'a> {
    dirs: &'a [PathBuf],
    /// The one group whose lines are wanted.
    only: Option<Group>,
    level: usize,
    depth: usize,
}

impl Reader<'_> {
    fn file(self, name: &Path, stack: &mut Vec<Line>) -> Result<(), Error> {
        if self.depth > DEPTH_MAX {
            return Err(Error::Deep(name.to_owned()));
        }
        let (file, text) = self.open(name)?;
        for (number, line) in
            logical_lines(&text).map_err(|number| Error::Unfinished(file.clone(), number))?
        {
            let bad = |what: &str| Error::Line(file.clone(), number, what.to_owned());
            let words = words(&line).ok_or_else(|| bad("a [ is not closed"))?;
            let [first, rest @ ..] = words.as_slice() else { continue };
            if first == "@include" {
                let [name] = rest else { return Err(bad("@include takes exactly one file name")) };
                Self { depth: self.depth + 1, ..self }.file(Path::new(name), stack)?;
                continue;
            }
            let group = group(first).ok_or_else(|| {
                bad(&format!("{first:?} is not a type (auth, account, password or session)"))
            })?;
            let [control, module, args @ ..] = rest else { return Err(bad("the line is incomplete")) };
            if self.only.is_some_and(|only| only != group) {
                continue;
            }
            let control = control.to_ascii_lowercase();
            let inner = Self { only: Some(group), depth: self.depth + 1, ..self };
            if control == "include" {
                inner.file(Path::new(module), stack)?;
                continue;
            }
            stack.push(Line {
                group,
                actions: actions(&control).ok_or_else(|| bad(&format!("{control:?} is not a control")))?,
                module: module.clone(),
                args: args.iter().map(|arg| unbracketed(arg).to_owned()).collect(),
                level: self.level,
                is_missing: false,
                file: file.clone(),
                number,
                control,
            });
            if stack.last().is_some_and(Line::is_substack) {
                Self { level: self.level + 1, ..inner }.file(Path::new(module), stack)?;
            }
        }
        Ok(())
    }

    fn open(self, name: &Path) -> Result<(PathBuf, String), Error> {
        let mut missing = None;
        // An absolute name replaces the directory that it is joined to.
        for file in self.dirs.iter().map(|dir| dir.join(name)) {
            match fs::read(&file) {
                Ok(text) => return Ok((file, String::from_utf8_lossy(&text).into_owned())),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    missing.get_or_insert(Error::Unreadable(file, error));
                }
                Err(error) => return Err(Error::Unreadable(file, error)),
            }
        }
        Err(missing.unwrap_or_else(|| Error::Unreadable(name.to_owned(), ErrorKind::NotFound.into())))
    }
}

/// Lines without comments, with continuations joined, each with the number of its first line. The error is
/// the number of a line that ends in a backslash at the end of the file.
fn logical_lines(text: &str) -> Result<Vec<(usize, String)>, usize> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.split('#').next().unwrap_or_default().trim_end();
        let (line, continued) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match lines.last_mut() {
            Some((number, _)) if goes_on && line.trim().is_empty() => return Err(*number),
            Some((_, last)) if goes_on => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push((index + 1, line.to_owned())),
        }
        goes_on = continued;
    }
    Ok(lines)
}

/// A word in brackets, without them: `[a b]` reaches a module as `a b`.
fn unbracketed(word: &str) -> &str {
    word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word)
}

/// The words of a line; `[several words]` are one.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']')?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        let is_bracket = rest.starts_with('[');
        words.push(if is_bracket { format!("[{word}]") } else { word.to_owned() });
        rest = after.trim_start();
    }
    Some(words)
}

fn group(word: &str) -> Option<Group> {
    // A dash only suppresses the log line about a missing module.
    match word.strip_prefix('-').unwrap_or(word).to_ascii_lowercase().as_str() {
        "auth" => Some(Group::Auth),
        "account" => Some(Group::Account),
        "session" => Some(Group::Session),
        "password" => Some(Group::Password),
        _ => None,
    }
}

/// The meaning of the four keywords in pam.conf(5).
fn actions(control: &str) -> Option<Vec<(String, Action)>> {
    let spelt = match control {
        "required" => "success=ok new_authtok_reqd=ok ignore=ignore default=bad",
        "requisite" => "success=ok new_authtok_reqd=ok ignore=ignore default=die",
        "sufficient" => "success=done new_authtok_reqd=done default=ignore",
        "optional" => "success=ok new_authtok_reqd=ok default=ignore",
        SUBSTACK => "",
        other => unbracketed(other),
    };
    let spelt = spelt.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    let one = |pair: &str| {
        let (result, action) = pair.split_once('=')?;
        let action = match action {
            "ok" => Action::Ok,
            "done" => Action::Done,
            "bad" => Action::Bad,
            "die" => Action::Die,
            "ignore" => Action::Ignore,
            "reset" => Action::Reset,
            number => Action::Jump(number.parse().ok()?),
        };
        Some((result.to_owned(), action))
    };
    spelt.split_whitespace().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(files: &[(&str, &str)]) -> Result<Vec<Line>, Error> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        read(&[dir.path().join("none"), dir.path().to_owned()], "sshd")
    }

    fn shown(files: &[(&str, &str)]) -> Vec<String> {
        let line = |line: &Line| format!("{:?} {} {} {:?}", line.group, line.level, line.module, line.args);
        stack(files).unwrap().iter().map(line).collect()
    }

    #[test]
    fn what_is_included_stands_in_its_place_and_only_its_own_kind_where_that_was_meant() {
        let common = "auth required pam_unix.so nullok # a word\naccount required pam_permit.so\n";
        let sshd = "# PAM for sshd\n@include common\n-AUTH optional pam_cap.so\n\
                    account include common\naccount substack common\n";
        assert_eq!(
            shown(&[("sshd", sshd), ("common", common)]),
            [
                "Auth 0 pam_unix.so [\"nullok\"]",
                "Account 0 pam_permit.so []",
                "Auth 0 pam_cap.so []",
                "Account 0 pam_permit.so []",
                "Account 0 common []",
                "Account 1 pam_permit.so []",
            ]
        );
    }

    #[test]
    fn brackets_and_backslashes_join_words() {
        let lines = stack(&[(
            "sshd",
            "account [success=1 \\\n  default=ignore] /lib/security/pam_kbmfa.so [a b] c\n",
        )]);
        let line = &lines.unwrap()[0];
        assert_eq!(
            (line.name(), line.args.as_slice()),
            ("pam_kbmfa.so", ["a b", "c"].map(String::from).as_slice())
        );
        assert!(line.is_ours() && line.place().ends_with("sshd:1"));
        assert_eq!(line.action("success"), Some(Action::Jump(1)));
        assert_eq!(line.action("perm_denied"), Some(Action::Ignore));
    }

    #[test]
    fn of_several_actions_for_one_result_the_last_counts_and_of_defaults_the_first() {
        let line = "account [default=die perm_denied=bad perm_denied = ignore default=ok] pam_kbmfa.so\n";
        let line = &stack(&[("sshd", line)]).unwrap()[0];
        assert_eq!(line.action("perm_denied"), Some(Action::Ignore));
        assert_eq!(line.action("success"), Some(Action::Die));
    }

    #[test]
    fn a_line_that_libpam_cannot_parse_is_named() {
        for (text, place) in [
            ("auth required pam_unix.so\nauth\n", "sshd:2: the line is incomplete"),
            ("what required pam_unix.so\n", "\"what\" is not a type"),
            ("auth perhaps pam_unix.so\n", "\"perhaps\" is not a control"),
            ("auth [success=sometimes] pam_unix.so\n", "is not a control"),
            ("auth [success=1 pam_unix.so\n", "a [ is not closed"),
            ("auth required \\\n# words\nauth required pam_unix.so\n", "sshd:1: the line ends in `\\`"),
            ("@include gone\n", "gone: No such file"),
            ("@include sshd\n", "in a loop"),
        ] {
            let error = stack(&[("sshd", text)]).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }
}
