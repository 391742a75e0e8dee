//! Recorded messages between machines and a server, byte for byte, in files, and a server that replays its
//! side.

use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::impostor;
use crate::message::{self, Patient};
use crate::wait::until;
use crate::world::World;

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Head and body, as the machine sent them.
    pub request: String,
    /// Head and body, as the server sent them.
    pub answer: String,
}

impl Exchange {
    /// The route of the request, such as `PUT /v1/logins/{id}`: without the login's id and the query.
    pub fn route(&self) -> String {
        route(&self.request)
    }

    /// The login that it is about.
    pub fn login(&self) -> Option<&str> {
        login(&self.request)
    }

    /// The JSON of the answer.
    pub fn answered(&self) -> Value {
        body(&self.answer)
    }
}

/// The JSON in a message.
pub fn body(message: &str) -> Value {
    let (_, body) = message.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn target(request: &str) -> &str {
    request.split([' ', '?']).nth(1).expect("a request line")
}

fn login(request: &str) -> Option<&str> {
    target(request).strip_prefix("/v1/logins/")
}

fn route(request: &str) -> String {
    let method = request.split(' ').next().unwrap_or_default();
    let target = if login(request).is_some() { "/v1/logins/{id}" } else { target(request) };
    format!("{method} {target}")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded")
}

/// Writes a story to its file.
pub fn save(story: &str, exchanges: &[Exchange]) {
    let exchanges: Vec<_> = exchanges
        .iter()
        .map(|exchange| json!({ "request": exchange.request, "answer": exchange.answer }))
        .collect();
    fs::create_dir_all(folder()).unwrap();
    let text = serde_json::to_string_pretty(&exchanges).unwrap() + "\n";
    fs::write(folder().join(story).with_extension("json"), text).unwrap();
}

/// Reads a story from its file.
pub fn load(story: &str) -> Vec<Exchange> {
    let path = folder().join(story).with_extension("json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let exchanges: Vec<Value> = serde_json::from_str(&text).unwrap();
    let part = |exchange: &Value, part| exchange[part].as_str().unwrap().to_owned();
    exchanges
        .iter()
        .map(|exchange| Exchange { request: part(exchange, "request"), answer: part(exchange, "answer") })
        .collect()
}

/// A server that gives recorded answers. Each request gets the first unused answer to a request of the same
/// route, with the login's id replaced.
#[derive(Debug)]
pub struct Repeater {
    port: u16,
    over: Arc<AtomicBool>,
    left: Arc<Mutex<Vec<Exchange>>>,
    thread: Option<JoinHandle<()>>,
}

impl Repeater {
    /// Takes the place of the world's server, which must be down. It has the right certificate.
    pub fn in_place_of(world: &World, exchanges: Vec<Exchange>) -> Self {
        let (port, tls) = (world.server.port, impostor::right(world));
        let listener = until("the port to be free", || TcpListener::bind(("127.0.0.1", port)).ok());
        let (over, left) = (Arc::<AtomicBool>::default(), Arc::new(Mutex::new(exchanges)));
        let (is_over, answers) = (Arc::clone(&over), Arc::clone(&left));
        let thread = thread::spawn(move || {
            let mut connections = vec![];
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                let stream = Patient::new(stream.unwrap(), Arc::clone(&is_over));
                let tls = ServerConnection::new(Arc::clone(&tls)).unwrap();
                let answers = Arc::clone(&answers);
                // The machine may close its connection at any time.
                connections.push(thread::spawn(move || {
                    let _ = repeat(&mut StreamOwned::new(tls, stream), &answers);
                }));
            }
            for connection in connections {
                connection.join().ok();
            }
        });
        Self { port, over, left, thread: Some(thread) }
    }

    /// The routes whose recorded answers were not used.
    pub fn left(&self) -> Vec<String> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Exchange::route).collect()
    }
}

impl Drop for Repeater {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        self.thread.take().unwrap().join().ok();
    }
}

/// Answers requests until there is no answer left, and then closes the connection.
fn repeat(
    stream: &mut StreamOwned<ServerConnection, Patient>,
    answers: &Mutex<Vec<Exchange>>,
) -> io::Result<()> {
    loop {
        let request = String::from_utf8_lossy(&message::read(stream)?).into_owned();
        let mut left = answers.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = left.iter().position(|exchange| exchange.route() == route(&request));
        let Some(exchange) = fits.map(|number| left.remove(number)) else { return Ok(()) };
        drop(left);
        let answer = match (exchange.login(), login(&request)) {
            (Some(recorded), Some(id)) => exchange.answer.replace(recorded, id),
            _ => exchange.answer,
        };
        stream.write_all(answer.as_bytes())?;
        stream.flush()?;
    }
}
