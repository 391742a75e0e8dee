//! How far the keys of one person have got on one machine.

use kbmfa_proto::names::UserName;
use serde::Serialize;
use std::collections::BTreeSet;

use super::failure::Kind;
use super::store::{self, Delivery};
use crate::clock::Time;
use crate::db::{Error, Tx};

/// How far keys have got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placed {
    /// Exactly the active keys of the person were read back.
    Confirmed,
    /// A pass is due.
    Waiting,
    /// The machine cannot be reached.
    Unreachable,
    /// The last pass failed on the machine.
    Failing,
    /// The machine was confirmed, and keeps an account of this name as it is.
    LeftOut,
}

impl Placed {
    /// One word for the wire, and for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Waiting => "waiting",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::LeftOut => "left-out",
        }
    }
}

/// How far these active keys of the account have got, and since when, as far as that is known; `None` if keys are not
/// delivered to the machine.
pub fn of(
    tx: &Tx<'_>,
    machine_id: &str,
    (account, active): (&UserName, &BTreeSet<String>),
) -> Result<Option<(Placed, Option<Time>)>, Error> {
    let Some(delivery) = store::of_machine(tx, machine_id)?.filter(|found| !found.leaving) else {
        return Ok(None);
    };
    let given = store::given_to(tx, machine_id, account)?;
    Ok(Some(judge(&delivery, given == *active)))
}

/// `as_wanted` is true if the keys that the account was given are exactly those that it should have.
fn judge(delivery: &Delivery, as_wanted: bool) -> (Placed, Option<Time>) {
    let is_read_back = delivery.applied.is_some();
    match &delivery.failure {
        _ if is_read_back && as_wanted => (Placed::Confirmed, delivery.applied_at),
        Some((Kind::Unreachable, _, since)) => (Placed::Unreachable, Some(*since)),
        Some((_, _, since)) => (Placed::Failing, Some(*since)),
        None if is_read_back && delivery.differs_since.is_none() => (Placed::LeftOut, delivery.applied_at),
        None => (Placed::Waiting, delivery.differs_since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::Place;

    fn delivery(change: impl FnOnce(&mut Delivery)) -> Delivery {
        let mut delivery = Delivery {
            machine_id: "m".into(),
            machine: "web1".parse().unwrap(),
            place: Place::System,
            by_helper: false,
            leaving: false,
            host_id: None,
            applied: Some("hash".into()),
            applied_at: Some(at(5)),
            differs_since: None,
            next_at: at(9),
            failures: 0,
            failure: None,
            hindrances: Vec::new(),
        };
        change(&mut delivery);
        delivery
    }

    fn at(us: i64) -> Time {
        Time::from_micros(us)
    }

    #[test]
    fn a_machine_has_the_keys_if_exactly_they_were_read_back() {
        let said = |as_wanted, change: fn(&mut Delivery)| judge(&delivery(change), as_wanted);
        assert_eq!(said(true, |_| {}), (Placed::Confirmed, Some(at(5))));
        assert_eq!(said(true, |found| found.applied = None), (Placed::Waiting, None));
        assert_eq!(said(false, |found| found.differs_since = Some(at(6))), (Placed::Waiting, Some(at(6))));
        assert_eq!(said(false, |_| {}), (Placed::LeftOut, Some(at(5))));
        let failed = |kind| {
            let failure = Some((kind, "somebody else's home is a link".to_owned(), at(7)));
            judge(&delivery(|found| found.failure = failure), false)
        };
        assert_eq!(failed(Kind::Unreachable), (Placed::Unreachable, Some(at(7))));
        assert_eq!(failed(Kind::Sudo), (Placed::Failing, Some(at(7))));
    }

    #[test]
    fn the_word_of_a_state_is_the_same_in_json_and_on_the_wire() {
        use Placed::{Confirmed, Failing, LeftOut, Unreachable, Waiting};
        for placed in [Confirmed, Waiting, Unreachable, Failing, LeftOut] {
            assert_eq!(serde_json::to_value(placed).unwrap(), placed.as_str());
        }
    }
}
