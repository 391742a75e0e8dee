//! Known modules of other projects, and the results that any module may return.

/// Modules that succeed only if the person is authenticated.
pub(super) const CHECK: [&str; 20] = [
    "pam_fprintd.so",
    "pam_google_authenticator.so",
    "pam_himmelblau.so",
    "pam_kanidm.so",
    "pam_krb5.so",
    "pam_ldap.so",
    "pam_ldapd.so",
    "pam_oath.so",
    "pam_p11.so",
    "pam_pkcs11.so",
    "pam_radius_auth.so",
    "pam_ssh_agent_auth.so",
    "pam_sss.so",
    "pam_systemd_home.so",
    "pam_tacplus.so",
    "pam_u2f.so",
    "pam_unix.so",
    "pam_userdb.so",
    "pam_winbind.so",
    "pam_yubico.so",
];

/// Modules that always succeed.
pub(super) const NO_CHECK: [&str; 28] = [
    "pam_access.so",
    "pam_cap.so",
    "pam_debug.so",
    "pam_echo.so",
    "pam_env.so",
    "pam_faildelay.so",
    "pam_faillock.so",
    "pam_group.so",
    "pam_issue.so",
    "pam_keyinit.so",
    "pam_lastlog.so",
    "pam_limits.so",
    "pam_listfile.so",
    "pam_localuser.so",
    "pam_mail.so",
    "pam_motd.so",
    "pam_nologin.so",
    "pam_permit.so",
    "pam_securetty.so",
    "pam_selinux.so",
    "pam_shells.so",
    "pam_succeed_if.so",
    "pam_tally2.so",
    "pam_time.so",
    "pam_umask.so",
    "pam_usertype.so",
    "pam_warn.so",
    "pam_wheel.so",
];

/// The result that libpam uses for a missing module.
pub(super) const MODULE_UNKNOWN: &str = "module_unknown";

/// Failure results by their names in pam.conf(5). The first one represents all that a line does not mention.
pub(super) const FAILURES: [&str; 26] = [
    "system_err",
    "open_err",
    "symbol_err",
    "service_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "abort",
    "authtok_expired",
    MODULE_UNKNOWN,
];

/// Services of programs that keep the caller's real uid, which `pam_rootok` checks.
pub(super) const CALLED_BY_ANYBODY: [&str; 4] = ["su", "su-l", "runuser", "runuser-l"];

/// Arguments that let an authenticating module ignore a person. `nullok` of `pam_unix` is not one of them: it
/// allows empty passwords, but the module still decides.
pub(super) const STEP_ASIDE: [&str; 3] = ["nullok", "nouserok", "ignore_"];
