//! The limit on open files. Each waiting login holds a connection, and each connection is a file.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. Logs a warning if that is less than the settings need.
pub fn raise_limit(needed: u64) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("the limit on open files cannot be changed: {error}");
    }
    if let Some(why) = shortage(needed) {
        log::warn!("{why}");
    }
}

/// The warning if the hard limit of this process is less than `needed`.
pub fn shortage(needed: u64) -> Option<String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    too_few(hard, needed)
}

fn too_few(hard: u64, needed: u64) -> Option<String> {
    (hard < needed).then(|| {
        format!(
            "this process may open {hard} files, but the connections that [server] allows need {needed}: \
             beyond the limit logins are not served; set LimitNOFILE={needed} in the unit, or lower \
             connections and unproven_connections"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_open_files_below_what_the_connections_need_is_named_with_the_number() {
        let why = too_few(4096, 18_048).unwrap();
        assert!(why.contains("may open 4096 files") && why.contains("LimitNOFILE=18048"), "{why}");
        assert_eq!(too_few(18_048, 18_048), None);
    }
}
