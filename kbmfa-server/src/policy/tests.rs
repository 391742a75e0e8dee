//! Tests of the policy, one line for each case where possible.

use proptest::prelude::*;
use std::time::Duration;

use super::*;

fn terms(approvers: &str) -> Terms {
    let approvers = approvers.parse().unwrap();
    let (channels, channels_when_down) = (vec![Channel::Console, Channel::Keybase], Vec::new());
    let window = Duration::from_secs(60);
    Terms { approvers, channels, channels_when_down, window, destination: "acme#general".into() }
}

/// Terms with these approvers, asked in Keybase only.
fn in_keybase(approvers: &str) -> Terms {
    Terms { channels: vec![Channel::Keybase], ..terms(approvers) }
}

fn rule(line: usize, user: &str, says: Says) -> Rule {
    let users = user.split_whitespace().map(|user| user.parse().unwrap()).collect();
    Rule { line, scope: Scope { users, ..Scope::default() }, says }
}

fn settings() -> Settings {
    Settings {
        rules: vec![
            rule(10, "deploy", Says::Exempt),
            rule(20, "root deploy", Says::Ask(in_keybase("keybase:chief"))),
            rule(30, "carol", Says::Ask(in_keybase("not-self"))),
        ],
        default: in_keybase("anyone"),
        limits: Limits {
            pending_per_user: 3,
            pending_per_machine: 10,
            asks_per_user: 6,
            asks_per_machine: 60,
            asks_per_user_everywhere: 40,
        },
        require_member: false,
        require_grant: RequireGrant::Nowhere,
    }
}

fn facts(user: &str) -> Facts {
    Facts {
        subject: Subject {
            also: None,
            machine: "web1".parse().unwrap(),
            pools: Vec::new(),
            user: user.parse().unwrap(),
            service: "sshd".into(),
            from: Some("192.0.2.7".parse().unwrap()),
        },
        person: Person::Unknown,
        account: Account::Known,
        rehearsal: false,
        membership: Membership::Unknown,
        lacks_grant: false,
        key_refusal: None,
        chat: Reach::Up,
        before: Before::Nothing,
        counts: Counts::default(),
    }
}

fn carol() -> Person {
    Person::Employee(vec!["console:carol".parse().unwrap(), "keybase:carol".parse().unwrap()])
}

#[track_caller]
fn check(facts: &Facts, expected: &Verdict) {
    assert_eq!(&judge(&settings(), facts), expected, "{facts:?}");
}

#[test]
fn each_case_has_its_verdict() {
    let ask = |approvers| Verdict::Ask(in_keybase(approvers));
    let refuse = Verdict::Refuse;
    check(&facts("alice"), &ask("anyone"));
    check(&facts("root"), &ask("keybase:chief"));
    check(&facts("deploy"), &Verdict::Allow(Grounds::Exempt { line: 10 }));
    check(&facts("carol"), &refuse(Refusal::UnknownPerson));
    check(&Facts { person: carol(), ..facts("carol") }, &ask("not-self"));
    check(&Facts { person: Person::Suspended, ..facts("deploy") }, &refuse(Refusal::Suspended));
    check(&Facts { person: Person::Removed, ..facts("alice") }, &refuse(Refusal::Removed));
    check(&Facts { account: Account::Missing, ..facts("alice") }, &Verdict::Stall);
    check(&Facts { account: Account::Missing, ..facts("deploy") }, &Verdict::Stall);
}

#[test]
fn each_limit_refuses_at_its_own_number() {
    let counted = |counts, user| Facts { counts, ..facts(user) };
    let none = Counts::default();
    let below = Counts {
        pending_same_user: 2,
        pending_on_machine: 9,
        asks_same_user: 5,
        asks_on_machine: 59,
        asks_everywhere: 39,
    };
    check(&counted(below, "alice"), &Verdict::Ask(in_keybase("anyone")));
    for crowded in [Counts { pending_same_user: 3, ..none }, Counts { pending_on_machine: 10, ..none }] {
        check(&counted(crowded, "alice"), &Verdict::Refuse(Refusal::TooManyPending));
    }
    let rushed = [
        Counts { asks_same_user: 6, ..none },
        Counts { asks_on_machine: 60, ..none },
        Counts { asks_everywhere: 40, ..none },
    ];
    for (counts, user) in rushed.into_iter().flat_map(|counts| [(counts, "alice"), (counts, "deploy")]) {
        check(&counted(counts, user), &Verdict::Refuse(Refusal::TooManyAsks));
    }
}

#[test]
fn a_rehearsal_is_refused_where_a_login_would_be_and_lets_in_and_asks_nowhere() {
    let rehearsal = |facts: Facts| Facts { rehearsal: true, ..facts };
    let refuse = Verdict::Refuse;
    check(&rehearsal(facts("alice")), &Verdict::DryRun);
    check(&rehearsal(facts("deploy")), &Verdict::DryRun);
    check(&rehearsal(Facts { account: Account::Missing, ..facts("alice") }), &Verdict::DryRun);
    check(&rehearsal(Facts { person: Person::Suspended, ..facts("alice") }), &refuse(Refusal::Suspended));
    let counts = Counts { asks_on_machine: 60, ..Counts::default() };
    check(&rehearsal(Facts { counts, ..facts("alice") }), &refuse(Refusal::TooManyAsks));
    check(&rehearsal(Facts { chat: Reach::Down, ..facts("alice") }), &refuse(Refusal::RelayDown));
}

#[test]
fn what_was_decided_before_weighs_as_it_should() {
    let before = |before, facts: Facts| Facts { before, ..facts };
    let same = Verdict::Allow(Grounds::SameConnection);
    let refuse = Verdict::Refuse;
    check(&before(Before::Approved, facts("alice")), &same);
    let counts = Counts { pending_on_machine: 10, ..Counts::default() };
    check(&before(Before::Approved, Facts { counts, ..facts("alice") }), &same);
    let suspended = Facts { person: Person::Suspended, ..facts("alice") };
    check(&before(Before::Approved, suspended), &refuse(Refusal::Suspended));
    check(&before(Before::Denied, facts("deploy")), &refuse(Refusal::DeniedBefore));
    check(
        &before(Before::Denied, Facts { rehearsal: true, ..facts("alice") }),
        &refuse(Refusal::DeniedBefore),
    );
    check(&before(Before::DeniedRecently, facts("deploy")), &refuse(Refusal::DeniedRecently));
    check(&before(Before::Approved, Facts { rehearsal: true, ..facts("alice") }), &Verdict::DryRun);
}

#[test]
fn an_answer_counts_only_from_the_channels_of_the_rule() {
    use Channel::{Console, Keybase};
    let may = |approvers: &str, channels: &[Channel], who: &str| {
        let terms = Terms { channels: channels.to_vec(), ..terms(approvers) };
        may_answer(&terms, &carol(), &who.parse().unwrap())
    };
    let both = &[Console, Keybase];
    assert!(may("anyone", both, "console:root") && may("not-self", both, "console:root"));
    assert!(may("anyone", both, "keybase:alice") && !may("not-self", both, "keybase:carol"));
    assert!(!may("anyone", &[Keybase], "console:root") && !may("not-self", &[Keybase], "console:root"));
    assert!(!may("anyone", &[Console], "keybase:alice") && may("anyone", &[Console], "console:root"));
    let named = "keybase:alice,console:root";
    assert!(may(named, both, "console:root") && !may(named, &[Keybase], "console:root"));
    assert!(!may("keybase:alice", both, "console:root"));
    assert!(!may("anyone", both, "pigeon:alice"));
}

#[test]
fn a_login_is_refused_for_lack_of_people_only_if_none_of_its_channels_works() {
    let down = |user| Facts { chat: Reach::Down, ..facts(user) };
    let refused = Verdict::Refuse(Refusal::RelayDown);
    check(&down("alice"), &refused);
    check(&Facts { account: Account::Missing, ..down("alice") }, &refused);
    check(&down("deploy"), &Verdict::Allow(Grounds::Exempt { line: 10 }));
    let both = Settings { default: terms("anyone"), ..settings() };
    assert_eq!(judge(&both, &down("alice")), Verdict::Ask(terms("anyone")));
    assert_eq!(judge(&both, &Facts { account: Account::Missing, ..down("alice") }), Verdict::Stall);
    assert_eq!(judge(&both, &down("root")), refused, "its rule has Keybase alone");
    assert_eq!(judge(&patient(&settings()), &down("alice")), Verdict::Ask(taken_over()));
    let missing = Facts { account: Account::Missing, ..down("alice") };
    assert_eq!(judge(&patient(&settings()), &missing), Verdict::Stall);
    assert_eq!(
        judge(&patient(&settings()), &facts("alice")),
        Verdict::Ask(waiting_for_keybase()),
        "while it works"
    );
}

/// The default terms, with the console as the channel that takes over.
fn waiting_for_keybase() -> Terms {
    Terms { channels_when_down: vec![Channel::Console], ..in_keybase("anyone") }
}

/// The same terms, once the console has taken over.
fn taken_over() -> Terms {
    Terms { channels: vec![Channel::Keybase, Channel::Console], ..waiting_for_keybase() }
}

fn patient(settings: &Settings) -> Settings {
    Settings { default: waiting_for_keybase(), ..settings.clone() }
}

#[test]
fn while_the_server_starts_a_login_waits_to_be_asked_about_and_nobody_is_let_in_for_a_list_that_is_not_there_yet()
 {
    let starting = |user| Facts { chat: Reach::Starting, ..facts(user) };
    assert_eq!(judge(&settings(), &starting("alice")), Verdict::Ask(in_keybase("anyone")));
    assert_eq!(judge(&settings(), &Facts { account: Account::Missing, ..starting("alice") }), Verdict::Stall);
    assert_eq!(judge(&settings(), &starting("deploy")), Verdict::Allow(Grounds::Exempt { line: 10 }));
    let strict = Settings { require_member: true, ..settings() };
    let unknown = |user| Facts { person: carol(), membership: Membership::Unknown, ..starting(user) };
    assert_eq!(judge(&strict, &unknown("alice")), Verdict::Ask(in_keybase("anyone")));
    let refused = Verdict::Refuse(Refusal::RelayDown);
    assert_eq!(judge(&strict, &unknown("deploy")), refused, "an exemption");
    let before = Facts { before: Before::Approved, ..unknown("alice") };
    assert_eq!(judge(&strict, &before), refused, "the same connection");
}

#[test]
fn where_only_members_may_log_in_nobody_else_does_not_even_by_an_exemption() {
    let strict = Settings { require_member: true, ..settings() };
    let judged = |user, person, membership| judge(&strict, &Facts { person, membership, ..facts(user) });
    assert_eq!(judged("alice", carol(), Membership::Member), Verdict::Ask(in_keybase("anyone")));
    for user in ["alice", "deploy"] {
        let refused = |person, membership, refusal| {
            assert_eq!(judged(user, person, membership), Verdict::Refuse(refusal), "{user} {refusal:?}");
        };
        refused(carol(), Membership::Stranger, Refusal::NotAMember);
        refused(carol(), Membership::Unknown, Refusal::RelayDown);
        refused(Person::Unknown, Membership::Member, Refusal::UnknownPerson);
        refused(Person::Suspended, Membership::Member, Refusal::Suspended);
    }
    let nobody_knows = |settings: &Settings, chat| {
        let facts = Facts { person: carol(), membership: Membership::Unknown, chat, ..facts("alice") };
        judge(settings, &facts)
    };
    let refused = Verdict::Refuse(Refusal::RelayDown);
    assert_eq!(nobody_knows(&patient(&strict), Reach::Down), Verdict::Ask(taken_over()));
    assert_eq!(nobody_knows(&patient(&strict), Reach::Up), refused);
    let both = Settings { default: terms("anyone"), ..strict.clone() };
    assert_eq!(nobody_knows(&both, Reach::Down), refused, "a second channel lets no stranger in");
}

#[test]
fn under_not_self_everybody_else_may_answer() {
    let may = |who: &str, behind: &Person| may_answer(&terms("not-self"), behind, &who.parse().unwrap());
    assert!(may("console:root", &carol()) && may("keybase:alice", &carol()));
    assert!(!may("console:carol", &carol()) && !may("keybase:carol", &carol()));
    for behind in [Person::Unknown, Person::Suspended, Person::Removed] {
        assert!(!may("console:root", &behind), "{behind:?}");
    }
    assert!(may_answer(&terms("anyone"), &carol(), &"console:carol".parse().unwrap()));
    assert!(!may_answer(&terms("console:chief"), &carol(), &"console:root".parse().unwrap()));
}

#[test]
fn a_policy_that_cannot_work_is_told_so() {
    let known = Known { machines: vec![], pools: vec!["web".parse().unwrap()] };
    assert!(lint(&settings(), &known).is_empty());
    let mut broken = settings();
    broken.rules.push(rule(40, "root", Says::Ask(in_keybase("console:alice"))));
    let scope = Scope {
        pools: vec!["db".parse().unwrap()],
        machines: vec!["web9".parse().unwrap()],
        ..Scope::default()
    };
    broken.rules.push(Rule { line: 50, scope, says: Says::Exempt });
    insta::assert_snapshot!(lint(&broken, &known).join("\n"), @r"
    line 40: rule 4 never applies: the rule on line 20 matches all that it matches
    line 40: rule 4: console:alice can never answer: the channels are keybase
    line 50: rule 5 names pool db, which does not exist
    line 50: rule 5 names machine web9, which does not exist
    ");
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let users = prop::sample::select(vec!["alice", "root", "deploy", "carol"]);
    let people = prop::sample::select(vec![Person::Unknown, carol(), Person::Suspended, Person::Removed]);
    let befores =
        prop::sample::select(vec![Before::Nothing, Before::Approved, Before::Denied, Before::DeniedRecently]);
    let bools = (any::<bool>(), any::<bool>(), any::<bool>());
    (users, people, befores, bools, 0..12_u64, 0..70_u64).prop_map(
        |(user, person, before, (rehearsal, missing, lacks_grant), pending, asks)| Facts {
            person,
            lacks_grant,
            before,
            rehearsal,
            account: if missing { Account::Missing } else { Account::Known },
            counts: Counts {
                pending_same_user: pending,
                pending_on_machine: pending,
                asks_same_user: asks,
                asks_on_machine: asks,
                asks_everywhere: asks,
            },
            ..facts(user)
        },
    )
}

proptest! {
    #[test]
    fn a_login_that_lacks_its_grant_is_always_refused(facts in any_facts()) {
        let verdict = judge(&settings(), &facts);
        if facts.lacks_grant {
            prop_assert!(matches!(verdict, Verdict::Refuse(_)), "{:?}", verdict);
        }
    }

    #[test]
    fn nobody_who_may_not_enter_is_ever_asked_about_or_let_in(facts in any_facts()) {
        let verdict = judge(&settings(), &facts);
        if matches!(facts.person, Person::Suspended | Person::Removed) || facts.before == Before::Denied {
            prop_assert!(matches!(verdict, Verdict::Refuse(_)), "{:?}", verdict);
        }
        if facts.account == Account::Missing {
            let open = matches!(verdict, Verdict::Ask(_) | Verdict::Allow(Grounds::Exempt { .. }));
            prop_assert!(!open, "{:?}", verdict);
        }
        if let Verdict::Ask(_) = verdict {
            let counts = facts.counts;
            prop_assert!(counts.asks_same_user < 6 && counts.pending_same_user < 3 && !facts.rehearsal);
        }
    }
}
