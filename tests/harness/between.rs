//! A proxy between a machine and its server. It reads and records the traffic, and can stop one exchange at a
//! known point, where the test then acts.

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::impostor;
use crate::machine::Machine;
use crate::message::{self, Patient};
use crate::ports::Port;
use crate::recording::Exchange;
use crate::wait::PATIENCE;
use crate::wire;
use crate::world::World;

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The machine has sent the request; the server has not received it.
    Asked,
    /// The server has received the request, and may have handled it.
    Passed,
    /// The server has answered; the machine has not received the answer.
    Answered,
}

/// How the exchange continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Unchanged.
    Pass,
    /// The machine's connection is reset.
    Reset,
    /// The machine gets this answer.
    Say(String),
}

/// A proxy between one machine and the world's server.
#[derive(Debug)]
pub struct Between {
    port: Port,
    over: Arc<AtomicBool>,
    reached: Receiver<()>,
    orders: Option<Sender<Order>>,
    recorded: Arc<Mutex<Vec<Exchange>>>,
    /// Accepts connections of machines.
    thread: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

/// What the connections share.
struct Shared {
    server: u16,
    down: Arc<ServerConfig>,
    up: Arc<ClientConfig>,
    over: Arc<AtomicBool>,
    /// The one exchange to stop; `None` once it was stopped.
    stop: Mutex<Option<Stop>>,
    recorded: Arc<Mutex<Vec<Exchange>>>,
}

struct Stop {
    method: &'static str,
    stage: Stage,
    reached: Sender<()>,
    orders: Receiver<Order>,
}

impl Between {
    /// Starts the proxy, which stops the first exchange with this method at this stage.
    pub fn stopping(world: &World, machine: &Machine, method: &'static str, stage: Stage) -> Self {
        let (to_story, reached) = channel();
        let (orders, from_story) = channel();
        let stop = Stop { method, stage, reached: to_story, orders: from_story };
        let between = Self::new(world, Some(stop), reached, Some(orders));
        machine.set("servers", &format!("[\"{}\"]", between.url()));
        between
    }

    /// Starts a proxy that stops nothing. Machines must be configured with its address.
    pub fn recording(world: &World) -> Self {
        let (_, never) = channel();
        Self::new(world, None, never, None)
    }

    fn new(world: &World, stop: Option<Stop>, reached: Receiver<()>, orders: Option<Sender<Order>>) -> Self {
        let (port, over) = (Port::reserve(), Arc::<AtomicBool>::default());
        let recorded = Arc::<Mutex<Vec<Exchange>>>::default();
        let shared = Arc::new(Shared {
            server: world.server.port,
            down: impostor::right(world),
            up: wire::tls(&world.server),
            over: Arc::clone(&over),
            stop: Mutex::new(stop),
            recorded: Arc::clone(&recorded),
        });
        let listener = TcpListener::bind(("127.0.0.1", port.number)).unwrap();
        let thread = thread::spawn(move || {
            let mut connections = vec![];
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    break;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                // Either side may close its connection at any time.
                connections.push(thread::spawn(move || drop(shared.carry(stream))));
            }
            connections
        });
        Self { port, over, reached, orders, recorded, thread: Some(thread) }
    }

    /// Its address for machines.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port.number)
    }

    /// The exchanges so far, in the order of the requests.
    pub fn recorded(&self) -> Vec<Exchange> {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.iter().filter(|exchange| !exchange.answer.is_empty()).cloned().collect()
    }

    /// Waits until the exchange has stopped.
    pub fn reached(&self) {
        self.reached.recv_timeout(PATIENCE).expect("the exchange to come to its stop");
    }

    /// Continues the stopped exchange.
    pub fn order(&self, order: Order) {
        self.orders.as_ref().unwrap().send(order).unwrap();
    }
}

impl Drop for Between {
    /// Stops accepting connections, and ends all of them.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        TcpStream::connect(("127.0.0.1", self.port.number)).ok();
        let connections = self.thread.take().unwrap().join().unwrap_or_default();
        drop(self.orders.take());
        for connection in connections {
            connection.join().ok();
        }
    }
}

impl Shared {
    fn carry(&self, machine: TcpStream) -> io::Result<()> {
        let patient = |stream| Patient::new(stream, Arc::clone(&self.over));
        let server = TcpStream::connect(("127.0.0.1", self.server))?;
        let mut up = StreamOwned::new(
            ClientConnection::new(Arc::clone(&self.up), wire::name()).unwrap(),
            patient(server),
        );
        let mut down =
            StreamOwned::new(ServerConnection::new(Arc::clone(&self.down)).unwrap(), patient(machine));
        loop {
            let request = message::read(&mut down)?;
            let number = self.record(&request);
            let mut order = self.order_at(Stage::Asked, &request);
            let mut answer = vec![];
            if order == Order::Pass {
                up.write_all(&request)?;
                up.flush()?;
                order = self.order_at(Stage::Passed, &request);
            }
            if order == Order::Pass {
                answer = message::read(&mut up)?;
                order = self.order_at(Stage::Answered, &request);
            }
            match order {
                Order::Pass => {}
                Order::Reset => {
                    down.sock.reset_at_the_end();
                    return Ok(());
                }
                Order::Say(text) => answer = message::filled_in(&text, &request).into_bytes(),
            }
            self.record_answer(number, &answer);
            down.write_all(&answer)?;
            down.flush()?;
        }
    }

    fn record(&self, request: &[u8]) -> usize {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.push(Exchange { request: text(request), answer: String::new() });
        recorded.len() - 1
    }

    fn record_answer(&self, number: usize, answer: &[u8]) {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)[number].answer = text(answer);
    }

    fn order_at(&self, stage: Stage, request: &[u8]) -> Order {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let here = stop.take_if(|stop| stop.stage == stage && message::method(request) == stop.method);
        drop(stop);
        here.map_or(Order::Pass, |stop| {
            stop.reached.send(()).ok();
            // The test has ended, so nobody gives an order.
            stop.orders.recv().unwrap_or(Order::Reset)
        })
    }
}

fn text(message: &[u8]) -> String {
    String::from_utf8(message.to_vec()).expect("the protocol is UTF-8")
}
