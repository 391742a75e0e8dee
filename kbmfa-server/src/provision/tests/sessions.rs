//! Which passes end open sessions.

use super::*;

/// A pass over a machine on which p1 has a key and an open session, whose state the server then wants to be this.
fn sessions_after(desired: &Desired, keeps_sessions: BTreeSet<UserName>) -> (Model, Passed) {
    let (roster, grants) = alice(&[1, 2]);
    let mut model = Model::default();
    pass_over(&mut model, &render(&roster, &grants, &admin(), NOW), Place::System, &mut 0).unwrap();
    model.sessions.insert(name(1));
    let settings = Settings { keeps_sessions, ..settings(Place::System) };
    let (given, other_hosts, last) = ([(name(1), BTreeSet::new())].into(), BTreeMap::new(), generation(1));
    let order = Order {
        desired,
        given: &given,
        settings: &settings,
        admin: &admin(),
        host_id: None,
        other_hosts: &other_hosts,
        last: &last,
        limit: Limit::default(),
        confirmed: None,
    };
    let passed = run(&mut model, &order, &mut Counted(&mut 1)).unwrap();
    (model, passed)
}

#[test]
fn the_sessions_of_a_lost_key_are_ended_after_the_key_is_gone_and_once() {
    let (roster, grants) = alice(&[2]);
    let desired = Desired { ending: [name(1)].into(), ..render(&roster, &grants, &admin(), NOW) };
    let (mut model, passed) = sessions_after(&desired, BTreeSet::new());
    assert!(passed.failure().is_none() && model.sessions.is_empty());
    let steps: Vec<_> = passed.plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps[..2], ["write the keys of p1", "end the sessions of p1"]);
    // What is recorded then is the state in which nothing is to be ended.
    let (reached, profiles) = (passed.reached(&desired), BTreeMap::new());
    assert!(reached.ending.is_empty() && passed.ended(&desired) == [name(1)].into());
    assert_ne!(reached.hash(Place::System, &profiles), desired.hash(Place::System, &profiles));
    model.sessions.insert(name(1));
    let again = pass_over(&mut model, &reached, Place::System, &mut 2).unwrap();
    assert!(again.plan.is_empty() && model.sessions.contains(&name(1)), "{:?}", again.plan);
}

#[test]
fn sessions_of_an_account_that_is_left_as_it_is_are_not_forgotten() {
    let (roster, grants) = alice(&[1]);
    let desired = Desired { ending: [name(1), name(2)].into(), ..render(&roster, &grants, &admin(), NOW) };
    let left = Plan { hindrances: vec![Hindrance::OddHome(name(1))], ..Plan::default() };
    let (plan, after) = (Plan::default(), Report::default());
    let passed = Passed { plan, done: Vec::new(), after, left, stopped: None };
    assert_eq!(passed.ended(&desired), [name(2)].into());
    assert_eq!(passed.reached(&desired).ending, [name(1)].into());
    // Those that could not be ended, neither.
    let failed = (Step::EndSessions { name: name(2) }, Done::Failed("still-running".to_owned()));
    let passed = Passed { done: vec![failed], ..passed };
    assert_eq!(passed.reached(&desired).ending, [name(1), name(2)].into());
    assert!(passed.failure().is_none() && passed.hindrances().iter().any(Hindrance::is_loss));
}

#[test]
fn access_that_ends_ends_the_sessions_unless_the_operator_wants_them_to_go_on() {
    let nothing = Desired::default();
    assert!(sessions_after(&nothing, BTreeSet::new()).0.sessions.is_empty());
    let (model, passed) = sessions_after(&nothing, [name(1)].into());
    assert!(model.sessions.contains(&name(1)) && model.accounts[&name(1)].is_off);
    assert!(passed.failure().is_none(), "{:?}", passed.failure());
    // A lost key, or a suspension, ends them in any case.
    let ending = Desired { ending: [name(1)].into(), ..Desired::default() };
    assert!(sessions_after(&ending, [name(1)].into()).0.sessions.is_empty());
}
