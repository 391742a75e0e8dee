//! Executes the orders of tests: passes each one to the module that handles it.

use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

use super::faults::{Fault, Pause};
use super::world::{Armed, Shared, World};
use super::{acts, look, roster, waits};
use crate::control::order::Order;
use crate::control::seen::Service;
use crate::model::refusal::Refusal;
use crate::wire::Command;

/// The result of an order: its reply, or why it was refused.
type Reply = Result<Value, Refusal>;

pub(crate) fn obey(shared: &Shared, order: Order) -> Result<Value, String> {
    let reply = match waits::wait(shared, &order) {
        Some(reply) => reply,
        None => shared.change(|world| change(world, order)),
    };
    reply.map_err(|refusal| refusal.text)
}

/// An order's reply as JSON.
pub(crate) fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn change(world: &mut World, order: Order) -> Reply {
    Ok(match order {
        Order::Post { .. }
        | Order::React { .. }
        | Order::Unreact { .. }
        | Order::Edit { .. }
        | Order::Delete { .. } => json(acts::act(&mut world.chat, &order)?),
        Order::View { conversation } => json(look::view(world.chat.find(&conversation)?)),
        Order::Messages { conversation } => json(look::messages(world.chat.find(&conversation)?)),
        Order::Conversation { conversation } => json(&world.chat.find(&conversation)?.id),
        Order::ArmReaction { user, contains, reaction } => {
            world.armed.push(Armed { user, contains, reaction });
            Value::Null
        }
        Order::Services => json(services(world)),
        Order::Complaints => json(&world.complaints),
        Order::Stats => json(&world.stats),
        Order::Trace => json(&world.trace),
        Order::Fault { .. } | Order::ClearFaults | Order::Release | Order::LogOut | Order::Crash => {
            hurt(world, order);
            Value::Null
        }
        other => roster::change(&mut world.chat, other)?,
    })
}

fn hurt(world: &mut World, order: Order) {
    match order {
        Order::Fault { kind, only, times, text, delay_ms } => {
            let pause = Pause { delay: Duration::from_millis(delay_ms), releases: 0 };
            world.faults.add(Fault { kind, only, times, text, pause }, &world.chat);
        }
        Order::ClearFaults => world.faults.clear(),
        Order::Release => world.faults.releases += 1,
        Order::LogOut => world.sessions.values_mut().for_each(|session| session.login = None),
        _ => world.sessions.values_mut().for_each(|session| session.command(Command::Crash)),
    }
}

fn services(world: &World) -> Vec<Service> {
    let service = |session: &super::session::Session| Service {
        home: session.home.clone(),
        pid: session.pid,
        user: session.login.as_ref().map(|login| login.username.clone()),
    };
    world.sessions.values().map(service).collect()
}
