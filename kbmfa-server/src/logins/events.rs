//! Events about a login or an ask, without their details.

use super::store::Login;
use super::store::asks::Ask;
use crate::audit::{Actor, Event, Kind};

/// An event about a login.
pub(super) fn about(login: &Login, kind: Kind, actor: Actor) -> Event {
    let (id, user) = (Some(login.id.clone()), Some(login.user().clone()));
    Event { login: id, user, ..Event::new(kind, actor).machine(&login.machine) }
}

/// An event about an ask, caused by its chat.
pub(crate) fn about_ask(login: &Login, kind: Kind, ask: &Ask) -> Event {
    let event = about(login, kind, Actor::new(format!("relay:{}", ask.channel)));
    event.detail("destination", &ask.destination)
}
