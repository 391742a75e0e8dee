//! The dry run of a login: a real PAM transaction through the installed module. The server always ends it as
//! `rehearsed`. It asks nobody and lets nobody in.

use kbmfa_finding::{Finding, Level};
use kbmfa_proto::text::SafeText;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::application::{self, Told};
use super::service::Service;
use super::stack::Line;
use pam_kbmfa::outcome::DRY_RUN_DONE;

const WHAT: &str = "rehearsal";

/// The login to try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    /// The account; root by default.
    pub(super) user: &'a str,
    pub(super) is_named: bool,
    /// The address that they log in from.
    pub(super) from: IpAddr,
}

/// Does the dry run of a login through one line of the installed stack. `has_fault` means that a fault which
/// refuses every login was already reported, so a refusal here is expected.
pub(super) fn run(
    line: &Line,
    config: &Path,
    service: &Service,
    (who, has_fault): (Who<'_>, bool),
) -> Finding {
    let dry_run = |user: &str| dry_run(Path::new("/run"), line, config, service, (user, who.from));
    let told = match dry_run(who.user) {
        Ok(told) => told,
        Err(error) => return Finding::fault(WHAT, format!("cannot be prepared: {error}")),
    };
    match judge(&told, who.user) {
        Verdict::Finding(finding) => finding,
        Verdict::Refused(found) if has_fault => {
            Finding::weak(WHAT, found).fix("fix the faults above and run doctor again")
        }
        // root was only the default, so other accounts are tried.
        Verdict::Refused(found) if !who.is_named => {
            let is_taken = |user: &String| {
                let told = dry_run(user).ok();
                told.is_some_and(
                    |told| matches!(judge(&told, user), Verdict::Finding(found) if found.level == Level::Ok),
                )
            };
            match people().into_iter().take(PEOPLE_MAX).find(is_taken) {
                Some(user) => {
                    let fix = "if root is to log in here, read the new line of pam_kbmfa in the system log";
                    Finding::weak(WHAT, format!("{found} A login of {user} would be asked about.")).fix(fix)
                }
                None => refused(found),
            }
        }
        Verdict::Refused(found) => refused(found),
    }
}

fn refused(found: String) -> Finding {
    Finding::fault(WHAT, found).fix(
        "read the new line of pam_kbmfa, or of libpam, in the system log; or name another account that may \
         log in here: --user NAME",
    )
}

/// Maximum number of accounts that are tried besides root, to find out whether only root is refused. Each dry
/// run is an audit event.
const PEOPLE_MAX: usize = 3;

/// Accounts of people in /etc/passwd, by uid and shell (login.defs(5), nologin(8)).
fn people() -> Vec<String> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().filter_map(person).map(str::to_owned).collect()
}

fn person(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, _, _, _, shell] = fields.as_slice() else { return None };
    let uid: u32 = uid.parse().ok()?;
    let may_log_in = !shell.ends_with("/nologin") && !shell.ends_with("/false");
    ((1000..60_000).contains(&uid) && may_log_in).then_some(name)
}

/// The finding if no dry run was made because it would only repeat the faults before it.
pub(super) fn not_tried() -> Finding {
    Finding::weak(WHAT, "not tried because of the faults above").fix("fix them and run doctor again")
}

/// PAM reads its stack from a temporary directory below `place` that only root can read.
fn dry_run(
    place: &Path,
    line: &Line,
    config: &Path,
    service: &Service,
    (user, from): (&str, IpAddr),
) -> io::Result<Told> {
    let config = config.display().to_string();
    if config.contains(['[', ']', '#', '\n', '\\']) {
        return Err(io::Error::other(format!("a PAM line cannot contain the path {config}")));
    }
    let alone = Permissions::from_mode(0o700);
    let dir = tempfile::Builder::new().prefix("kbmfa-host-").permissions(alone).tempdir_in(place)?;
    // There is no sshd here to prove the first factor, so the stack vouches for it.
    let stack = format!("account required {} [config={config}] first_factor=stack rehearsal\n", line.module);
    fs::write(dir.path().join(service.as_str()), stack)?;
    // libpam requires this file, but does not use it here.
    fs::write(dir.path().join("other"), "account required pam_deny.so\n")?;
    let confdir = CString::new(dir.path().as_os_str().as_bytes())?;
    let (service, user) = (CString::new(service.as_str())?, CString::new(user)?);
    Ok(application::account(&service, &user, &CString::new(from.to_string())?, &confdir))
}

/// The result of a dry run.
#[derive(Debug)]
enum Verdict {
    Finding(Finding),
    /// The login would be refused, with this text.
    Refused(String),
}

fn judge(told: &Told, user: &str) -> Verdict {
    let texts: Vec<SafeText> = told.texts.iter().map(|text| SafeText::new(text)).collect();
    if told.success {
        return Verdict::Finding(
            Finding::fault(WHAT, format!("the module let {user} in, which a dry run must never do"))
                .fix("install the package again; pam_kbmfa.so may not be kbmfa's"),
        );
    }
    // The server judges the name only; it does not know this machine's accounts.
    if !told.is_known {
        let found = format!("there is no account {user} here, and no account that could log in by this name");
        return Verdict::Finding(
            Finding::fault(WHAT, found).fix("name an account that may log in here: --user NAME"),
        );
    }
    if texts.iter().any(|text| text.as_str() == DRY_RUN_DONE) {
        let found =
            format!("the installed module asked the server about a login of {user}, and let nobody in");
        return Verdict::Finding(Finding::ok(WHAT, found));
    }
    let said: Vec<&str> = texts.iter().map(SafeText::as_str).collect();
    let said = if said.is_empty() { told.meaning.clone() } else { said.join(" ") };
    Verdict::Refused(format!("a login of {user} would be refused: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(success: bool, texts: &[&str]) -> Told {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        Told { is_known: true, success, meaning: "Permission denied".into(), texts }
    }

    fn level(told: &Told) -> Option<Level> {
        match judge(told, "alice") {
            Verdict::Finding(finding) => Some(finding.level),
            Verdict::Refused(_) => None,
        }
    }

    #[test]
    fn a_missing_account_is_a_fault_whatever_the_server_answers() {
        for texts in [[DRY_RUN_DONE], ["Your login was denied."]] {
            assert_eq!(level(&Told { is_known: false, ..told(false, &texts) }), Some(Level::Fault));
        }
    }

    #[test]
    fn people_have_a_normal_uid_and_a_login_shell() {
        assert_eq!(person("alice:x:2001:2001::/home/alice:/bin/bash"), Some("alice"));
        for line in [
            "root:x:0:0:root:/root:/bin/bash",
            "sshd:x:102:65534::/run/sshd:/usr/sbin/nologin",
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
            "gone:x:2002:2002::/home/gone:/bin/false",
            "",
        ] {
            assert_eq!(person(line), None, "{line}");
        }
    }

    #[test]
    fn only_the_modules_own_words_and_a_refusal_make_a_rehearsal_that_went_well() {
        assert_eq!(level(&told(false, &["debug", DRY_RUN_DONE])), Some(Level::Ok));
        assert_eq!(level(&told(true, &[DRY_RUN_DONE])), Some(Level::Fault));
        assert_eq!(level(&told(false, &["Your login was denied."])), None);
        assert_eq!(level(&told(false, &[])), None);
    }

    #[test]
    fn a_missing_module_is_a_fault_that_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sshd"), "account required /nonexistent/pam_kbmfa.so\n").unwrap();
        let stack = super::super::stack::read(&[dir.path().to_owned()], "sshd").unwrap();
        let service = "sshd".parse().unwrap();
        let told = dry_run(
            dir.path(),
            &stack[0],
            Path::new("/nonexistent"),
            &service,
            ("root", [127, 0, 0, 1].into()),
        )
        .unwrap();
        let Verdict::Refused(found) = judge(&told, "root") else { panic!("{told:?}") };
        assert!(found.contains("would be refused: Module is unknown"), "{found}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn a_path_that_would_break_the_line_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sshd"), "account required pam_permit.so\n").unwrap();
        let stack = super::super::stack::read(&[dir.path().to_owned()], "sshd").unwrap();
        let (service, who) = ("sshd".parse().unwrap(), ("root", [127, 0, 0, 1].into()));
        for path in ["/etc/a]b", "/etc/a\nb", "/etc/a\\", "/etc/a#b"] {
            assert!(dry_run(dir.path(), &stack[0], Path::new(path), &service, who).is_err(), "{path:?}");
        }
    }
}
