//! The name of a PAM service, which is a file in PAM's directory. A name that leads out of that directory is
//! refused.

use std::str::FromStr;

/// A service's name as libpam uses it: lower case, a single path component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service(String);

/// Why a text is not the name of a service.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the name of a PAM service, such as sshd")]
pub(super) struct NotAService(String);

impl FromStr for Service {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
        if text.is_empty() || text.starts_with('.') || text.len() > 64 || !text.chars().all(plain) {
            return Err(NotAService(text.to_owned()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl Service {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_one_plain_word_in_small_letters() {
        assert_eq!("SSHD-recovery".parse::<Service>().unwrap().as_str(), "sshd-recovery");
        for text in ["", ".", "..", "/etc/pam.d/sshd", "../sshd", "a b", "a\0b", "\u{e9}", &"x".repeat(65)] {
            assert!(text.parse::<Service>().is_err(), "{text:?}");
        }
    }
}
