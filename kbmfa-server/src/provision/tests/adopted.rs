//! Accounts that others made: a pass takes over exactly those that were handed over, and gives them back as they were.

use super::*;
use crate::deliveries::store::adoptions::Adoption;

/// Hands these accounts over, with the uids that the ledger has.
fn adopted(numbers: &BTreeSet<u32>, is_exclusive: bool) -> BTreeMap<UserName, Adoption> {
    let adoption = |number: &u32| {
        let (uid, shell) = (20_000 + number, Some("/bin/zsh".to_owned()));
        (name(*number), Adoption { uid, shell, is_exclusive, is_released: false })
    };
    numbers.iter().map(adoption).collect()
}

proptest! {
    #[test]
    fn exactly_the_accounts_that_were_handed_over_are_taken_and_get_everything_they_should_have(
        (roster, grants) in rosters(),
        mut model in machines(),
        place in places(),
        numbers in proptest::collection::btree_set(0_u32..9, 0..9),
        is_exclusive in any::<bool>(),
    ) {
        let before = model.clone();
        let mut desired = render(&roster, &grants, &admin(), NOW);
        let adoptions = adopted(&numbers, is_exclusive && place == Place::Home);
        desired.adopt(&adoptions, false);
        let mut counter = 0;
        let passed = pass_over(&mut model, &desired, place, &mut counter).unwrap();
        prop_assert!(passed.failure().is_none(), "{:?}", passed.failure());
        for (account, was) in before.accounts.iter().filter(|(_, account)| !account.is_ours) {
            let is = &model.accounts[account];
            match desired.accounts.get(account).filter(|wanted| wanted.adoption.is_some() && wanted.uid == was.uid) {
                None => prop_assert_eq!(is, was),
                Some(wanted) => {
                    prop_assert!(is.is_ours && !is.is_off);
                    prop_assert_eq!(is.uid, was.uid);
                    if place == Place::Home {
                        let file = is.home.clone().unwrap_or_default();
                        prop_assert_eq!(&files::block_of(&file), &wanted.lines);
                        let foreign = files::home_file(&file, &[], &Revoked::default());
                        let kept = files::home_file(was.home.as_deref().unwrap_or_default(), &[], &Revoked::default());
                        let is_kept = if is_exclusive { foreign.is_empty() } else { kept.iter().all(|byte| foreign.contains(byte)) };
                        prop_assert!(is_kept, "{:?}", String::from_utf8_lossy(&file));
                    }
                }
            }
        }
        let once = model.clone();
        pass_over(&mut model, &desired, place, &mut counter).unwrap();
        prop_assert_eq!(model.accounts, once.accounts, "a second pass changes nothing");
    }

    #[test]
    fn an_account_that_is_handed_back_is_as_it_was_but_for_our_mark_and_keys(
        (roster, grants) in rosters(),
        mut model in machines(),
        place in places(),
        numbers in proptest::collection::btree_set(0_u32..9, 0..9),
        is_leaving in any::<bool>(),
    ) {
        // What an earlier pass would have repaired is not what this is about.
        model.accounts.values_mut().for_each(|account| (account.is_ours, account.is_off) = (false, false));
        let before = model.clone();
        let mut desired = render(&roster, &grants, &admin(), NOW);
        desired.adopt(&adopted(&numbers, false), false);
        let mut counter = 0;
        pass_over(&mut model, &desired, place, &mut counter).unwrap();
        let mut back = if is_leaving { Desired::default() } else { render(&roster, &grants, &admin(), NOW) };
        let released = adopted(&numbers, false).into_iter();
        let released = released.map(|(name, one)| (name, Adoption { is_released: true, ..one })).collect();
        back.adopt(&released, is_leaving);
        pass_over(&mut model, &back, place, &mut counter).unwrap();
        for (account, was) in &before.accounts {
            let is = &model.accounts[account];
            let text = |home: &Option<Vec<u8>>| files::home_file(home.as_deref().unwrap_or_default(), &[], &Revoked::default());
            let ended = |mut text: Vec<u8>| {
                if !text.is_empty() && !text.ends_with(b"\n") {
                    text.push(b'\n');
                }
                text
            };
            prop_assert!(!is.is_ours && !is.is_off && is.uid == was.uid);
            prop_assert_eq!(ended(text(&is.home)), ended(text(&was.home)));
        }
    }
}

proptest! {
    #[test]
    fn a_take_over_that_broke_anywhere_is_finished_by_the_next_pass(
        (roster, grants) in rosters(),
        model in machines(),
        place in places(),
        numbers in proptest::collection::btree_set(0_u32..9, 0..9),
        breaks_after in 0_usize..12,
        is_exclusive in any::<bool>(),
    ) {
        let mut desired = render(&roster, &grants, &admin(), NOW);
        desired.adopt(&adopted(&numbers, is_exclusive && place == Place::Home), false);
        let (whole, broken) = with_a_break(model, &desired, place, breaks_after);
        prop_assert_eq!(broken.accounts, whole.accounts);
        prop_assert_eq!(broken.keys, whole.keys);
    }
}

#[test]
fn a_lock_that_others_set_stays_and_an_account_of_another_uid_is_another_account() {
    let (roster, grants) = alice(&[1]);
    let mut desired = render(&roster, &grants, &admin(), NOW);
    desired.adopt(&adopted(&[1].into(), false), false);
    let report = |uid: u32, expires: &str| {
        let account = format!("account p1 {uid} {uid} L2hvbWU= L2Jpbi96c2g= 1 {expires} 0");
        super::super::report::parse(&[account, "keys p1 -".to_owned()]).unwrap()
    };
    let steps = |report| {
        let plan = super::super::plan::plan(&desired, &report, &settings(Place::System), &Keys::new());
        (plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>(), plan.hindrances.len())
    };
    let keys = "write the keys of p1".to_owned();
    let adopt = "take over account p1".to_owned();
    assert_eq!(steps(report(20_001, "-")), (vec![adopt.clone(), keys.clone()], 0));
    let (on, hindrances) = steps(report(20_001, "1"));
    assert_eq!((on, hindrances), (vec![adopt, "switch account p1 on".to_owned(), keys], 0));
    assert_eq!(steps(report(20_009, "-")), (Vec::new(), 1));
}
