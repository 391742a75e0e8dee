//! The service. It keeps the login of its home, and passes calls between clients and the cloud. Its
//! connection to the cloud is its state: when that ends, the login and the service end, too.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::autofork::READY;
use super::environment::cloud_socket;
use super::failure::{Failure, Result, print};
use super::flags::{Flag, Flags};
use super::invocation::Invocation;
use super::login::paper_key;
use super::place::Place;
use super::signals::on_signal;
use crate::link::Link;
use crate::wire::{Call, Command, ServiceFacts, Subscribed, ToCloud};

const FLAGS: &[Flag] = &[
    (&["oneshot-username", "u"], true),
    (&["oneshot-paperkey", "p"], true),
    (&["auto-forked"], false),
    (&["chdir"], true),
    (&["label"], true),
    (&["watchdog-forked"], false),
];

/// Why the service ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Stopped,
    Interrupted,
    Crashed,
    CloudGone,
}

/// Runs the service of a home until it is stopped.
pub(crate) fn run(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(FLAGS, words)?;
    let place = &invocation.place;
    place.make()?;
    let Some(_lock) = lock(place)? else {
        invocation.note(
            "service",
            false,
            vec![format!("a second service was started on {}", place.home.display())],
        )?;
        return Err(Failure::new("server already running"));
    };
    invocation.note("service", false, Vec::new())?;
    fs::remove_file(&place.socket).ok();
    let listener = UnixListener::bind(&place.socket)?;
    let (session, cloud) = enrol(place)?;
    if let Some(username) = flags.value("oneshot-username") {
        // Clients that connect meanwhile wait until this is done.
        log_in(session, username, flags.value("oneshot-paperkey"))
            .inspect_err(|_| fs::remove_file(&place.socket).unwrap_or_default())?;
    }
    if flags.is_on("auto-forked") {
        print(&format!("{READY}\n"))?;
    }
    serve(place, session, listener, cloud)
}

/// Locks the home; `None` if another service holds the lock.
fn lock(place: &Place) -> Result<Option<File>> {
    let file = File::create(place.config_dir.join("keybased.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Registers the service at the cloud.
fn enrol(place: &Place) -> Result<(u64, Link)> {
    let socket = cloud_socket();
    let gone = |error: io::Error| Failure::new(format!("no cloud at {}: {error}", socket.display()));
    let mut cloud = Link::dial(&socket).map_err(gone)?;
    let home = place.home.display().to_string();
    let session = cloud.exchange(&ToCloud::Serve { home, pid: std::process::id() })?;
    Ok((session, cloud))
}

fn log_in(session: u64, username: &str, key: Option<&str>) -> Result<()> {
    let call = Call::Login { username: username.to_owned(), paper_key: paper_key(key)? };
    let logged_in: std::result::Result<(), String> =
        Link::dial(&cloud_socket())?.exchange(&ToCloud::Call { session, call })?;
    logged_in.map_err(Failure::new)
}

fn serve(place: &Place, session: u64, listener: UnixListener, mut cloud: Link) -> Result<()> {
    // Stays open until the process has ended. Otherwise the cloud could believe that it has ended while
    // replies still pass.
    std::mem::forget(cloud.writer()?);
    let (end, ended) = channel();
    let commanded = end.clone();
    thread::spawn(move || {
        let command = cloud.receive::<Command>();
        commanded.send(if matches!(command, Ok(Some(Command::Crash))) {
            End::Crashed
        } else {
            End::CloudGone
        })
    });
    let interrupted = end.clone();
    on_signal(move || interrupted.send(End::Interrupted).unwrap_or_default())?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let end = end.clone();
            thread::spawn(move || connection(session, stream, &end));
        }
    });
    match ended.recv() {
        Ok(End::Stopped) => Ok(fs::remove_file(&place.socket)?),
        Ok(End::Interrupted) => {
            fs::remove_file(&place.socket)?;
            Err(Failure::interrupted())
        }
        // After a crash the socket is left over.
        Ok(End::Crashed) => Err(Failure::new("panic: the double was told to crash")),
        _ => Err(Failure::new("the cloud is gone")),
    }
}

/// Serves one client until it disconnects.
fn connection(session: u64, stream: UnixStream, end: &Sender<End>) -> io::Result<()> {
    let mut client = Link::over(stream)?;
    let mut cloud = None;
    while let Some(call) = client.receive()? {
        match call {
            Call::Ping => client.send(&ServiceFacts { pid: std::process::id() })?,
            Call::Stop => {
                end.send(End::Stopped).ok();
            }
            Call::Listen(subscription) => {
                return listen(session, client, Call::Listen(subscription));
            }
            call => {
                let link = cloud.take().map_or_else(|| Link::dial(&cloud_socket()), Ok)?;
                let link = cloud.insert(link);
                let reply: Box<serde_json::value::RawValue> =
                    link.exchange(&ToCloud::Call { session, call })?;
                client.send(&reply)?;
            }
        }
    }
    Ok(())
}

/// Passes events to a listener and its confirmations back, until one of the two ends.
fn listen(session: u64, mut client: Link, call: Call) -> io::Result<()> {
    let mut cloud = Link::dial(&cloud_socket())?;
    let subscribed: Subscribed = cloud.exchange(&ToCloud::Call { session, call })?;
    client.send(&subscribed)?;
    let (to_client, to_cloud) = (client.writer()?, cloud.writer()?);
    thread::spawn(move || cloud.pass_on(to_client));
    client.pass_on(to_cloud);
    Ok(())
}
