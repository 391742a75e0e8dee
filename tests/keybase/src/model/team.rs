//! Teams, their members and roles.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::ids;
use super::people::User;

/// What a member may do. Their numbers on the wire do not order.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May chat and react all the same.
    Reader,
    /// The usual member.
    Writer,
    /// May delete what others posted.
    Admin,
    /// Like an admin, and may delete the team.
    Owner,
    /// Reads all, is heard by all.
    Bot,
    /// Reads only what is meant for it.
    #[value(name = "restrictedbot")]
    RestrictedBot,
}

impl Role {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Reader => 1,
            Self::Writer => 2,
            Self::Admin => 3,
            Self::Owner => 4,
            Self::Bot => 5,
            Self::RestrictedBot => 6,
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::from_str(text, true).ok()
    }

    pub(crate) fn is_admin(self) -> bool {
        matches!(self, Self::Admin | Self::Owner)
    }
}

/// Status of an active member.
pub(crate) const ACTIVE: u8 = 0;
/// Status of a member whose account was reset.
pub(crate) const RESET: u8 = 1;
/// Status of a member whose account was deleted.
pub(crate) const DELETED: u8 = 2;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) username: String,
    pub(crate) uid: String,
    pub(crate) eldest_seqno: u64,
    pub(crate) role: Role,
    pub(crate) status: u8,
    pub(crate) needs_puk: bool,
    pub(crate) joined_ms: u64,
}

impl Member {
    /// True if the member has keys for the team, and so can read and write.
    pub(crate) fn is_active(&self) -> bool {
        self.status == ACTIVE && !self.needs_puk
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Team {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) members: Vec<Member>,
    pub(crate) is_open: bool,
    pub(crate) key_generation: u64,
}

impl Team {
    pub(crate) fn new(name: &str) -> Self {
        let id = ids::team(name);
        Self { id, name: name.to_owned(), members: Vec::new(), is_open: false, key_generation: 1 }
    }

    pub(crate) fn member(&self, username: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.username == username)
    }

    /// The role of a user, if the user is an active member.
    pub(crate) fn role(&self, username: &str) -> Option<Role> {
        self.member(username).filter(|member| member.is_active()).map(|member| member.role)
    }

    /// Adds a member, or changes the role; true if the member is new.
    pub(crate) fn set(&mut self, user: &User, role: Role, now_ms: u64) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.username != user.name);
        let is_new = before == self.members.len();
        self.members.push(Member {
            username: user.name.clone(),
            uid: user.uid.clone(),
            eldest_seqno: user.eldest_seqno,
            role,
            status: ACTIVE,
            needs_puk: false,
            joined_ms: now_ms,
        });
        is_new
    }

    /// Removes a member, which changes the team's key; false if there was no such member.
    pub(crate) fn remove(&mut self, username: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.username != username);
        self.key_generation += 1;
        before != self.members.len()
    }
}
