//! Servers that cannot prove their identity, or fail before that. Each of them would approve.

use kbmfa_tests::certificate::Made;
use kbmfa_tests::impostor::{Act, Babbler, Stranger, tls};
use kbmfa_tests::message::{answer, login};
use kbmfa_tests::world::World;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::{AT_ONCE, TWICE, is_refused, without_server};

/// Checks that a server with this certificate gets no data and nobody is let in, although it would approve.
fn is_not_believed(made: impl FnOnce(&World) -> Made, version: &'static SupportedProtocolVersion, log: &str) {
    let (world, machine) = without_server();
    let acts = [Act::Hear, Act::Say(answer("200 OK", &login("approved")))];
    let babbler = Babbler::playing(&world, Some(tls(&made(&world), version)), &acts);
    is_refused(&world, &machine, log, AT_ONCE);
    assert!(babbler.met() > 0, "the module did not ask");
    assert_eq!(babbler.heard(), 0, "it was told something");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (world, machine) = without_server();
    let _stranger = Stranger::in_place_of(&world);
    is_refused(&world, &machine, "no decision (TLS: invalid peer certificate: UnknownIssuer)", AT_ONCE);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let other = |world: &World| Made::naming(&["other.example"], &world.server.state_dir, 1, 30);
    is_not_believed(
        other,
        &TLS13,
        "no decision (TLS: invalid peer certificate: certificate not valid for name",
    );
}

#[test]
fn a_certificate_that_has_ended_is_refused() {
    let ended = |world: &World| Made::begun(&world.server.state_dir, 100, 90);
    is_not_believed(ended, &TLS13, "no decision (TLS: the server's certificate expired on ");
}

#[test]
fn a_certificate_that_has_not_begun_is_refused() {
    let early = |world: &World| Made::beginning(&world.server.state_dir, 2, 30);
    is_not_believed(early, &TLS13, "no decision (TLS: the server's certificate is valid from ");
}

#[test]
fn a_server_that_speaks_only_tls_1_2_is_refused() {
    let right = |world: &World| Made::begun(&world.server.state_dir, 1, 30);
    is_not_believed(right, &TLS12, "no decision (TLS: received fatal alert: ProtocolVersion)");
}

#[test]
fn a_server_that_accepts_and_stays_silent_is_given_up_in_time() {
    let (world, machine) = without_server();
    let babbler = Babbler::playing(&world, None, &[Act::Stall]);
    is_refused(&world, &machine, "no decision (no answer in time)", TWICE);
    assert_eq!(babbler.met(), 3, "two to open and one to cancel");
}
