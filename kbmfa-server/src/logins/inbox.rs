//! Carries asks to the relay and answers back: posts what is wanted, reads what stands, and turns the
//! message into the verdict. One server at a time does this; whatever it leaves undone, the next one finds.

use std::time::Duration;

use super::state::State;
use super::store::{self, Ask, Login, Notice};
use super::{Error, Logins, service};
use crate::audit::{Head, Seal};
use crate::db::lease;
use crate::relay::{self, Hint, Message, Relay, text};

/// How often what is due is looked for, news or not: a step that failed is tried again after this.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs until the process ends.
pub async fn run(logins: Logins, relay: impl Relay, holder: lease::Holder) {
    loop {
        let looked_at = tokio::select! {
            hint = relay.hint() => Look::Posted(hint),
            () = logins.news_for_relay() => Look::Due,
            () = tokio::time::sleep(INTERVAL) => Look::Due,
        };
        if let Err(error) = round(&logins, &relay, &holder, looked_at).await {
            log::error!("relay {}: {error}", relay.name());
        }
    }
}

/// Which asks to look at.
enum Look {
    /// Those that need something done.
    Due,
    /// Those that stand unanswered: one of them, or all.
    Posted(Hint),
}

/// Tells people what they have not been told yet.
async fn tell(logins: &Logins, relay: &impl Relay, notices: Vec<Notice>) -> Result<(), Failure> {
    for Notice { id, destination, text } in notices {
        relay.tell(&destination.1, &text).await?;
        let posted =
            logins.db().write("notice.posted", move |tx| Ok::<_, Error>(store::notice_posted(tx, &id)?));
        posted.await?;
    }
    Ok(())
}

async fn round(logins: &Logins, relay: &impl Relay, holder: &lease::Holder, look: Look) -> Result<(), Error> {
    let (name, holder) = (relay.name(), holder.clone());
    let due = logins.db().write("inbox.due", move |tx| {
        if !lease::hold(tx, "relay", &holder)? {
            return Ok((Vec::new(), Vec::new()));
        }
        let asks = match &look {
            Look::Due => store::asks_due(tx, name)?,
            Look::Posted(Hint::One(id)) => store::asks_posted(tx, name, Some(id))?,
            Look::Posted(Hint::Any) => store::asks_posted(tx, name, None)?,
        };
        Ok::<_, Error>((asks, store::notices_due(tx, name)?))
    });
    let (asks, notices) = due.await?;
    if let Err(error) = tell(logins, relay, notices).await {
        log::error!("relay {name}: a notice: {error}");
    }
    for (ask, login) in asks {
        let id = login.id.clone();
        if let Err(error) = tend(logins, relay, ask, login).await {
            log::error!("relay {name}: login {}: {error}", id.short());
        }
    }
    Ok(())
}

/// Does for one ask what is due.
async fn tend(logins: &Logins, relay: &impl Relay, ask: Ask, login: Login) -> Result<(), Failure> {
    let posting =
        relay::Ask { id: ask.id.clone(), destination: ask.destination.1.clone(), text: words(&login) };
    match (login.life.state, &ask.message) {
        (State::Pending, None) => {
            let Message(message) = relay.post(&posting).await?;
            let name = relay.name();
            let recorded =
                logins.db().write("ask.posted", move |tx| service::ask_posted(tx, name, &ask, &message));
            Ok(recorded.await?)
        }
        (State::Pending, Some(message)) => {
            let standing = relay.answers(&posting, &Message(message.clone())).await?;
            let Some(decisive) = relay::tally(&standing).cloned() else { return Ok(()) };
            let (rules, id) = (logins.rules(), login.id.clone());
            let answered = logins.db().write("ask.answered", move |tx| {
                service::answer(tx, &rules, &id, &decisive.person, decisive.answer, None)
            });
            answered.await?;
            logins.ended(&login.id);
            Ok(())
        }
        (_, message) => {
            if let Some(message) = message {
                let verdict = verdict(logins, &login).await?;
                relay.amend(&posting, &Message(message.clone()), &verdict).await?;
            }
            let closed =
                logins.db().write("ask.closed", move |tx| Ok::<_, Error>(store::close_ask(tx, &ask.id)?));
            Ok(closed.await?)
        }
    }
}

/// Why an ask could not be tended. It stays open, and is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ours(#[from] Error),
    #[error(transparent)]
    Relay(#[from] relay::Error),
}

fn words(login: &Login) -> String {
    text::ask(&text::AskFacts {
        user: login.user().as_str(),
        machine: login.machine.as_str(),
        service: login.opened.service.as_str(),
        source: login.source.as_deref(),
        key: login.key.as_deref(),
        short: login.id.short(),
        window: login.life.expires_at.since(login.opened_at),
    })
}

async fn verdict(logins: &Logins, login: &Login) -> Result<String, Error> {
    let id = login.id.clone();
    let event = logins.db().read(move |tx| Ok::<_, Error>(store::last_event(tx, &id)?)).await?;
    let head = event.and_then(|(seq, seal)| Some(Head { seq, seal: Seal::from_bytes(&seal)? }));
    let head = head.unwrap_or(Head::EMPTY).to_string();
    Ok(text::verdict(&words(login), login.life.state.as_str(), login.decided_by.as_deref(), &head))
}
