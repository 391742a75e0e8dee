//! A server with the right certificate that resets each connection as soon as a request has come.

use rustix::net::sockopt;
use rustls::{ServerConnection, StreamOwned};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::impostor::tls_of;
use crate::wait::until;
use crate::world::World;

/// In the place of the world's server, until it is dropped.
#[derive(Debug)]
pub struct Resetter {
    port: u16,
    over: Arc<AtomicBool>,
    reset: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Resetter {
    /// Takes the place of the world's server, which must be down.
    pub fn in_place_of(world: &World) -> Self {
        let (tls, port) = (Arc::new(tls_of(&world.server.state_dir)), world.server.port);
        let listener = until("the port to be free", || TcpListener::bind(("127.0.0.1", port)).ok());
        let (over, reset) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ended, count) = (Arc::clone(&over), Arc::clone(&reset));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
                let mut stream = StreamOwned::new(connection, stream.unwrap());
                if matches!(stream.read(&mut [0; 16_384]), Ok(1..)) {
                    // Closed with nothing to linger for, it is reset.
                    sockopt::set_socket_linger(&stream.sock, Some(Duration::ZERO)).unwrap();
                    count.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        Self { port, over, reset, thread: Some(thread) }
    }

    /// How many connections were reset after a request.
    pub fn resets(&self) -> usize {
        self.reset.load(Ordering::Acquire)
    }
}

impl Drop for Resetter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        self.thread.take().unwrap().join().ok();
    }
}
