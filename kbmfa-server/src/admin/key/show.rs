//! `key show`: one key, with its line, and the keys around it.

use kbmfa_proto::text::SafeText;
use serde::Serialize;

use super::super::print;
use super::super::{Admin, Failure};
use super::KeyRow;
use crate::keys::{Error, State, lineage, service, store};

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    key: KeyRow,
    /// The keys that it has added, and those that these have added.
    descendants: Vec<Descendant>,
}

#[derive(Serialize)]
struct Descendant {
    fingerprint: String,
    device: SafeText,
    state: State,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, fingerprint: &str) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let key = service::find(tx, fingerprint)?;
        let all = store::of_employee(tx, &key.employee_id)?;
        let descendants = lineage::descendants(&all, &key.id).into_iter().map(|key| Descendant {
            fingerprint: key.fingerprint.clone(),
            device: key.device.clone(),
            state: key.state,
        });
        let descendants = descendants.collect();
        let row = KeyRow::of(tx, key)?.ok_or_else(|| Error::NoSuchKey(fingerprint.to_owned()))?;
        Ok::<_, Error>(Shown { key: row, descendants })
    });
    let shown = found.map_err(Failure::new)?;
    if admin.json {
        return print::print_json(&shown);
    }
    let Shown { key, descendants } = &shown;
    admin.print(std::slice::from_ref(key), super::COLUMNS, |key| key.cells(admin))?;
    let mut lines = vec![String::new(), key.fingerprint.clone(), key.line.clone()];
    lines.extend(key.vouched_by.as_ref().map(|parent| format!("added by key {parent}")));
    lines.extend(key.replaces.as_ref().map(|before| match key.state {
        State::Pending => format!("takes the place of key {before} when it is approved"),
        State::Active | State::Revoked => format!("took the place of key {before}"),
    }));
    lines.extend(
        descendants
            .iter()
            .map(|child| format!("has added key {} ({}, {})", child.fingerprint, child.device, child.state)),
    );
    print::say(&lines.join("\n"))
}
