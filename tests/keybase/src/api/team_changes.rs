//! The methods of `team api` that change a team's members.

use serde_json::Map;

use super::options::Options;
use super::team::seen;
use super::{Context, Outcome, result};
use crate::model::refusal::{self, Refusal, refuse};
use crate::model::team::Role;

/// An empty result.
fn done() -> Outcome {
    result(&Map::new())
}

/// Adds people with their roles.
pub(crate) fn add(context: &mut Context<'_>, options: &Options) -> Outcome {
    administered(context, options)?;
    for new in &options.usernames {
        let role = role(&new.role)?;
        let user = context.chat.user(&new.username)?.clone();
        let now_ms = context.now_ms;
        context.chat.team_mut(&options.team)?.set(&user, role, now_ms);
    }
    done()
}

/// Changes a member's role.
pub(crate) fn edit(context: &mut Context<'_>, options: &Options) -> Outcome {
    administered(context, options)?;
    let role = role(&options.role)?;
    let team = context.chat.team_mut(&options.team)?;
    let mut members = team.members.iter_mut();
    let member = members.find(|member| member.username == options.username);
    member.ok_or_else(|| refusal::no_user(&options.username))?.role = role;
    done()
}

/// Removes a member.
pub(crate) fn remove(context: &mut Context<'_>, options: &Options) -> Outcome {
    administered(context, options)?;
    if !context.chat.team_mut(&options.team)?.remove(&options.username) {
        return Err(refusal::no_user(&options.username));
    }
    done()
}

/// Removes the user who asks.
pub(crate) fn leave(context: &mut Context<'_>, options: &Options) -> Outcome {
    let (me, _) = seen(context, options)?;
    context.chat.team_mut(&options.team)?.remove(&me.username);
    done()
}

fn administered(context: &Context<'_>, options: &Options) -> Result<(), Refusal> {
    let (me, team) = seen(context, options)?;
    if context.chat.is_admin(team, &me.username) {
        Ok(())
    } else {
        Err(refuse("You must be an admin of the team (error 2625)"))
    }
}

fn role(text: &str) -> Result<Role, Refusal> {
    Role::parse(text).ok_or_else(|| refuse(format!("invalid team role {text:?}")))
}
