//! A login without a login: a real PAM transaction through the installed module, which the server ends as
//! rehearsed. It lets nobody in, whatever comes of it, and asks nobody.

use kbmfa_proto::finding::Finding;
use kbmfa_proto::text::Shown;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::service::Service;
use super::stack::Line;
use crate::outcome::REHEARSED;
use crate::sys::application::{self, Told};

const WHAT: &str = "rehearsal";

/// Whose login is rehearsed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    /// The account; root's, unless the administrator named one.
    pub(super) user: &'a str,
    pub(super) is_named: bool,
    /// Where they come from.
    pub(super) from: IpAddr,
}

/// Rehearses a login by a line of the installed stack.
pub(super) fn look(line: &Line, config: &Path, service: &Service, who: Who<'_>) -> Finding {
    match rehearse(Path::new("/run"), line, config, service, (who.user, who.from)) {
        Ok(told) => judge(&told, who),
        Err(error) => Finding::fault(WHAT, format!("cannot be made ready: {error}")),
    }
}

/// What is said in the place of a rehearsal that could only repeat the faults before it.
pub(super) fn not_tried() -> Finding {
    Finding::weak(WHAT, "not tried because of what stands above").fix("run doctor again after that")
}

/// PAM reads its stack from a directory of root's alone, below `place`, that is gone afterwards.
fn rehearse(
    place: &Path,
    line: &Line,
    config: &Path,
    service: &Service,
    (user, from): (&str, IpAddr),
) -> io::Result<Told> {
    let config = config.display().to_string();
    if config.contains(['[', ']', '#', '\n', '\\']) {
        return Err(io::Error::other(format!("PAM could not read the path {config} in a line of its own")));
    }
    let alone = Permissions::from_mode(0o700);
    let dir = tempfile::Builder::new().prefix("kbmfa-host-").permissions(alone).tempdir_in(place)?;
    // What proves a first factor is sshd's part of a login, and there is no sshd here.
    let stack = format!("account required {} [config={config}] first_factor=stack rehearsal\n", line.module);
    fs::write(dir.path().join(service.as_str()), stack)?;
    // libpam wants one; nothing asks it.
    fs::write(dir.path().join("other"), "account required pam_deny.so\n")?;
    let confdir = CString::new(dir.path().as_os_str().as_bytes())?;
    let (service, user) = (CString::new(service.as_str())?, CString::new(user)?);
    Ok(application::account(&service, &user, &CString::new(from.to_string())?, &confdir))
}

fn judge(told: &Told, Who { user, is_named, .. }: Who<'_>) -> Finding {
    let texts: Vec<Shown> = told.texts.iter().map(|text| Shown::new(text)).collect();
    if told.success {
        return Finding::fault(WHAT, format!("the module let {user} in, which a rehearsal must never do"))
            .fix("is it kbmfa's own pam_kbmfa.so? Install the package again");
    }
    if texts.iter().any(|text| text.as_str() == REHEARSED) {
        let found =
            format!("the installed module asked the server about a login of {user}, and let nobody in");
        return Finding::ok(WHAT, found);
    }
    if !told.is_known {
        let found = format!("there is no account {user} here, so a login of it would be refused");
        return Finding::fault(WHAT, found).fix("name somebody who logs in here: --user NAME");
    }
    let said: Vec<&str> = texts.iter().map(Shown::as_str).collect();
    let refused = |why: &str| format!("a login of {user} would be refused: {why}");
    if said.is_empty() {
        let fix = "see what pam_kbmfa, or libpam, has just written to the system log";
        return Finding::fault(WHAT, refused(&told.meaning)).fix(fix);
    }
    let found = refused(&said.join(" "));
    if is_named {
        Finding::fault(WHAT, found).fix("see what pam_kbmfa has just written to the system log")
    } else {
        // Nobody said that root is to log in here.
        Finding::weak(WHAT, found).fix("name somebody who is to log in here: --user NAME")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kbmfa_proto::finding::Level;

    fn who(user: &str, is_named: bool) -> Who<'_> {
        Who { user, is_named, from: [127, 0, 0, 1].into() }
    }

    fn told(success: bool, texts: &[&str]) -> Told {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        Told { is_known: true, success, meaning: "Permission denied".into(), texts }
    }

    fn level(success: bool, texts: &[&str]) -> Level {
        judge(&told(success, texts), who("alice", true)).level
    }

    #[test]
    fn that_root_may_not_log_in_is_no_fault_where_nobody_said_that_it_should() {
        let denied = told(false, &["It is not known whose account this is."]);
        let found = judge(&denied, who("root", false));
        assert_eq!(found.level, Level::Weak);
        assert!(found.fix.unwrap().contains("--user NAME"));
        assert_eq!(judge(&denied, who("root", true)).level, Level::Fault);
        assert_eq!(judge(&told(true, &[]), who("root", false)).level, Level::Fault);
        assert_eq!(judge(&told(false, &[]), who("root", false)).level, Level::Fault);
    }

    #[test]
    fn an_account_that_is_not_there_is_a_fault_that_says_so() {
        let found = judge(&Told { is_known: false, ..told(false, &["Denied."]) }, who("alicia", true));
        assert_eq!(found.level, Level::Fault);
        assert!(found.found.contains("there is no account alicia"), "{}", found.found);
    }

    #[test]
    fn only_the_modules_own_words_and_a_refusal_make_a_rehearsal_that_went_well() {
        assert_eq!(level(false, &["debug", REHEARSED]), Level::Ok);
        assert_eq!(level(true, &[REHEARSED]), Level::Fault);
        assert_eq!(level(false, &["Your login was denied."]), Level::Fault);
        assert_eq!(level(false, &[]), Level::Fault);
    }

    #[test]
    fn a_module_that_is_not_there_is_a_fault_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sshd"), "account required /nonexistent/pam_kbmfa.so\n").unwrap();
        let stack = super::super::stack::read(&[dir.path().to_owned()], "sshd").unwrap();
        let service = "sshd".parse().unwrap();
        let told = rehearse(
            dir.path(),
            &stack[0],
            Path::new("/nonexistent"),
            &service,
            ("root", [127, 0, 0, 1].into()),
        )
        .unwrap();
        let finding = judge(&told, who("root", true));
        assert_eq!(finding.level, Level::Fault);
        assert!(finding.found.contains("would be refused: Module is unknown"), "{}", finding.found);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn a_path_that_would_break_the_line_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sshd"), "account required pam_permit.so\n").unwrap();
        let stack = super::super::stack::read(&[dir.path().to_owned()], "sshd").unwrap();
        let (service, who) = ("sshd".parse().unwrap(), ("root", [127, 0, 0, 1].into()));
        for path in ["/etc/a]b", "/etc/a\nb", "/etc/a\\", "/etc/a#b"] {
            assert!(rehearse(dir.path(), &stack[0], Path::new(path), &service, who).is_err(), "{path:?}");
        }
    }
}
