//! Members of a team, their roles, and whose answers count. Pure.

use kbmfa_proto::names::KeybaseName;
use std::fmt;
use std::str::FromStr;

/// A person's role in a team, in ascending order. Bots have none, because they never answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read, chat and react.
    Reader,
    /// May write.
    Writer,
    /// May manage members.
    Admin,
    /// Owns the team.
    Owner,
}

impl Role {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Reader, Self::Writer, Self::Admin, Self::Owner];
        all.into_iter()
            .find(|role| role.as_str() == text)
            .ok_or("write \"reader\", \"writer\", \"admin\" or \"owner\"")
    }
}

/// Kinds of members; only a person's answers can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A person with this role, and with working keys.
    Person(Role),
    /// A bot.
    Bot,
    /// A bot that receives only messages addressed to it.
    RestrictedBot,
    /// A person whose account was reset or deleted, or has no keys yet.
    Keyless,
}

/// A member of a team or conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The Keybase name, as in `keybase:NAME`.
    pub name: KeybaseName,
    /// The user's id. Keybase never reuses it.
    pub uid: String,
    /// Person, bot, or an account without keys.
    pub kind: MemberKind,
}

impl Member {
    /// Why this member's answers do not count; `None` if they do.
    pub fn rejection_reason(&self, min_role: Role) -> Option<String> {
        match self.kind {
            MemberKind::Person(role) if role >= min_role => None,
            MemberKind::Person(role) => {
                Some(format!("a {role} may not answer here; the role {min_role} is required"))
            }
            MemberKind::Bot | MemberKind::RestrictedBot => Some("bots may not answer".to_owned()),
            MemberKind::Keyless => Some("this account was reset, or has no keys yet".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_with_the_minimum_role_and_working_keys_count() {
        let check = |kind, min_role: Role, counts: bool| {
            let member = Member { name: "alice".parse().unwrap(), uid: "0".into(), kind };
            assert_eq!(member.rejection_reason(min_role).is_none(), counts, "{kind:?} {min_role}");
        };
        check(MemberKind::Person(Role::Writer), Role::Writer, true);
        check(MemberKind::Person(Role::Owner), Role::Writer, true);
        check(MemberKind::Person(Role::Reader), Role::Writer, false);
        check(MemberKind::Person(Role::Reader), Role::Reader, true);
        check(MemberKind::Person(Role::Writer), Role::Admin, false);
        check(MemberKind::Bot, Role::Reader, false);
        check(MemberKind::Keyless, Role::Reader, false);
    }
}
