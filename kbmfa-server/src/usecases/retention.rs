//! Removes what is older than the operator keeps.

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{Error, Tx};
use crate::retention::Walk;

/// One step of a walk: removes some rows, and records their numbers if there were any.
pub fn prune_some(tx: &Tx<'_>, walk: Walk) -> Result<Walk, Error> {
    let before = walk.before();
    let (walk, removed) = walk.step(tx)?;
    let mut counts = removed.counts().peekable();
    if counts.peek().is_some() {
        let event = Event::new(Kind::RecordsPruned, Actor::new("clock")).detail("before", before);
        audit::append(tx, &counts.fold(event, |event, (name, count)| event.detail(name, count)))?;
    }
    Ok(walk)
}
