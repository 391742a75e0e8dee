//! Machines that never joined or have been silent for long, grouped by the reason.

use kbmfa_finding::Finding;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Time};
use crate::db::{Db, Tx};
use crate::deliveries::store::{self as deliveries, Delivery, Drifts};
use crate::machines::hosts;
use crate::machines::store::{self, Machine};

/// Silence after which a machine is reported.
const SILENT: Duration = Duration::from_secs(7 * 86_400);

/// Time after which a machine is reported that has not confirmed a change. It is longer than any pass.
const UNCONFIRMED: Duration = Duration::from_secs(5 * 60);

/// How long a change on a machine that was put right is reported.
const DRIFTED: Duration = Duration::from_secs(86_400);

/// Most names that are listed in a group.
const NAMES_MAX: usize = 8;

pub(super) fn heard_of(db: &Db) -> Vec<Finding> {
    let found = db.read_blocking(|tx| {
        let machines = store::machines(tx)?;
        let mut clones = clones(tx, &machines)?;
        clones.extend(delivered(&deliveries::all(tx)?, tx.now));
        clones.extend(drifted(deliveries::drifts(tx)?, tx.now));
        Ok::<_, crate::db::Error>((machines, clones))
    });
    match found {
        Ok((machines, clones)) => findings(&machines, SystemClock.now()).into_iter().chain(clones).collect(),
        Err(error) => vec![Finding::fault("machines", error)],
    }
}

/// Machines to which keys are delivered: those that cannot be given their accounts and keys, those that have not confirmed
/// them for a while, and what is left as it is.
fn delivered(all: &[Delivery], now: Time) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Delivery { machine, failure, differs_since, hindrances, .. } in all {
        match (failure, differs_since) {
            (Some((kind, detail, since)), _) => {
                let found = format!("{machine} has not what it should have since {since}: {detail}");
                findings.push(Finding::fault("provision", found).fix(kind.fix()));
            }
            (None, Some(since)) if now.since(*since) > UNCONFIRMED => {
                let found = format!("{machine} has not confirmed its accounts and keys since {since}");
                let fix = format!("`kbmfa-server provision run {machine}` shows why");
                findings.push(Finding::weak("provision", found).fix(fix));
            }
            _ => {}
        }
        if !hindrances.is_empty() {
            let found = format!("on {machine} something is left as it is: {}", hindrances.join("; "));
            let fix =
                format!("`kbmfa-server provision plan {machine}` shows it; it is not changed without you");
            findings.push(Finding::weak("provision", found).fix(fix));
        }
    }
    let checked = all.iter().filter_map(|delivery| delivery.applied_at).min();
    if let (true, Some(checked)) = (findings.is_empty(), checked) {
        let found =
            format!("{} have their accounts and keys, checked up at {checked} or later", count(all.len()));
        findings.push(Finding::ok("provision", found));
    }
    findings
}

/// Somebody changed accounts or keys on a machine lately.
fn drifted(drifts: Option<Drifts>, now: Time) -> Option<Finding> {
    let Drifts { count, last_at, machine } = drifts.filter(|drifts| now.since(drifts.last_at) < DRIFTED)?;
    let found = format!(
        "accounts or keys on {machine} were changed there and put right at {last_at} ({count} times so far)"
    );
    let fix = format!(
        "`kbmfa-server audit search --machine {machine} --kind delivery.confirmed` shows what was put right"
    );
    Some(Finding::weak("provision", found).fix(fix))
}

/// Machines whose credential is used on two computers.
fn clones(tx: &Tx<'_>, machines: &[Machine]) -> Result<Vec<Finding>, crate::db::Error> {
    let mut findings = Vec::new();
    for Machine { id, name, .. } in machines {
        if let Some(twin) = hosts::twin(&hosts::store::sightings_of(tx, id)?, tx.now) {
            let found = format!("{name} was cloned, or its /etc/kbmfa copied: {}", twin.sentence());
            let fix = format!("`kbmfa-server machine rotate {name}`, and `kbmfa-host join` on the right one");
            findings.push(Finding::fault("machines", found).fix(fix));
        }
    }
    Ok(findings)
}

fn findings(machines: &[Machine], now: Time) -> Vec<Finding> {
    let never: Vec<String> = machines
        .iter()
        .filter(|machine| !machine.has_joined())
        .map(|machine| machine.name.to_string())
        .collect();
    let silent = |machine: &&Machine| machine.has_joined() && now.since(heard(machine)) > SILENT;
    let silent: Vec<String> = machines
        .iter()
        .filter(silent)
        .map(|machine| format!("{} (since {})", machine.name, heard(machine)))
        .collect();
    let mut findings = Vec::new();
    if !never.is_empty() {
        let found = format!("{} never joined: {}", count(never.len()), names(&never));
        let fix = "`kbmfa-server machine join-token NAME`, and `kbmfa-host join` there; `kbmfa-server machine list \
                   --never-joined` lists them";
        findings.push(Finding::weak("machines", found).fix(fix));
    }
    if !silent.is_empty() {
        let found = format!("{} silent for more than 7 days: {}", count(silent.len()), names(&silent));
        let fix = "`kbmfa-host status` there, or `kbmfa-server machine remove NAME`";
        findings.push(Finding::weak("machines", found).fix(fix));
    }
    let spelled: Vec<String> = machines
        .iter()
        .filter(|machine| machine.resolves == Some(false))
        .map(|machine| machine.name.to_string())
        .collect();
    if !spelled.is_empty() {
        let found = format!(
            "{} report how an account was typed, not which account it is, so rules and limits go by the \
             spelling: {}",
            count(spelled.len()),
            names(&spelled)
        );
        let fix = "install the current module there; until then a suspension applies to the name in any \
                   case and with any domain, and uid 0 under another name is not treated as root";
        findings.push(Finding::weak("machines", found).fix(fix));
    }
    let isolated: Vec<String> = machines
        .iter()
        .filter_map(|machine| machine.quarantined_at.map(|since| format!("{} (since {since})", machine.name)))
        .collect();
    if !isolated.is_empty() {
        let found = format!(
            "{} in quarantine, because other host keys are reported than those that are pinned: {}",
            count(isolated.len()),
            names(&isolated)
        );
        let fix = "`kbmfa-server machine show NAME` shows the keys and what to do";
        findings.push(Finding::fault("machines", found).fix(fix));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("machines", format!("{} known, all seen lately", machines.len())));
    }
    findings
}

/// The last call of a machine; if it never called, when it was added.
fn heard(machine: &Machine) -> Time {
    machine.last_seen_at.unwrap_or(machine.created_at)
}

fn count(machines: usize) -> String {
    if machines == 1 { "1 machine".to_owned() } else { format!("{machines} machines") }
}

fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > NAMES_MAX { format!("{shown}, ..") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::Place;
    use crate::deliveries::failure::Kind;

    const NOW: Time = Time::from_micros(1_795_294_800_000_000);

    fn machine(name: &str, credentials: i64, last_seen_at: Option<Time>) -> Machine {
        Machine {
            id: name.to_owned(),
            name: name.parse().unwrap(),
            created_at: NOW.minus(Duration::from_secs(60)),
            last_seen_at,
            module_version: None,
            resolves: None,
            credentials,
            quarantined_at: None,
        }
    }

    fn told(machines: &[Machine]) -> String {
        findings(machines, NOW).iter().fold(String::new(), |text, finding| text + &finding.to_string() + "\n")
    }

    #[test]
    fn machines_whose_module_does_not_resolve_accounts_are_named() {
        let with = |name, resolves| Machine { resolves, ..machine(name, 1, Some(NOW)) };
        let told = told(&[with("web1", Some(true)), with("web2", Some(false)), with("web3", None)]);
        assert!(told.contains(": web2") && !told.contains("web1") && !told.contains("web3"), "{told}");
    }

    #[test]
    fn what_a_machine_has_not_confirmed_and_what_is_left_as_it_is_are_findings() {
        let confirmed = Delivery {
            machine_id: "m".to_owned(),
            machine: "web1".parse().unwrap(),
            place: Place::System,
            by_helper: false,
            leaving: false,
            host_id: None,
            applied: Some("x".to_owned()),
            applied_at: Some(NOW),
            differs_since: None,
            next_at: NOW,
            failures: 0,
            failure: None,
            hindrances: Vec::new(),
        };
        let told = |more: Vec<Delivery>| {
            let all = [vec![confirmed.clone()], more].concat();
            delivered(&all, NOW)
                .iter()
                .fold(String::new(), |text, finding| text + &finding.to_string() + "\n")
        };
        let since = |seconds| Some(NOW.minus(Duration::from_secs(seconds)));
        insta::assert_snapshot!(
            told(vec![Delivery { differs_since: since(10), ..confirmed.clone() }]),
            @"provision: 2 machines have their accounts and keys, checked up at 2026-11-21T21:00:00Z or later"
        );
        let failure = Some((Kind::Unreachable, "no route".to_owned(), NOW));
        insta::assert_snapshot!(
            told(vec![
                Delivery { machine: "web2".parse().unwrap(), differs_since: since(600), ..confirmed.clone() },
                Delivery { machine: "web3".parse().unwrap(), failure, ..confirmed.clone() },
                Delivery {
                    machine: "web4".parse().unwrap(),
                    hindrances: vec!["account ann has uid 7".to_owned()],
                    ..confirmed.clone()
                },
            ]),
            @r"
        provision: web2 has not confirmed its accounts and keys since 2026-11-21T20:50:00Z
        provision: web3 has not what it should have since 2026-11-21T21:00:00Z: no route
        provision: on web4 something is left as it is: account ann has uid 7
        "
        );
        assert!(delivered(&[], NOW).is_empty());
    }

    #[test]
    fn a_change_that_was_put_right_is_a_finding_for_a_day() {
        let drifts = Drifts { count: 2, last_at: NOW, machine: "web1".parse().unwrap() };
        let told = |later| {
            drifted(Some(drifts.clone()), NOW + Duration::from_secs(later)).map(|found| found.to_string())
        };
        assert!(told(86_399).unwrap().contains("on web1 were changed there and put right"));
        assert_eq!((told(86_400), drifted(None, NOW).is_none()), (None, true));
    }

    #[test]
    fn machines_in_quarantine_are_a_fault() {
        let isolated = Machine { quarantined_at: Some(NOW), ..machine("web2", 1, Some(NOW)) };
        insta::assert_snapshot!(
            told(&[machine("web1", 1, Some(NOW)), isolated]),
            @"machines: 1 machine in quarantine, because other host keys are reported than those that are pinned: web2 (since 2026-11-21T21:00:00Z)"
        );
    }

    #[test]
    fn fifty_machines_that_never_joined_are_one_finding() {
        let mut machines: Vec<_> = (0..50).map(|n| machine(&format!("web{n}"), 0, None)).collect();
        insta::assert_snapshot!(
            told(&machines),
            @"machines: 50 machines never joined: web0, web1, web2, web3, web4, web5, web6, web7, .."
        );
        let old = NOW.minus(Duration::from_secs(8 * 86_400));
        machines = vec![machine("db1", 1, Some(NOW)), machine("db2", 1, Some(old)), machine("new", 1, None)];
        insta::assert_snapshot!(
            told(&machines),
            @"machines: 1 machine silent for more than 7 days: db2 (since 2026-11-13T21:00:00Z)"
        );
        assert_eq!(told(&[machine("db1", 1, Some(NOW))]), "machines: 1 known, all seen lately\n");
    }
}
