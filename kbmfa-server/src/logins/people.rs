//! The people whose login it is: the owner of the account, under each of its names, the caller of su or sudo, and
//! the owner of the key. The first two are found among the employees by these names. A name as typed is used only if the module did
//! not resolve it.

use kbmfa_proto::login::{Account, OpenLogin};
use kbmfa_proto::names::UserName;

use super::rules::Rules;
use super::store::reach;
use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::employees::State;
use crate::employees::service::{behind, person};
use crate::employees::store::{Employee, by_unix_name};
use crate::keys::service::Owned;
use crate::policy::{Membership, Person, Reach};

/// Microseconds of a day, the unit of the shadow file.
const DAY_US: i64 = 86_400_000_000;

/// The people, each once.
pub(super) fn about(tx: &Tx<'_>, opened: &OpenLogin, key: Option<&Owned>) -> Result<Vec<Person>, Error> {
    let mut names: Vec<&UserName> = opened.accounts().collect();
    names.sort();
    names.dedup();
    let mut people = names.into_iter().map(|name| behind(tx, name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = plainer(opened) {
        // A guessed spelling can block a login, but it identifies nobody.
        people.push(match behind(tx, &name)? {
            Person::Employee(_) | Person::Unknown => Person::Unknown,
            out => out,
        });
    }
    // The owner of the key can block a login, and is one of the people of an employee's account. An account of nobody
    // stays unknown: what is refused for those must not depend on the key.
    let is_known = people.iter().any(|one| matches!(one, Person::Employee(_)));
    let owner = key.map(|owned| person(&owned.owner));
    people.extend(owner.filter(|owner| is_known || !matches!(owner, Person::Employee(_))));
    Ok(people)
}

/// The employees among these people, also one that a guessed spelling finds, and the owner of the key. Nobody logs in where
/// a grant is required and one of them has none.
pub(super) fn employees(
    tx: &Tx<'_>,
    opened: &OpenLogin,
    key: Option<&Owned>,
) -> Result<Vec<Employee>, Error> {
    let mut names: Vec<UserName> = opened.accounts().cloned().chain(plainer(opened)).collect();
    names.sort();
    names.dedup();
    let found = names.iter().map(|name| by_unix_name(tx, name)).collect::<Result<Vec<_>, _>>()?;
    let owner = key.map(|owned| owned.owner.clone());
    Ok(found.into_iter().flatten().chain(owner).filter(|employee| employee.state != State::Removed).collect())
}

/// Whether all of these people are members, and whether the chat is up.
pub(super) fn by_chat(tx: &Tx<'_>, rules: &Rules, people: &[Person]) -> Result<(Membership, Reach), Error> {
    let (mut membership, reach) = by_the_chat(tx, rules, &Person::Unknown)?;
    for (n, person) in people.iter().filter(|person| matches!(person, Person::Employee(_))).enumerate() {
        let (own, _) = by_the_chat(tx, rules, person)?;
        membership = if n == 0 { own } else { membership.and(own) };
    }
    Ok((membership, reach))
}

/// Whether this person is a member, if `require_member` is set, and whether the chat is up.
///
/// # Errors
/// What the database says.
pub fn by_the_chat(tx: &Tx<'_>, rules: &Rules, person: &Person) -> Result<(Membership, Reach), Error> {
    let Some(chat) = rules.chat else { return Ok((Membership::Unknown, Reach::Up)) };
    let membership = match person {
        Person::Employee(names) if rules.policy.require_member => reach::membership(tx, chat, names)?,
        _ => Membership::Unknown,
    };
    Ok((membership, reach::reach(tx, chat, rules.grace.listening_since)?))
}

/// Whether the account exists, by the machine's report. An expired one counts as missing.
pub(super) fn account(opened: &OpenLogin, now: Time) -> Account {
    if has_expired(opened, now) { Account::Missing } else { opened.account }
}

/// True if the account's last day is over, by the server's clock.
pub(super) fn has_expired(opened: &OpenLogin, now: Time) -> bool {
    opened.expires_day.is_some_and(|day| now.micros().div_euclid(DAY_US) >= day)
}

/// For a module that does not resolve accounts: the plain account name that this name may be another spelling
/// of, without a domain and in lower case.
fn plainer(opened: &OpenLogin) -> Option<UserName> {
    let typed = opened.user.as_str();
    let without = typed.rsplit('\\').next().unwrap_or(typed);
    let plain = without.split('@').next().unwrap_or(without).to_lowercase();
    let plain = (opened.is_unresolved() && plain != typed).then(|| plain.parse().ok());
    plain.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logins::tests::alice;

    fn typed(name: &str, uid: Option<u32>) -> OpenLogin {
        OpenLogin { user: name.parse().unwrap(), uid, ..alice(1) }
    }

    #[test]
    fn only_a_name_that_is_not_resolved_is_made_plainer() {
        let check = |name: &str, expected: Option<&str>| {
            let found = plainer(&typed(name, None));
            assert_eq!(found.as_ref().map(UserName::as_str), expected, "{name}");
            assert_eq!(plainer(&typed(name, Some(1000))), None, "{name}");
        };
        check("alice", None);
        check("Alice", Some("alice"));
        check("ALICE@example.com", Some("alice"));
        check("EXAMPLE\\alice", Some("alice"));
        check("@example.com", None);
    }

    #[test]
    fn an_account_expires_at_the_beginning_of_its_day() {
        let opened = OpenLogin { expires_day: Some(20_000), ..alice(1) };
        let last = Time::from_micros(20_000 * DAY_US - 1);
        assert_eq!(account(&opened, last), Account::Known);
        assert_eq!(account(&opened, Time::from_micros(20_000 * DAY_US)), Account::Missing);
        assert_eq!(account(&alice(1), Time::from_micros(i64::MAX)), Account::Known);
    }
}
