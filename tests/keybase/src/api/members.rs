//! The chat method `listmembers`: the members of a conversation, by role.

use serde::Serialize;

use super::options::Options;
use super::{Context, Outcome, result, target};
use crate::model::Chat;
use crate::model::conversation::{Conversation, Place};
use crate::model::people::User;
use crate::model::team::Role;

#[derive(Serialize)]
struct Members {
    owners: Vec<Person>,
    admins: Vec<Person>,
    writers: Vec<Person>,
    readers: Vec<Person>,
    bots: Vec<Person>,
    #[serde(rename = "restrictedBots")]
    restricted_bots: Vec<Person>,
}

#[derive(Serialize)]
struct Person {
    uid: String,
    username: String,
    #[serde(rename = "fullName")]
    full_name: String,
}

/// Lists the members of the channel, not of its team.
pub(crate) fn list(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("listmembers", options)?;
    let me = context.online()?;
    target::object(context, &options.channel);
    let id = target::existing(context.chat, &me, options)?;
    let conversation = context.chat.conversation(&id)?;
    let all = people(context.chat, conversation);
    let of =
        |role: Role| all.iter().filter(|(_, found)| *found == role).map(|(user, _)| person(user)).collect();
    result(&Members {
        owners: of(Role::Owner),
        admins: of(Role::Admin),
        writers: of(Role::Writer),
        readers: of(Role::Reader),
        bots: of(Role::Bot),
        restricted_bots: of(Role::RestrictedBot),
    })
}

fn people<'a>(chat: &'a Chat, conversation: &Conversation) -> Vec<(&'a User, Role)> {
    let names: Vec<(String, Role)> = match &conversation.place {
        Place::People(names) => names.iter().map(|name| (name.clone(), Role::Owner)).collect(),
        Place::Channel { team_id, .. } => {
            let members = chat.team_by_id(team_id).into_iter().flat_map(|team| &team.members);
            members.map(|member| (member.username.clone(), member.role)).collect()
        }
    };
    let present = names.into_iter().filter(|(name, _)| !conversation.left.contains(name));
    present.filter_map(|(name, role)| Some((chat.users.get(&name)?, role))).collect()
}

fn person(user: &User) -> Person {
    Person { uid: user.uid.clone(), username: user.name.clone(), full_name: user.full_name.clone() }
}
