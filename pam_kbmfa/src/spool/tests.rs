//! Reports that the spool keeps, drops and refuses to read.

use super::*;
use crate::report::tests::report;
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

fn spool() -> (tempfile::TempDir, PathBuf, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/demand");
    let spool = Spool::make(&path).unwrap();
    (dir, path, spool)
}

/// The reports of a batch, as the server will parse them.
pub(crate) fn read(spool: &Spool) -> Vec<SessionReport> {
    let batch = spool.batch(&mut Vec::new()).unwrap();
    batch.reports.reports.iter().map(|report| serde_json::from_str(report.get()).unwrap()).collect()
}

/// The reports of a batch, by the first bytes of their ids, and the complaints.
fn batch(spool: &Spool) -> (Vec<u8>, Vec<String>) {
    let mut complaints = Vec::new();
    let batch = spool.batch(&mut complaints).unwrap();
    let first = |name: &Name| u8::from_str_radix(&name.id.as_str()[..2], 16).unwrap();
    (batch.files.iter().map(first).collect(), complaints)
}

fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_missing_spool_is_not_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Spool::open(&dir.path().join("none")).unwrap().is_none());
}

#[test]
fn only_its_owner_can_use_it() {
    let (_dir, path, spool) = spool();
    spool.keep(report(1, SessionEvent::Opened)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(path.join(&files(&path)[0])).unwrap().mode() & 0o7777, 0o600);
    fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(Spool::open(&path), Err(Error::Mode(0o750))));
    let link = path.with_file_name("link");
    symlink(&path, &link).unwrap();
    assert!(Spool::open(&link).is_err() && Spool::make(&link).is_err());
}

#[test]
fn reports_come_out_oldest_first_until_they_are_handed_in() {
    let (_dir, path, spool) = spool();
    for id in [3, 1, 2] {
        assert_eq!(spool.keep(report(id, SessionEvent::Opened)).unwrap(), 0);
    }
    assert_eq!(batch(&spool), (vec![1, 2, 3], vec![]));
    let first = spool.batch(&mut Vec::new()).unwrap();
    spool.keep(report(4, SessionEvent::Closed)).unwrap();
    spool.handed_in(&first);
    assert_eq!(batch(&spool), (vec![4], vec![]));
    spool.handed_in(&first);
    assert_eq!(files(&path).len(), 1);
}

#[test]
fn a_full_spool_drops_the_oldest_report_and_alarms_last() {
    let (_dir, _path, mut spool) = spool();
    spool.kept_max = 2;
    spool.keep(report(1, SessionEvent::LetInUnreachable)).unwrap();
    spool.keep(report(2, SessionEvent::Opened)).unwrap();
    assert_eq!(spool.keep(report(3, SessionEvent::Closed)).unwrap(), 1);
    assert_eq!(
        spool.keep(report(4, SessionEvent::Opened)).unwrap(),
        2,
        "what the dropped one told of counts"
    );
    assert_eq!(batch(&spool).0, [1, 4]);
    let kept = read(&spool);
    assert_eq!((kept[0].lost, kept[1].lost), (0, 2));
}

#[test]
fn an_invalid_file_is_removed_and_named_and_blocks_no_other() {
    let (_dir, path, spool) = spool();
    let name = |id: u8| Name::of(&report(id, SessionEvent::Opened)).to_string();
    let put = |name: String, text: &[u8]| {
        fs::write(path.join(&name), text).unwrap();
        fs::set_permissions(path.join(&name), Permissions::from_mode(0o600)).unwrap();
    };
    put(name(1), b"{");
    put(name(2), &vec![b' '; 70_000]);
    put(name(3), &serde_json::to_vec(&report(9, SessionEvent::Opened)).unwrap());
    put(name(4), &serde_json::to_vec(&report(4, SessionEvent::Opened)).unwrap());
    fs::set_permissions(path.join(name(4)), Permissions::from_mode(0o666)).unwrap();
    symlink("/etc/passwd", path.join(name(5))).unwrap();
    spool.keep(report(6, SessionEvent::Opened)).unwrap();
    let (ids, complaints) = batch(&spool);
    assert_eq!((ids, complaints.len()), (vec![6], 5));
    assert_eq!(files(&path), [name(6)]);
}

#[test]
fn files_with_other_names_are_ignored() {
    let (_dir, path, spool) = spool();
    for name in ["authorized_keys", "1-2.report", ".half-x", "x.alarm"] {
        fs::write(path.join(name), "mine").unwrap();
    }
    assert_eq!(batch(&spool), (vec![], vec![]));
    assert_eq!(files(&path).len(), 4);
}

#[test]
fn what_a_crash_left_half_written_goes_and_what_is_being_written_stays() {
    let (_dir, path, spool) = spool();
    let old = format!("{HALF}{}", Name::of(&report(1, SessionEvent::Opened)));
    let now = SessionReport { at_us: crate::clock::wall_us(), ..report(2, SessionEvent::Opened) };
    let now = format!("{HALF}{}", Name::of(&now));
    fs::write(path.join(old), "{").unwrap();
    fs::write(path.join(&now), "{").unwrap();
    assert_eq!(batch(&spool), (vec![], vec![]));
    assert_eq!(files(&path), [now]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_never_grows_beyond_its_bound_and_counts_all_that_it_drops(
        steps in prop::collection::vec((any::<u8>(), any::<bool>(), 0..4_u8), 0..40),
    ) {
        let (_dir, path, mut spool) = spool();
        spool.kept_max = 5;
        let (mut put, mut handed_in) = (std::collections::BTreeSet::new(), 0);
        for (id, alarm, step) in steps {
            if step == 0 {
                let batch = spool.batch(&mut Vec::new()).unwrap();
                handed_in += read(&spool).iter().map(|report| 1 + report.lost).sum::<u64>();
                spool.handed_in(&batch);
            } else if put.insert(id) {
                let event = if alarm { SessionEvent::LetInUnreachable } else { SessionEvent::Opened };
                spool.keep(report(id, event)).unwrap();
            }
            prop_assert!(files(&path).len() <= 5);
        }
        let left: u64 = read(&spool).iter().map(|report| 1 + report.lost).sum();
        prop_assert_eq!(handed_in + left, put.len() as u64);
    }

    #[test]
    fn a_batch_fits_into_a_request_and_every_report_is_sent_in_the_end(keys in prop::collection::vec(0..4096_usize, 1..20)) {
        let (_dir, _path, spool) = spool();
        for (id, length) in (0_u8..).zip(&keys) {
            let key = Some("k".repeat(*length));
            spool.keep(SessionReport { key, ..report(id, SessionEvent::Opened) }).unwrap();
        }
        let mut seen = 0;
        while seen < keys.len() {
            let batch = spool.batch(&mut Vec::new()).unwrap();
            prop_assert!(!batch.reports.reports.is_empty());
            prop_assert!(serde_json::to_vec(&batch.reports).unwrap().len() <= REPORTS_BYTES_MAX);
            seen += batch.reports.reports.len();
            spool.handed_in(&batch);
        }
    }

    #[test]
    fn no_file_name_upsets_it(name in "\\PC{0,80}") {
        if let Ok(name) = name.parse::<Name>() {
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }
    }
}
