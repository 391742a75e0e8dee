//! A module that libpam cannot load: its line is in the stack, and the file is missing or incomplete.

use kbmfa_tests::built;
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use std::env::consts::ARCH;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::faults::Refusal;

fn library(machine: &Machine) -> PathBuf {
    machine.path(&format!("/usr/lib/{ARCH}-linux-gnu/security/pam_kbmfa.so"))
}

fn lets_nobody_in(phase: Phase) {
    let world = World::new();
    let machine = world.machine().phase(phase).start();
    let library = library(&machine);
    let whole = fs::read(built::module()).unwrap();
    for length in [None, Some(0), Some(whole.len() / 2), Some(whole.len() - 4096)] {
        fs::remove_file(&library).unwrap();
        if let Some(length) = length {
            put(&library, 0o644, &whole[..length]);
        }
        let finished = machine.ssh("alice", &["echo", "in"]).wait();
        assert!(finished.stdout.is_empty() && finished.code != 0, "{phase:?}, {length:?}: {finished:?}");
        put(&library, 0o644, &whole);
    }
    assert!(world.admin.logins(&[]).is_empty());
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n", "whole again it lets in");
    machine.assert_nothing_left();
}

#[test]
fn a_module_that_is_missing_or_cut_short_lets_nobody_in() {
    for phase in [Phase::Account, Phase::Auth, Phase::Session] {
        lets_nobody_in(phase);
    }
}

#[test]
fn a_module_that_is_missing_is_named_in_the_log() {
    let world = World::new();
    let machine = world.machine().start();
    fs::remove_file(library(&machine)).unwrap();
    let refusal = Refusal {
        prompt: "Connection closed by",
        log: "PAM unable to dlopen(pam_kbmfa.so)",
        within: Duration::ZERO,
    };
    refusal.meets(&machine);
}
