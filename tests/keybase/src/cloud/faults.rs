//! The faults that tests have ordered and that are not used up yet.

use std::time::Duration;

use super::store::Store;
use crate::control::order::FaultKind;
use crate::model::Chat;

#[derive(Debug, Default)]
pub(crate) struct Faults {
    ordered: Vec<Fault>,
    /// The state that services remember, if they are cut off from the servers.
    pub(crate) stale: Option<Chat>,
    /// The store of a service that no longer receives anything, and does not know it.
    pub(crate) store: Option<Store>,
    /// How often replies and clients that were held were released.
    pub(crate) releases: u64,
    /// Number of replies that are held now.
    pub(crate) held: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) only: Option<String>,
    pub(crate) times: Option<u32>,
    pub(crate) text: Option<String>,
    pub(crate) pause: Pause,
}

/// A wait, which ends early if everything is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) delay: Duration,
    /// The number of releases when the wait began.
    pub(crate) releases: u64,
}

/// The kinds of things to which a fault can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Request,
    /// Anything else that a client does. The fault must name it: a program by its verb, or `login`.
    Named,
    Login,
    Event,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, chat: &Chat) {
        if fault.kind == FaultKind::Offline {
            self.stale = Some(chat.clone());
        }
        if fault.kind == FaultKind::StoreStale {
            self.store = Some(Store::of(chat));
            return;
        }
        self.ordered.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.ordered.clear();
        self.stale = None;
        self.store = None;
        self.releases += 1;
    }

    /// The first fault that applies. Its remaining number of times decreases.
    pub(crate) fn take(&mut self, scope: Scope, what: &str) -> Option<Fault> {
        let strikes = |fault: &Fault| {
            let is_kind = match scope {
                Scope::Named => fault.only.is_some() && self::scope(fault.kind) == Scope::Request,
                scope => self::scope(fault.kind) == scope,
            };
            is_kind && fault.kind != FaultKind::Offline && fault.only.as_ref().is_none_or(|only| only == what)
        };
        self.use_up(strikes)
    }

    /// Whether a fault makes the servers unreachable for this request or login.
    pub(crate) fn take_offline(&mut self, method: &str) -> bool {
        let strikes = |fault: &Fault| {
            fault.kind == FaultKind::Offline && fault.only.as_ref().is_none_or(|only| only == method)
        };
        let is_struck = self.use_up(strikes).is_some();
        if !self.ordered.iter().any(|fault| fault.kind == FaultKind::Offline) && !is_struck {
            self.stale = None;
        }
        is_struck
    }

    /// True if listeners receive nothing.
    pub(crate) fn is_cut(&self) -> bool {
        let is_offline = self
            .ordered
            .iter()
            .any(|fault| fault.kind == FaultKind::Offline && fault.only.is_none() && fault.times.is_none());
        is_offline || self.store.is_some()
    }

    fn use_up(&mut self, strikes: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let place = self.ordered.iter().position(strikes)?;
        let fault = self.ordered.get_mut(place)?;
        let mut taken = fault.clone();
        taken.pause.releases = self.releases;
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.ordered.remove(place);
            }
        }
        Some(taken)
    }
}

fn scope(kind: FaultKind) -> Scope {
    match kind {
        FaultKind::OneshotHangs | FaultKind::OneshotFails => Scope::Login,
        FaultKind::ListenerGarbage
        | FaultKind::ListenerDuplicate
        | FaultKind::ListenerError
        | FaultKind::ListenerDrop
        | FaultKind::ListenerDies
        | FaultKind::ListenerDeaf
        | FaultKind::ListenerHuge
        | FaultKind::ListenerSlow => Scope::Event,
        _ => Scope::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, only: Option<&str>, times: Option<u32>) -> Fault {
        Fault { kind, only: only.map(str::to_owned), times, text: None, pause: Pause::default() }
    }

    #[test]
    fn a_fault_strikes_as_often_as_ordered() {
        let mut faults = Faults::default();
        faults.add(fault(FaultKind::ReplyDies, Some("send"), Some(2)), &Chat::default());
        assert!(faults.take(Scope::Request, "read").is_none());
        assert!(faults.take(Scope::Event, "send").is_none());
        assert!(faults.take(Scope::Request, "send").is_some());
        assert!(faults.take(Scope::Request, "send").is_some());
        assert!(faults.take(Scope::Request, "send").is_none());
    }

    #[test]
    fn a_program_is_struck_only_by_a_fault_that_names_it() {
        let mut faults = Faults::default();
        faults.add(fault(FaultKind::RequestDies, None, None), &Chat::default());
        assert!(faults.take(Scope::Named, "whoami").is_none());
        faults.add(fault(FaultKind::RequestDies, Some("whoami"), Some(1)), &Chat::default());
        assert!(faults.take(Scope::Named, "oneshot").is_none());
        assert!(faults.take(Scope::Named, "whoami").is_some());
        assert!(faults.take(Scope::Named, "whoami").is_none());
    }

    #[test]
    fn an_outage_lasts_until_it_is_cleared() {
        let mut faults = Faults::default();
        faults.add(fault(FaultKind::Offline, None, None), &Chat::default());
        assert!(faults.take_offline("send") && faults.take_offline("send") && faults.is_cut());
        faults.clear();
        assert!(!faults.take_offline("send") && !faults.is_cut() && faults.stale.is_none());
    }
}
