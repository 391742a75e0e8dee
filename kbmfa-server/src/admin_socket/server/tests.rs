//! Tests the server over socket pairs, as root. `tests/e2e` tests other peers.

use super::*;
use crate::db::testing::{Fixture, sqlite_fixture};
use crate::logins::Error;
use crate::logins::store::reach;
use crate::logins::tests::{alice, login_id};
use crate::machines::caller::Credential;
use crate::policy::Channel;
use crate::provision;
use crate::usecases::testing::{joined, rules};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// A server on a database of its own.
struct Bed {
    server: Server,
    changed: Arc<Notify>,
    reloads: mpsc::Receiver<Reload>,
    fixture: Fixture,
}

impl Bed {
    fn new() -> Self {
        let fixture = sqlite_fixture();
        let (broken, _) = mpsc::unbounded_channel();
        let (_, closing) = watch::channel(false);
        let logins = Logins::new(fixture.db.clone(), rules(), broken, closing);
        let (asking, reloads) = mpsc::channel(1);
        let changed = Arc::new(Notify::new());
        let settings = provision::settings::Settings::for_tests();
        let provisioner = Provisioner::new(logins.clone(), fixture.dir.path().to_owned(), settings);
        let server = Server::new(logins, provisioner, Arc::clone(&changed), asking, None, None);
        Self { server, changed, reloads, fixture }
    }

    fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.server.take(theirs).unwrap();
        ours
    }

    async fn ask(&self, text: &str) -> Result<Value, Refusal> {
        let mut stream = self.connect();
        frame::write(&mut stream, text.as_bytes(), REQUEST_MAX).await.unwrap();
        reply(&mut stream).await
    }
}

/// The reply, after which the connection must end.
async fn reply(stream: &mut UnixStream) -> Result<Value, Refusal> {
    let text = frame::read(stream, REPLY_MAX).await.unwrap().expect("a reply");
    let more = stream.read(&mut [0]).await;
    assert!(matches!(more, Ok(0) | Err(_)), "more than one reply");
    request::read_reply(&text)
}

#[tokio::test]
async fn a_connection_is_one_request_and_one_reply() {
    let bed = Bed::new();
    assert_eq!(bed.ask(r#"{"v":1,"verb":"notify"}"#).await, Ok(json!({})));
    bed.changed.notified().await;
    let list = bed.ask(r#"{"v":1,"verb":"login.list","limit":5}"#).await;
    assert_eq!(list, Ok(json!({ "logins": [], "is_cut": false })));
    let show = bed.ask(r#"{"v":1,"verb":"login.show","id":"3f9a"}"#).await.unwrap_err();
    assert_eq!(show.error, "there is no login 3f9a");
    let watched = bed.ask(r#"{"v":1,"verb":"login.watch","noticed":0}"#).await.unwrap();
    let seen = format!(r#"{{"v":1,"verb":"login.watch","noticed":0,"seen":{}}}"#, watched["head"]);
    assert_eq!((&watched["logins"], &bed.ask(&seen).await.unwrap()["logins"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn a_decision_needs_a_person_and_enough_of_the_id() {
    let bed = Bed::new();
    let alice = Access::Logins(Approver::console("alice").unwrap());
    let ask = async |access: &Access, id: &str| {
        let peer = Peer { who: "uid 2001".to_owned(), access: access.clone() };
        let text = format!(r#"{{"v":1,"verb":"login.approve","id":"{id}"}}"#);
        bed.server.answer(text.as_bytes(), &peer).await.unwrap_err().error
    };
    assert_eq!(ask(&alice, "3f9a").await, "\"3f9a\" is too short to decide about a login");
    assert_eq!(ask(&alice, "3f9a2c1e").await, "there is no login 3f9a2c1e");
    assert!(ask(&Access::Full, "3f9a2c1e").await.contains("do not answer logins over the socket"));
    assert!(ask(&Access::Nothing, "3f9a2c1e").await.contains("no group is set"));
}

#[tokio::test]
async fn a_rule_without_the_console_counts_no_answer_over_the_socket() {
    let bed = Bed::new();
    let db = bed.fixture.db.clone();
    let joined = tokio::task::spawn_blocking(move || joined(&db, "web1"));
    let credential = Credential::Own(joined.await.unwrap());
    let mut rules = rules();
    (rules.chat, rules.policy.default.channels) = (Some(Channel::Keybase), vec![Channel::Keybase]);
    let is_up = bed.fixture.db.write("test", |tx| Ok::<_, Error>(reach::say(tx, Channel::Keybase, None)?));
    is_up.await.unwrap();
    bed.server.0.logins.set_rules(rules);
    let (id, login) = (login_id(1), alice(1));
    bed.server.0.logins.open(credential, id.clone(), login).await.unwrap();
    let peer = Peer { who: "uid 2001".into(), access: Access::Logins(Approver::console("bob").unwrap()) };
    let text = format!(r#"{{"v":1,"verb":"login.approve","id":"{id}","reason":"it is me"}}"#);
    let refusal = bed.server.answer(text.as_bytes(), &peer).await.unwrap_err();
    let expected = "your answer did not count: console:bob is not among the approvers of this login";
    assert_eq!(refusal.error, expected);
}

#[tokio::test(start_paused = true)]
async fn silent_and_slow_connections_end_in_time_and_free_their_permits() {
    let bed = Bed::new();
    let mut held: Vec<UnixStream> = (0..64).map(|_| bed.connect()).collect();
    for stream in held.iter_mut().step_by(2) {
        stream.write_all(b"\0\0").await.unwrap();
    }
    let notify = r#"{"v":1,"verb":"notify"}"#;
    let mut full = bed.connect();
    assert_eq!(reply(&mut full).await.unwrap_err().error, "the server cannot take your request now");
    for stream in &mut held {
        assert_eq!(reply(stream).await.unwrap_err().error, "the request did not arrive in time");
    }
    assert_eq!(bed.ask(notify).await, Ok(json!({})));
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_before_it_comes() {
    let bed = Bed::new();
    let mut stream = bed.connect();
    stream.write_all(&[0, 1, 0, 1]).await.unwrap();
    let refusal = reply(&mut stream).await.unwrap_err().error;
    assert_eq!(refusal, "the request cannot be read: a frame has 65537 bytes; at most 65536 are allowed");
}

#[tokio::test(start_paused = true)]
async fn a_reload_returns_its_result_or_times_out() {
    let mut bed = Bed::new();
    let (first, second) = (bed.connect(), bed.connect());
    let outcomes = [Ok(Some("a note".to_owned())), Err("the file is wrong".to_owned())];
    let replies = [Ok(json!({ "note": "a note" })), Err(Refusal::new("the file is wrong"))];
    for ((mut stream, outcome), expected) in [first, second].into_iter().zip(outcomes).zip(replies) {
        frame::write(&mut stream, br#"{"v":1,"verb":"reload"}"#, REQUEST_MAX).await.unwrap();
        bed.reloads.recv().await.unwrap().send(outcome).unwrap();
        assert_eq!(reply(&mut stream).await, expected);
    }
    let given_up = bed.ask(r#"{"v":1,"verb":"reload"}"#).await.unwrap_err();
    assert_eq!(given_up.error, "the server did not finish reload in time; it may still do it");
}

#[test]
fn a_reply_that_is_too_long_becomes_a_refusal() {
    let frame = reply_frame(&Ok(Value::String("x".repeat(REPLY_MAX)))).unwrap();
    let refusal = request::read_reply::<Value>(frame.get(frame::HEAD..).unwrap()).unwrap_err();
    assert_eq!(refusal.error, "the reply is too long for the admin socket");
}

#[test]
fn refusals_do_not_flood_the_log_and_the_rest_is_counted() {
    let mut log = RefusalLog::default();
    let at = Duration::from_secs;
    let logged = (0..1000).filter(|_| log.next(at(1)).is_some()).count();
    assert_eq!(logged, 20);
    assert_eq!(log.next(at(59)), None);
    assert_eq!(log.next(at(61)), Some(981));
    assert_eq!(log.next(at(61)), Some(0));
}

#[test]
fn a_list_over_the_socket_is_bounded() {
    let of = |limit| within_bounds(ListQuery { limit, ..ListQuery::default() });
    assert!(of(1).is_ok() && of(1000).is_ok());
    for limit in [i64::MIN, -1, 0, 1001, i64::MAX] {
        assert!(of(limit).is_err(), "{limit}");
    }
}
