//! A test bed of real programs: temporary machines with a real sshd and real PAM, and a real server.
//!
//! Nothing touches the host: a machine is an overlay in its own mount and process namespaces, and ends with
//! the test that made it. Only the loopback network is shared, with ports that no two tests share, unless a
//! test has its own network. A test about a full disk mounts that disk in its temporary directory.
//!
//! ```text
//! let world = World::new();
//! let machine = world.machine().phase(Phase::Account).start();
//! let login = machine.ssh("alice", &["echo", "in"]);
//! world.admin.approve(&world.admin.pending());
//! assert_eq!(login.wait().code, 0);
//! machine.assert_nothing_left();
//! ```

#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a harness starts processes, reads the clock, and fails by a loud panic"
)]

pub mod chat;
pub mod world;

pub mod admin;
pub mod between;
pub mod impostor;
pub mod message;
pub mod recording;
pub mod server;
pub mod systemd;
pub mod tap;
pub mod wire;

pub mod clock;
pub mod disk;
pub mod flood;
pub mod group;
pub mod lock;
pub mod network;
pub mod slow_line;

pub mod builder;
pub mod delivery;
pub mod fleet;
pub mod machine;
pub mod recipe;
pub mod watcher;

pub mod laptop;
pub mod leftovers;
pub mod login;
pub mod memory;
pub mod syslog;
pub mod terminal;
pub mod transcript;

pub mod application;
pub mod pamtester;
pub mod strace;

pub mod built;
pub mod certificate;
pub mod files;
pub mod ports;
pub mod process;
pub mod settings;
pub mod wait;
