//! The methods of `team api` that read. Their data is always the servers', never the store of a service.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::options::Options;
use super::{Context, Outcome, result};
use crate::model::Chat;
use crate::model::people::Sender;
use crate::model::refusal::{self, Refusal};
use crate::model::team::{Member, Role, Team};

#[derive(Serialize)]
struct Memberships {
    name: String,
    members: Buckets,
    #[serde(rename = "keyGeneration")]
    key_generation: u64,
    #[serde(rename = "annotatedActiveInvites")]
    invites: Map<String, Value>,
    settings: Settings,
    showcase: Showcase,
}

#[derive(Serialize)]
struct Buckets {
    owners: Option<Vec<Listed>>,
    admins: Option<Vec<Listed>>,
    writers: Option<Vec<Listed>>,
    readers: Option<Vec<Listed>>,
    bots: Option<Vec<Listed>>,
    #[serde(rename = "restrictedBots")]
    restricted_bots: Option<Vec<Listed>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    uv: UserVersion,
    username: String,
    full_name: String,
    #[serde(rename = "needsPUK")]
    needs_puk: bool,
    status: u8,
    join_time: u64,
    role: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserVersion {
    uid: String,
    eldest_seqno: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    open: bool,
    join_as: u8,
}

#[derive(Serialize)]
struct Showcase {
    is_showcased: bool,
    any_member_showcase: bool,
}

/// The members of a team, by role.
pub(crate) fn memberships(context: &mut Context<'_>, options: &Options) -> Outcome {
    let (_, team) = seen(context, options)?;
    let bucket = |role: Role| {
        let members: Vec<Listed> = team
            .members
            .iter()
            .filter(|member| member.role == role)
            .map(|member| listed(context.chat, member))
            .collect();
        (!members.is_empty()).then_some(members)
    };
    result(&Memberships {
        name: team.name.clone(),
        members: Buckets {
            owners: bucket(Role::Owner),
            admins: bucket(Role::Admin),
            writers: bucket(Role::Writer),
            readers: bucket(Role::Reader),
            bots: bucket(Role::Bot),
            restricted_bots: bucket(Role::RestrictedBot),
        },
        key_generation: team.key_generation,
        invites: Map::new(),
        settings: Settings { open: team.is_open, join_as: Role::Reader.number() },
        showcase: Showcase { is_showcased: false, any_member_showcase: true },
    })
}

fn listed(chat: &Chat, member: &Member) -> Listed {
    let user = chat.users.get(&member.username);
    Listed {
        uv: UserVersion { uid: member.uid.clone(), eldest_seqno: member.eldest_seqno },
        username: member.username.clone(),
        full_name: user.map(|user| user.full_name.clone()).unwrap_or_default(),
        needs_puk: member.needs_puk,
        status: member.status,
        join_time: member.joined_ms,
        role: member.role.number(),
    }
}

/// The teams of the user who asks.
pub(crate) fn own(context: &mut Context<'_>) -> Outcome {
    let me = context.online()?.username;
    teams(context, &me)
}

/// The teams of any user, as far as the servers reveal them.
pub(crate) fn of_user(context: &mut Context<'_>, options: &Options) -> Outcome {
    let username = context.chat.user(&options.username)?.name.clone();
    teams(context, &username)
}

fn teams(context: &Context<'_>, username: &str) -> Outcome {
    let user = context.chat.user(username)?;
    let entry = |team: &Team| {
        let member = team.member(username)?;
        Some(json!({
            "uid": user.uid, "team_id": team.id, "username": username, "full_name": user.full_name, "fq_name": team.name,
            "is_implicit_team": false, "implicit_team_display_name": "", "is_open_team": team.is_open,
            "role": member.role.number(), "needsPUK": member.needs_puk, "member_count": team.members.len(),
            "member_eldest_seqno": member.eldest_seqno, "allow_profile_promote": true, "is_member_showcased": false,
            "status": member.status,
        }))
    };
    let teams: Vec<Value> = context.chat.teams.iter().filter_map(entry).collect();
    result(&json!({"teams": teams}))
}

/// The team, if the user who asks is a member or an admin of it.
pub(crate) fn seen<'a>(context: &'a Context<'_>, options: &Options) -> Result<(Sender, &'a Team), Refusal> {
    let me = context.online()?;
    let team = context.chat.team(&options.team)?;
    if team.role(&me.username).is_none() && !context.chat.is_admin(team, &me.username) {
        return Err(refusal::not_in_team(&team.name));
    }
    Ok((me, team))
}
