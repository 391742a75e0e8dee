//! The cloud's socket. Each connection has a thread, which executes its lines in order.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::world::Shared;
use super::{listeners, orders, requests, session};
use crate::link::Link;
use crate::wire::{Call, ToCloud};

/// Listens at this socket. Replaces the socket of a cloud that has ended, but not that of one that runs.
pub(crate) fn listen(socket: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(socket).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "a cloud is already there"));
    }
    std::fs::remove_file(socket).ok();
    let listener = UnixListener::bind(socket)?;
    // The programs under test may run as another account.
    std::fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    Ok(listener)
}

pub(crate) fn accept(listener: &UnixListener) {
    let shared = Arc::new(Shared::default());
    for stream in listener.incoming().flatten() {
        let shared = Arc::clone(&shared);
        thread::spawn(move || Link::over(stream).and_then(|mut link| connection(&shared, &mut link)));
    }
}

fn connection(shared: &Arc<Shared>, link: &mut Link) -> io::Result<()> {
    while let Some(line) = link.receive()? {
        match line {
            ToCloud::Note(note) => link.send(&session::note(shared, note))?,
            ToCloud::Serve { home, pid } => session::serve(shared, link, home, pid)?,
            ToCloud::Call { session, call } => obey_call(shared, link, session, call)?,
            ToCloud::Order(order) => link.send(&orders::obey(shared, order))?,
        }
    }
    Ok(())
}

fn obey_call(shared: &Arc<Shared>, link: &mut Link, session: u64, call: Call) -> io::Result<()> {
    match call {
        Call::Ping | Call::Stop => link.send(&()),
        Call::Who => link.send(&session::who(&shared.lock(), session)),
        Call::Login { username, paper_key } => {
            link.send(&session::login(shared, session, &username, &paper_key))
        }
        Call::Logout => {
            shared.change(|world| world.sessions.get_mut(&session).and_then(|session| session.login.take()));
            link.send(&())
        }
        Call::Api(request) => link.send(&requests::answer(shared, session, &request)),
        Call::Listen(subscription) => listeners::serve(shared, link, session, subscription),
    }
}
