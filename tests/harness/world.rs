//! A server, and the machines that a test creates for it.

use std::cell::Cell;
use std::path::Path;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::builder::{Enrolment, MachineBuilder};
use crate::built;
use crate::clock::FakeClock;
use crate::files::set_mode;
use crate::ports::Port;
use crate::server::Server;

/// A running server, and the operator at its console.
#[derive(Debug)]
pub struct World {
    /// The server.
    pub server: Server,
    /// The operator, who answers logins.
    pub admin: Admin,
    machines: Cell<u32>,
    /// The directory in which the server writes. It exists longer than the server.
    dir: TempDir,
    /// Reserved even while the server is down.
    _port: Port,
}

impl World {
    /// A server with the configuration that `init` makes.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// A server with some keys changed, each as section, key and TOML value.
    pub fn with(settings: &[(&str, &str, &str)]) -> Self {
        let world = Self::down(None);
        for (section, key, value) in settings {
            world.server.set(section, key, value);
        }
        world.server.start();
        world
    }

    /// A server on a host whose clock the test sets, with some keys changed.
    pub fn on_clock(settings: &[(&str, &str, &str)]) -> (Self, FakeClock) {
        let mut world = Self::down(None);
        for (section, key, value) in settings {
            world.server.set(section, key, value);
        }
        let clock = FakeClock::make(world.dir.path(), world.dir.path());
        (world.server.clock, world.admin.clock) = (Some(clock.clone()), Some(clock.clone()));
        world.server.start();
        (world, clock)
    }

    /// A server that is set up for this owner, and does not run yet.
    pub fn down(owner: Option<&str>) -> Self {
        built::assert_root();
        let dir = tempfile::Builder::new().prefix("kbmfa-world-").tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        let port = Port::reserve();
        let server = Server::init(dir.path(), port.number, owner);
        let admin = Admin::new(server.config.clone());
        Self { server, admin, machines: Cell::default(), dir, _port: port }
    }

    /// A directory for other files of the test. It is removed with the world.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A machine that joins this server when it starts.
    pub fn machine(&self) -> MachineBuilder {
        let number = self.machines.get() + 1;
        self.machines.set(number);
        let name = format!("web{number}");
        let enrolment = Enrolment {
            token: self.admin.add_machine(&name),
            server: format!("https://127.0.0.1:{}", self.server.port),
            pin: self.server.pin.clone(),
            port: self.server.port,
        };
        MachineBuilder::new(&name).enrolled(enrolment)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
