//! Finds the running server, if there is one, and asks whether it is ready.

use kbmfa_finding::Finding;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::is_well;
use crate::admin_socket::client;
use crate::config::Config;
use crate::db::Db;
use crate::logins::store::reach;
use crate::policy::Channel;

/// Longest time for `/readyz` to answer.
const READY_TIME: Duration = Duration::from_secs(5);

/// Most bytes of the answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Asks `/readyz` of a server that runs on this state; `None` if none runs.
pub(super) fn find(config: &Config) -> Option<io::Result<Ready>> {
    client::is_running(&config.state_dir).then(|| ask(config.http.status_listen))
}

/// An answer of `/readyz`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    is_ready: bool,
    said: String,
}

fn ask(at: SocketAddr) -> io::Result<Ready> {
    let mut stream = TcpStream::connect_timeout(&at, READY_TIME)?;
    stream.set_read_timeout(Some(READY_TIME))?;
    stream.set_write_timeout(Some(READY_TIME))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read(answer: &str) -> Option<Ready> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let said = body.trim().trim_start_matches("not ready: ").replace('\n', "; ");
    Some(Ready { is_ready: code == "200", said: kbmfa_proto::text::SafeText::new(&said).to_string() })
}

/// The findings about the server. A problem that was reported already is not repeated.
pub(super) fn findings(
    found: Option<io::Result<Ready>>,
    db: Option<&Db>,
    config: &Config,
    before: &[Finding],
) -> Vec<Finding> {
    let at = config.http.status_listen;
    let server = match found {
        None => return vec![none_runs(is_well(before))],
        Some(Err(error)) => {
            Finding::fault("server", format!("runs, but does not answer at {at}/readyz: {error}"))
                .fix("`journalctl -u kbmfa-server`, then `systemctl restart kbmfa-server`")
        }
        Some(Ok(Ready { is_ready: true, .. })) => Finding::ok("server", "runs, and is ready"),
        // The reason why it is not ready was reported already, with its fix.
        Some(Ok(_)) if !is_well(before) => {
            Finding::weak("server", "runs, but is not ready for the reason above")
        }
        Some(Ok(Ready { said, .. })) => {
            let fix = "`journalctl -u kbmfa-server` shows since when; if it lasts, run `systemctl restart \
                       kbmfa-server`";
            Finding::fault("server", format!("runs, but is not ready: {said}")).fix(fix)
        }
    };
    let mut findings = vec![server];
    findings.extend(db.and_then(|db| reached(db, config)));
    findings
}

fn none_runs(is_well: bool) -> Finding {
    let fault = Finding::fault("server", "none runs on this state");
    if is_well {
        fault.fix(
            "run `systemctl start kbmfa-server`; if it ends again, the end of `journalctl -u \
                   kbmfa-server` has the reason",
        )
    } else {
        fault.fix("fix the faults listed above; then run `systemctl start kbmfa-server`")
    }
}

/// The finding about whether people can be asked. `None` if they cannot: `/readyz` names that reason.
fn reached(db: &Db, config: &Config) -> Option<Finding> {
    if config.chat.is_none() {
        return Some(Finding::ok("relay", "console: `kbmfa-server login approve|deny` answers"));
    }
    match db.read_blocking(|tx| reach::why_down(tx, Channel::Keybase)) {
        Ok(None) => Some(Finding::ok("relay", "keybase reaches people")),
        Ok(Some(_)) => None,
        Err(error) => Some(Finding::fault("relay", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_readyz_reads_back() {
        let ready = |is_ready, said: &str| Some(Ready { is_ready, said: said.to_owned() });
        assert_eq!(read("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n"), ready(true, "ready"));
        let down = "HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: the outbox stands still\n";
        assert_eq!(read(down), ready(false, "the outbox stands still"));
        for nonsense in ["", "HTTP/1.1 200 OK", "SSH-2.0-x\r\n\r\n"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_start_is_not_told_to_start_while_something_stands_in_its_way() {
        let fix = |is_well| none_runs(is_well).fix.unwrap();
        assert!(fix(true).starts_with("run `systemctl start kbmfa-server`"));
        assert!(fix(false).starts_with("fix the faults listed above"));
    }
}
