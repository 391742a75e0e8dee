//! `provision status`: what each machine was given, and what is not confirmed.

use kbmfa_proto::names::MachineName;
use serde::Serialize;
use serde_json::json;

use super::super::print::{self, Column, Moment};
use super::super::{Admin, Failure};
use crate::db;
use crate::deliveries::store::Delivery;
use crate::deliveries::{Place, failure};
use crate::provision::settings::Settings;
use crate::provision::snapshot::{self, Snapshot};

#[derive(Serialize)]
struct Row {
    machine: MachineName,
    keys: Place,
    /// `confirmed`, `pending`, `failing`, `leaving`, or `hindered`: somebody still has what was to be taken away.
    state: &'static str,
    /// True if somebody still has a key there that they should no longer have.
    revocation_unconfirmed: bool,
    /// Since when the machine should have another state.
    since: Option<Moment>,
    /// When its state was read back last.
    checked: Option<Moment>,
    failure: Option<failure::Kind>,
    detail: Option<String>,
    fix: Option<&'static str>,
    left: Vec<String>,
}

const COLUMNS: &[Column] = &[
    Column::short("MACHINE", 8),
    Column::whole("KEYS").rank(2),
    Column::short("STATE", 9),
    Column::whole("SINCE").rank(1),
    Column::whole("CHECKED"),
];

impl Row {
    fn new(snapshot: &Snapshot, settings: &Settings, delivery: &Delivery) -> Self {
        let desired = snapshot.desired(delivery, settings);
        let hash = desired.hash(delivery.place, &settings.profiles);
        let differs = delivery.applied.as_deref() != Some(hash.as_str());
        // A machine that did all it was told, and where somebody has what should be gone.
        let is_hindered = !differs && delivery.differs_since.is_some();
        let (failure, detail) = delivery.failure.clone().map(|(kind, detail, _)| (kind, detail)).unzip();
        Self {
            machine: delivery.machine.clone(),
            keys: delivery.place,
            state: match (delivery.leaving, failure.is_some(), differs) {
                (_, true, _) => "failing",
                (true, ..) => "leaving",
                (.., true) => "pending",
                _ if is_hindered => "hindered",
                _ => "confirmed",
            },
            revocation_unconfirmed: snapshot.has_to_lose(delivery, &desired),
            since: delivery.failure.as_ref().map(|failure| failure.2).or(delivery.differs_since).map(Moment),
            checked: delivery.applied_at.map(Moment),
            fix: failure.map(failure::Kind::fix),
            failure,
            detail,
            left: delivery.hindrances.clone(),
        }
    }
}

/// Runs the verb.
pub(super) fn run(admin: &Admin) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    let rows = db.read_blocking(|tx| {
        let snapshot = snapshot::read(tx)?;
        let row = |delivery| Row::new(&snapshot, &config.provision, delivery);
        Ok::<_, db::Error>(snapshot.deliveries.iter().map(row).collect::<Vec<_>>())
    });
    let rows = rows.map_err(Failure::new)?;
    if admin.json {
        return print::print_json(&json!({ "machines": rows }));
    }
    admin.print(&rows, COLUMNS, |row| {
        let state = if row.revocation_unconfirmed {
            format!("{} (revocation)", row.state)
        } else {
            row.state.to_owned()
        };
        vec![
            row.machine.to_string(),
            row.keys.to_string(),
            state,
            admin.time_or_dash(row.since),
            admin.time_or_dash(row.checked),
        ]
    })?;
    let revocations = rows.iter().filter(|row| row.revocation_unconfirmed).count();
    if revocations > 0 {
        print::say(&format!("\n{revocations} of {} machines have not confirmed a revocation", rows.len()))?;
    }
    for row in rows.iter().filter(|row| row.failure.is_some() || !row.left.is_empty()) {
        print::say(&format!("\n{}:", row.machine))?;
        if let (Some(detail), Some(fix)) = (&row.detail, row.fix) {
            print::say(&format!("  {detail}\n  fix: {fix}"))?;
        }
        row.left.iter().try_for_each(|left| print::say(&format!("  {left}")))?;
    }
    Ok(())
}
