//! Users, teams and channels, as tests create and change them.

use serde_json::{Value, json};

use super::orders::json;
use crate::clock::wall_ms;
use crate::control::order::Order;
use crate::control::seen;
use crate::model::Chat;
use crate::model::conversation::Place;
use crate::model::find::{GENERAL, Name, check_channel_name, people};
use crate::model::message::Content;
use crate::model::people::{Sender, User};
use crate::model::post::Actor;
use crate::model::refusal::{Refusal, no_user, refuse};
use crate::model::team::{DELETED, RESET, Role, Team};

/// Executes an order about users, teams or channels.
pub(crate) fn change(chat: &mut Chat, order: Order) -> Result<Value, Refusal> {
    match order {
        Order::AddUser { user, full_name } => Ok(json(add_user(chat, &user, full_name)?)),
        Order::AddTeam { team, owner } => Ok(json(add_team(chat, &team, &owner)?)),
        Order::AddChannel { team, channel } => Ok(json(add_channel(chat, &team, &channel)?)),
        Order::AddPrivate { users } => Ok(json(add_private(chat, &users)?)),
        Order::SetMember { team, user, role, status, needs_puk } => {
            set_member(chat, &team, &user, role)?;
            done(set_member_status(chat, &team, &user, status, needs_puk))
        }
        Order::RemoveMember { team, user } => {
            let was_there = chat.team_mut(&team)?.remove(&user);
            was_there.then_some(Value::Null).ok_or_else(|| no_user(&user))
        }
        Order::SetOpen { team, open } => {
            chat.team_mut(&team)?.is_open = open;
            Ok(Value::Null)
        }
        Order::RenameTeam { team, to } => {
            chat.team_mut(&team)?.name = to;
            Ok(Value::Null)
        }
        Order::Explode { conversation } => {
            let id = chat.find(&conversation)?.id.clone();
            for message in &mut chat.conversation_mut(&id)?.messages {
                message.is_exploded = message.lifetime_ms.is_some();
            }
            Ok(Value::Null)
        }
        Order::RenameChannel { conversation, to } => done(rename_channel(chat, &conversation, &to)),
        Order::LeaveChannel { user, conversation } => done(leave_channel(chat, &user, &conversation)),
        Order::DeleteUser { user } => done(lose_account(chat, &user, DELETED)),
        Order::ResetUser { user } => done(lose_account(chat, &user, RESET)),
        other => Err(refuse(format!("nobody obeys {other:?}"))),
    }
}

/// The empty reply to an order.
fn done(result: Result<(), Refusal>) -> Result<Value, Refusal> {
    result.map(|()| Value::Null)
}

fn add_user(chat: &mut Chat, name: &str, full_name: Option<String>) -> Result<seen::User, Refusal> {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.len() < 2 || !name.chars().all(is_fine) || chat.users.contains_key(name) {
        return Err(refuse(format!("user '{name}' is taken, or no name for a user")));
    }
    let user = User::new(name, full_name);
    chat.users.insert(name.to_owned(), user.clone());
    Ok(seen::User {
        name: user.name,
        uid: user.uid,
        paper_key: user.paper_key,
        eldest_seqno: user.eldest_seqno,
    })
}

fn add_team(chat: &mut Chat, name: &str, owner: &str) -> Result<String, Refusal> {
    if chat.team(name).is_ok() {
        return Err(refuse(format!("team \"{name}\" is taken")));
    }
    let owner = chat.user(owner)?.clone();
    let mut team = Team::new(name);
    team.set(&owner, Role::Owner, wall_ms());
    chat.teams.push(team);
    add_channel(chat, name, GENERAL)
}

fn add_channel(chat: &mut Chat, team: &str, channel: &str) -> Result<String, Refusal> {
    let creator = speaker(chat, team)?;
    let team_id = chat.team(team)?.id.clone();
    let name =
        Name { place: Place::Channel { team_id, name: channel.to_owned() }, topic_type: "chat".into() };
    if chat.lookup(&name).is_some() {
        return Err(refuse(format!("#{channel} is taken")));
    }
    chat.create(name, &creator, wall_ms())
}

fn add_private(chat: &mut Chat, users: &str) -> Result<String, Refusal> {
    let name = Name { place: people(users), topic_type: "chat".into() };
    let Place::People(names) = &name.place else { return Err(no_user(users)) };
    let all = names.iter().map(|name| chat.user(name)).collect::<Result<Vec<_>, _>>()?;
    let creator = all.first().ok_or_else(|| no_user(users))?.on_laptop();
    chat.create(name, &creator, wall_ms())
}

/// Adds a member, which #general shows, or changes a member's role.
fn set_member(chat: &mut Chat, team: &str, name: &str, role: Role) -> Result<(), Refusal> {
    let user = chat.user(name)?.clone();
    let adder = speaker(chat, team)?;
    if !chat.team_mut(team)?.set(&user, role, wall_ms()) {
        return Ok(());
    }
    let id = chat.find(team)?.id.clone();
    let added = json!({"team": team, "adder": adder.username, "addee": name, "role": role.number(), "bulkAdds": null});
    let content = Content::System(json!({"systemType": 0, "addedtoteam": added}));
    chat.tell(&Actor { conversation: &id, sender: &adder, session: None, now_ms: wall_ms() }, content)?;
    Ok(())
}

fn set_member_status(
    chat: &mut Chat,
    team: &str,
    name: &str,
    status: u8,
    needs_puk: bool,
) -> Result<(), Refusal> {
    let mut members = chat.team_mut(team)?.members.iter_mut();
    let member = members.find(|member| member.username == name).ok_or_else(|| no_user(name))?;
    (member.status, member.needs_puk) = (status, needs_puk);
    Ok(())
}

fn rename_channel(chat: &mut Chat, conversation: &str, to: &str) -> Result<(), Refusal> {
    check_channel_name(to)?;
    let id = chat.find(conversation)?.id.clone();
    let Place::Channel { name, team_id } = &mut chat.conversation_mut(&id)?.place else {
        return Err(refuse("a conversation of people has no name"));
    };
    to.clone_into(name);
    let team = team_id.clone();
    let team = chat.team_by_id(&team).map(|team| team.name.clone()).unwrap_or_default();
    let sender = speaker(chat, &team)?;
    let actor = Actor { conversation: &id, sender: &sender, session: None, now_ms: wall_ms() };
    chat.tell(&actor, Content::Metadata { title: to.to_owned() })?;
    Ok(())
}

fn leave_channel(chat: &mut Chat, user: &str, conversation: &str) -> Result<(), Refusal> {
    let sender = chat.user(user)?.on_laptop();
    let id = chat.find(conversation)?.id.clone();
    chat.tell(
        &Actor { conversation: &id, sender: &sender, session: None, now_ms: wall_ms() },
        Content::Leave,
    )?;
    chat.conversation_mut(&id)?.left.insert(user.to_owned());
    Ok(())
}

/// Resets or deletes an account. A reset account keeps its name and uid but has no keys; a deleted account is
/// gone.
fn lose_account(chat: &mut Chat, name: &str, status: u8) -> Result<(), Refusal> {
    let user = chat.users.get_mut(name).ok_or_else(|| no_user(name))?;
    user.eldest_seqno += 7;
    user.is_deleted = status == DELETED;
    let members = chat.teams.iter_mut().flat_map(|team| &mut team.members);
    members.filter(|member| member.username == name).for_each(|member| member.status = status);
    Ok(())
}

/// The author of the system's own messages: the team's first owner.
fn speaker(chat: &Chat, team: &str) -> Result<Sender, Refusal> {
    let owner = chat.team(team)?.members.iter().find(|member| member.role == Role::Owner);
    let owner = owner.ok_or_else(|| refuse(format!("team \"{team}\" has no owner")))?;
    Ok(chat.users.get(&owner.username).ok_or_else(|| no_user(&owner.username))?.on_laptop())
}
