//! The lower bound: connect with the server's own library and key, and run `sudo -n true`.

use kbmfa_tests::fleet::Fleet;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use ssh2::Session;
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Cost;

/// Ticks per second of the clock in which Linux reports CPU time.
const TICKS: f64 = 100.0;

/// Every machine once, by this many threads.
pub(crate) fn measure(world: &World, fleet: &Fleet, threads: usize) -> Cost {
    let key = fs::read_to_string(world.server.state_dir.join("ssh_admin_key")).unwrap();
    let ports: Vec<u16> = fleet.machines.iter().map(|machine| machine.port.number).collect();
    let next = AtomicUsize::new(0);
    let before = own_cpu_ms();
    let ((), took) = timed(|| {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(port) = ports.get(next.fetch_add(1, Ordering::Relaxed)) {
                        connect(*port, &key);
                    }
                });
            }
        });
    });
    Cost { seconds: took.as_secs_f64(), cpu_ms: own_cpu_ms() - before }
}

fn connect(port: u16, key: &str) {
    let mut session = Session::new().unwrap();
    session.set_tcp_stream(TcpStream::connect(("127.0.0.1", port)).unwrap());
    session.handshake().unwrap();
    session.userauth_pubkey_memory("ssh-admin", None, key, None).unwrap();
    let mut channel = session.channel_session().unwrap();
    channel.exec("exec sudo -n true").unwrap();
    channel.read_to_end(&mut Vec::new()).unwrap();
    channel.wait_close().unwrap();
    assert_eq!(channel.exit_status().unwrap(), 0);
}

/// CPU time of this process, in milliseconds.
fn own_cpu_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks * 1000.0 / TICKS
}
