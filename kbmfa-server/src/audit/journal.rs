//! The events that also go to the server's own log (`journalctl -u kbmfa-server`): login attempts and how
//! they ended, machines that joined, callers that were refused. Pure.

use serde_json::Value;

use super::Kind;
use super::store::Recorded;

/// The line of an event; `None` for kinds that are not logged.
pub fn line(event: &Recorded) -> Option<String> {
    let body: Value = serde_json::from_str(&event.body).unwrap_or_default();
    let detail = |name: &str| body.get("detail")?.get(name)?.as_str().map(str::to_owned);
    let with =
        |word: &str, text: Option<String>| text.map(|text| format!("{word}{text}")).unwrap_or_default();
    let who = || {
        let account = event.account.as_deref().unwrap_or("?");
        format!("{account} on {}", event.machine.as_deref().unwrap_or("?"))
    };
    let login = |what: &str| {
        let id = event.login.as_deref().map_or("?", |id| id.get(..8).unwrap_or(id));
        format!("login {id}: {what}")
    };
    let end = |what: &str| {
        let why = with(": ", detail("reason"));
        Some(login(&format!("{what} by {}{why} ({})", event.actor, who())))
    };
    match event.kind {
        Kind::LoginOpened => {
            let (service, source) = (with(" by ", detail("service")), with(" from ", detail("source")));
            Some(login(&format!("{}{service}{source}{}", who(), with(", verdict: ", detail("verdict")))))
        }
        Kind::LoginApproved => end("approved"),
        Kind::LoginDenied => end("denied"),
        Kind::LoginExpired => end("expired"),
        Kind::LoginCancelled => end("cancelled"),
        Kind::LoginLapsed => end("approval not collected in time, noticed"),
        Kind::MachineJoined => Some(format!("machine {} joined", event.machine.as_deref().unwrap_or("?"))),
        Kind::CallerRefused => {
            let times = with(", earlier times: ", detail("times"));
            Some(format!("refused a caller: {}{}{times}", detail("what")?, with(" from ", detail("address"))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(kind: Kind, detail: &Value) -> Option<String> {
        line(&Recorded {
            kind,
            actor: "keybase:bob".into(),
            login: Some("3f9a2c1e00000000".into()),
            machine: Some("web1".into()),
            account: Some("alice".into()),
            body: json!({ "detail": detail }).to_string(),
        })
    }

    #[test]
    fn a_login_leaves_a_line_when_it_comes_and_when_it_ends() {
        let opened = json!({ "service": "sshd", "source": "192.0.2.7", "verdict": "ask" });
        let all = [
            told(Kind::LoginOpened, &opened),
            told(Kind::LoginApproved, &json!({})),
            told(Kind::LoginDenied, &json!({ "reason": "suspended" })),
            told(Kind::LoginExpired, &Value::Null),
        ];
        insta::assert_snapshot!(all.map(Option::unwrap).join("\n"), @r"
        login 3f9a2c1e: alice on web1 by sshd from 192.0.2.7, verdict: ask
        login 3f9a2c1e: approved by keybase:bob (alice on web1)
        login 3f9a2c1e: denied by keybase:bob: suspended (alice on web1)
        login 3f9a2c1e: expired by keybase:bob (alice on web1)
        ");
    }

    #[test]
    fn a_refused_join_leaves_a_line_with_its_address() {
        let refused = json!({ "what": "join-token", "address": "192.0.2.9" });
        assert_eq!(
            told(Kind::CallerRefused, &refused).unwrap(),
            "refused a caller: join-token from 192.0.2.9"
        );
        assert_eq!(told(Kind::CallerRefused, &Value::Null), None, "an event that says nothing");
        assert_eq!(told(Kind::PoolAdded, &json!({ "pool": "web" })), None);
    }
}
