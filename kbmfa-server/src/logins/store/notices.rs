//! The SQL of notices: messages to people that need no answer.

use std::time::Duration;

use super::super::notice_texts;
use crate::clock::Time;
use crate::db::{Error, Row, Tx, Value};
use crate::policy::Channel;

/// Maximum age of a notice that could not be posted. After that it is dropped; its event stays in the audit
/// log.
const WORTH_TELLING: Duration = Duration::from_secs(6 * 60 * 60);

/// How important a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Important.
    Alarm,
    /// For information: after the first few, more of them say nothing new.
    News,
}

/// Maximum numbers of notices that wait to be posted: of news, and of alarms.
const WAITING_MAX: (i64, i64) = (200, 1_000);

/// Maximum number of notices that one machine may cause per pause, and of its notices that wait to be posted.
/// Further ones are only counted, so that a stolen machine credential cannot flood people.
const QUOTA_MAX: i64 = 30;

/// What happens to a notice whose subject had another notice within the pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// Drop it.
    Dropped,
    /// Count it, and post the number when the pause is over.
    Counted,
}

/// What a notice is about, and how important it is.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Within the pause there is one notice per subject.
    pub subject: &'a str,
    /// How important it is.
    pub worth: Worth,
    /// How to treat a repetition.
    pub repeated: Repeated,
    /// The quota of the machine that caused it, if one did.
    pub quota: Option<&'a str>,
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Opaque id.
    pub id: String,
    /// The channel.
    pub channel: Channel,
    /// The destination in that channel.
    pub destination: String,
    /// The text.
    pub text: String,
    /// The chat's id of the message that it answers.
    pub reply_to: Option<String>,
}

/// Inserts a notice. Does nothing, or only counts it, if there was one about the same subject within the
/// pause, or if its machine has caused too many. True if this notice will be posted.
pub(in crate::logins) fn raise(
    tx: &Tx<'_>,
    notice: &Notice,
    about: About<'_>,
    pause: Duration,
) -> Result<bool, Error> {
    let since = tx.now.minus(pause);
    let sql = "SELECT 1 FROM notice WHERE subject = ?1 AND created_at > ?2 LIMIT 1";
    let is_repeated = tx.query_one(sql, &[about.subject.into(), since.into()], |_| Ok(()))?.is_some();
    if is_repeated && about.repeated == Repeated::Dropped {
        return Ok(false);
    }
    if let Some(quota) = about.quota
        && (is_repeated || is_used_up(tx, quota, since)?)
    {
        count_in(tx, notice, quota, tx.now + pause)?;
        return Ok(false);
    }
    if is_repeated || is_crowded(tx, notice, about.worth)? {
        return Ok(false);
    }
    insert(tx, notice, (about.subject, about.quota), tx.now)?;
    Ok(true)
}

fn is_used_up(tx: &Tx<'_>, quota: &str, since: Time) -> Result<bool, Error> {
    let caused = "SELECT count(*) AS n FROM (SELECT 1 FROM notice WHERE quota = ?1 AND created_at > ?2 LIMIT ?3) AS found";
    let waiting = "SELECT count(*) AS n FROM (SELECT 1 FROM notice WHERE quota = ?1 AND posted_at IS NULL AND due_at > ?2
                   LIMIT ?3) AS found";
    let values = |since: Time| [quota.into(), since.into(), QUOTA_MAX.into()];
    Ok(count(tx, caused, &values(since))? >= QUOTA_MAX
        || count(tx, waiting, &values(tx.now.minus(WORTH_TELLING)))? >= QUOTA_MAX)
}

fn is_crowded(tx: &Tx<'_>, notice: &Notice, worth: Worth) -> Result<bool, Error> {
    let max = if worth == Worth::News { WAITING_MAX.0 } else { WAITING_MAX.1 };
    let sql = "SELECT count(*) AS n FROM (SELECT 1 FROM notice WHERE relay = ?1 AND posted_at IS NULL AND due_at > ?2
               LIMIT ?3) AS found";
    let values = [notice.channel.as_str().into(), tx.now.minus(WORTH_TELLING).into(), max.into()];
    Ok(count(tx, sql, &values)? >= max)
}

fn count(tx: &Tx<'_>, sql: &str, values: &[Value]) -> Result<i64, Error> {
    Ok(tx.query_one(sql, values, |row| row.integer("n"))?.unwrap_or(0))
}

/// Counts a notice in the one that stands for all further notices of its machine. If that one is posted
/// already, or does not exist, inserts it with this notice's text.
fn count_in(tx: &Tx<'_>, notice: &Notice, quota: &str, due_at: Time) -> Result<(), Error> {
    let subject = format!("others {quota}");
    // Only the newest can be unposted.
    let sql =
        "UPDATE notice SET others = others + 1 WHERE (posted_at IS NULL OR posted_at > ?3) AND due_at > ?2
               AND id = (SELECT id FROM notice WHERE subject = ?1 ORDER BY created_at DESC LIMIT 1)";
    if tx.execute(sql, &[subject.as_str().into(), tx.now.minus(WORTH_TELLING).into(), tx.now.into()])? == 0 {
        insert(tx, notice, (&subject, None), due_at)?;
    }
    Ok(())
}

/// Inserts a notice. One for the console is not posted: `login watch` shows it once it is due.
fn insert(
    tx: &Tx<'_>,
    notice: &Notice,
    (subject, quota): (&str, Option<&str>),
    due_at: Time,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO notice (id, relay, destination, subject, text, created_at, reply_to, quota, due_at, posted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        &[
            notice.id.as_str().into(),
            notice.channel.as_str().into(),
            notice.destination.as_str().into(),
            subject.into(),
            notice.text.as_str().into(),
            tx.now.into(),
            notice.reply_to.clone().into(),
            quota.into(),
            due_at.into(),
            (notice.channel == Channel::Console).then_some(due_at).into(),
        ],
    )?;
    Ok(())
}

/// Notices for a chat that are due and not posted, oldest first. Those that are too old are left out.
pub fn due(tx: &Tx<'_>, chat: Channel) -> Result<Vec<Notice>, Error> {
    let sql = "SELECT id, relay, destination, text, reply_to, others FROM notice
               WHERE relay = ?1 AND posted_at IS NULL AND due_at > ?2 AND due_at <= ?3 ORDER BY due_at LIMIT 1000";
    tx.query(sql, &[chat.as_str().into(), tx.now.minus(WORTH_TELLING).into(), tx.now.into()], notice)
}

/// Notices that came due after that time, oldest first, with their times.
///
/// # Errors
/// What the database says.
pub fn after(tx: &Tx<'_>, after: Time) -> Result<Vec<(Time, Notice)>, Error> {
    let sql = "SELECT id, relay, destination, text, reply_to, others, due_at FROM notice
               WHERE due_at > ?1 AND due_at <= ?2 ORDER BY due_at LIMIT 1000";
    tx.query(sql, &[after.into(), tx.now.into()], |row| Ok((row.time("due_at")?, notice(row)?)))
}

/// Marks a notice as posted.
pub fn posted(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE notice SET posted_at = ?2 WHERE id = ?1", &[id.into(), tx.now.into()])?;
    Ok(())
}

fn notice(row: &Row<'_>) -> Result<Notice, Error> {
    let (channel, destination) = (row.parsed("relay")?, row.text("destination")?);
    let reply_to = row.text_or_null("reply_to")?;
    let text = notice_texts::with_others(&row.text("text")?, row.integer("others")?);
    Ok(Notice { id: row.text("id")?, channel, destination, text, reply_to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, fixture};

    const PAUSE: Duration = Duration::from_secs(600);

    /// Raises these notices, each with the subject that `subject` returns. Returns how many of them will be
    /// posted one by one.
    fn raise_all(
        fixture: &Fixture,
        numbers: std::ops::Range<u32>,
        repeated: Repeated,
        subject: impl Fn(u32) -> String + Send + 'static,
    ) -> usize {
        let raised = fixture.db.write_blocking("raise", move |tx| {
            let one = |n: u32| {
                let (channel, destination) = (Channel::Keybase, "acme#general".to_owned());
                let (id, text) = (n.to_string(), format!("notice {n}"));
                let notice = Notice { id, channel, destination, text, reply_to: None };
                let about = About { subject: &subject(n), worth: Worth::Alarm, repeated, quota: Some("m1") };
                raise(tx, &notice, about, PAUSE)
            };
            numbers.map(one).collect::<Result<Vec<bool>, Error>>()
        });
        raised.unwrap().into_iter().filter(|raised| *raised).count()
    }

    /// Posts what is due, and returns the texts.
    fn post_all(fixture: &Fixture) -> Vec<String> {
        let posted = fixture.db.write_blocking("post", |tx| {
            let due = due(tx, Channel::Keybase)?;
            due.iter().try_for_each(|notice| posted(tx, &notice.id))?;
            Ok::<_, Error>(due.into_iter().map(|notice| notice.text).collect())
        });
        posted.unwrap()
    }

    #[test]
    fn nine_thousand_alarms_of_one_machine_become_two_messages_one_with_a_number() {
        let fixture = fixture();
        assert_eq!(raise_all(&fixture, 0..9_800, Repeated::Counted, |_| "let-in m1".into()), 1);
        assert_eq!(post_all(&fixture), ["notice 0"]);
        fixture.clock.advance(PAUSE);
        let expected = "notice 1\nThis machine caused 9798 more messages. `kbmfa-server audit search` shows all of them.";
        assert_eq!(post_all(&fixture), [expected]);
        assert!(post_all(&fixture).is_empty());
    }

    #[test]
    fn a_machine_that_says_something_else_each_time_cannot_flood_people_either() {
        let fixture = fixture();
        let subject = |n| format!("too-many-asks m1 user{n}");
        let raised = raise_all(&fixture, 0..500, Repeated::Dropped, subject);
        assert_eq!(raised, usize::try_from(QUOTA_MAX).unwrap());
        assert_eq!(post_all(&fixture).len(), raised);
        fixture.clock.advance(PAUSE);
        let rest = post_all(&fixture);
        assert_eq!(rest.len(), 1);
        assert!(rest[0].contains("469 more messages"), "{rest:?}");
    }

    #[test]
    fn notices_that_nobody_could_be_told_in_time_do_not_silence_their_machine_for_ever() {
        let fixture = fixture();
        raise_all(&fixture, 0..500, Repeated::Dropped, |n| format!("subject {n}"));
        fixture.clock.advance(WORTH_TELLING + PAUSE);
        assert!(post_all(&fixture).is_empty());
        assert_eq!(raise_all(&fixture, 1_000..1_001, Repeated::Counted, |_| "let-in m1".into()), 1);
        assert_eq!(post_all(&fixture), ["notice 1000"]);
    }
}
