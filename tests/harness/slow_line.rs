//! A proxy between a machine and its server that delays every byte in both directions.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ports::Port;

/// A proxy to one port on 127.0.0.1.
#[derive(Debug)]
pub struct SlowLine {
    port: Port,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SlowLine {
    /// A proxy to this port with this delay in each direction.
    pub fn to(server: u16, delay: Duration) -> Self {
        let (port, over) = (Port::reserve(), Arc::<AtomicBool>::default());
        let listener = TcpListener::bind(("127.0.0.1", port.number)).unwrap();
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                // Either side may close its connection at any time.
                drop(carry(stream.unwrap(), server, delay));
            }
        });
        Self { port, over, thread: Some(thread) }
    }

    /// The port at which it listens.
    pub fn port(&self) -> u16 {
        self.port.number
    }
}

impl Drop for SlowLine {
    /// Accepts no more connections. Existing ones end when either of their ends does.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        TcpStream::connect(("127.0.0.1", self.port.number)).ok();
        self.thread.take().unwrap().join().ok();
    }
}

fn carry(near: TcpStream, server: u16, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", server))?;
    far.set_nodelay(true)?;
    near.set_nodelay(true)?;
    pass_on(near.try_clone()?, far.try_clone()?, delay);
    pass_on(far, near, delay);
    Ok(())
}

/// One direction of a connection: bytes, and when they are due. No bytes mean the end.
type Due = (Instant, Vec<u8>);

fn pass_on(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sent, due) = channel();
    thread::spawn(move || drop(take(from, &sent, delay)));
    thread::spawn(move || drop(give(to, &due)));
}

fn take(mut from: TcpStream, sent: &Sender<Due>, delay: Duration) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).unwrap_or(0);
        let due = (Instant::now() + delay, buffer[..count].to_vec());
        if sent.send(due).is_err() || count == 0 {
            return from.shutdown(Shutdown::Read);
        }
    }
}

fn give(mut to: TcpStream, due: &Receiver<Due>) -> io::Result<()> {
    while let Ok((when, bytes)) = due.recv() {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        if bytes.is_empty() {
            return to.shutdown(Shutdown::Write);
        }
        to.write_all(&bytes)?;
    }
    Ok(())
}
