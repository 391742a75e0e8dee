//! Removes rows that are older than the operator wants to keep.

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{Error, Tx};
use crate::retention::Walk;

/// One step of a walk: removes some rows. If there were any, an audit event records their numbers.
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
