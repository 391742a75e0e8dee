//! Useless connections: many that stay idle, and more at a steady rate. Every second one sends one byte, as
//! if it began a TLS handshake, and then nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A flood that continues until it is stopped.
#[derive(Debug)]
pub struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<f64>>,
}

impl Flood {
    /// Opens `idle` connections to this port of 127.0.0.1, and then `per_second` more each second. It keeps
    /// open as many of the newest as there were at first, and those of the last ten seconds.
    pub fn at(port: u16, idle: usize, per_second: u32) -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let mut open: VecDeque<_> = (0..idle).filter_map(|n| connect(port, n).ok()).collect();
        let over = Arc::<AtomicBool>::default();
        let is_over = Arc::clone(&over);
        let kept = idle + 10 * per_second as usize;
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            let mut made = 0;
            while !is_over.load(Ordering::Acquire) {
                thread::sleep((Duration::from_secs(1) / per_second * made).saturating_sub(begun.elapsed()));
                open.extend(connect(port, made as usize));
                open.drain(..open.len().saturating_sub(kept));
                made += 1;
            }
            f64::from(made) / begun.elapsed().as_secs_f64()
        });
        Self { over, thread: Some(thread) }
    }

    /// Stops it. Returns the number of connections that it made per second.
    pub fn stop(mut self) -> f64 {
        self.over.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.thread.take().map(JoinHandle::join);
    }
}

fn connect(port: u16, number: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    if number % 2 == 1 {
        // The first byte of a TLS record.
        stream.write_all(&[0x16])?;
    }
    Ok(stream)
}
