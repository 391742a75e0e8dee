//! Between the server and a machine, a line that records what the server sends; and, in the place of a machine, somebody
//! who accepts connections and never comes to the point.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::message::Patient;
use crate::ports::Port;
use crate::wait::pass;

/// A listener that serves each connection in a thread of its own until it is dropped.
#[derive(Debug)]
struct Listener {
    port: Port,
    over: Arc<AtomicBool>,
    met: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn serving(serve: impl Fn(TcpStream, Arc<AtomicBool>) + Clone + Send + 'static) -> Self {
        let (port, over, met) =
            (Port::reserve(), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let listener = TcpListener::bind(("127.0.0.1", port.number)).unwrap();
        let (is_over, count) = (Arc::clone(&over), Arc::clone(&met));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                count.fetch_add(1, Ordering::AcqRel);
                let (serve, is_over) = (serve.clone(), Arc::clone(&is_over));
                thread::spawn(move || serve(stream.unwrap(), is_over));
            }
        });
        Self { port, over, met, thread: Some(thread) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        TcpStream::connect(("127.0.0.1", self.port.number)).ok();
        self.thread.take().unwrap().join().ok();
    }
}

/// A line to a port of 127.0.0.1.
#[derive(Debug)]
pub struct Tap {
    listener: Listener,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// A line to this port.
    pub fn to(port: u16) -> Self {
        let sent = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let record = Arc::clone(&sent);
        let listener = Listener::serving(move |near, over| {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let number = {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                record.push(vec![]);
                record.len() - 1
            };
            let (near_too, far_too, over_too) =
                (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&over));
            thread::spawn(move || carry(far_too, near_too, over_too, |_| ()));
            carry(near, far, over, |bytes| {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                record[number].extend_from_slice(bytes);
            });
        });
        Self { listener, sent }
    }

    /// The port at which it listens.
    pub fn port(&self) -> u16 {
        self.listener.port.number
    }

    /// What was sent in the direction of the port since the last call, by connection.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Carries bytes until one side closes.
fn carry(from: TcpStream, mut to: TcpStream, over: Arc<AtomicBool>, record: impl Fn(&[u8])) {
    let mut from = Patient::new(from, over);
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        record(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// Somebody in the place of a machine.
#[derive(Debug)]
pub struct Loiterer(Listener);

impl Loiterer {
    /// Accepts connections and says nothing.
    pub fn silent() -> Self {
        Self(Listener::serving(|stream, over| Patient::new(stream, over).outlast()))
    }

    /// Sends this again and again, a byte a second.
    pub fn dribbling(text: &'static str) -> Self {
        Self(Listener::serving(move |mut stream, over| {
            for byte in text.bytes().cycle() {
                let sent = stream.write_all(&[byte]);
                if over.load(Ordering::Acquire) || sent.is_err() {
                    return;
                }
                pass(Duration::from_secs(1));
            }
        }))
    }

    /// Sends this again and again, as fast as it is taken.
    pub fn pouring(text: &'static str) -> Self {
        Self(Listener::serving(move |mut stream, over| {
            let text = text.repeat(100);
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            while !over.load(Ordering::Acquire) {
                match stream.write_all(text.as_bytes()) {
                    Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        return;
                    }
                    _ => {}
                }
            }
        }))
    }

    /// The port at which it listens.
    pub fn port(&self) -> u16 {
        self.0.port.number
    }

    /// Number of connections so far.
    pub fn met(&self) -> usize {
        self.0.met.load(Ordering::Acquire)
    }
}
