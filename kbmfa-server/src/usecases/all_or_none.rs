//! Does the same action for each line of a file: for all of them, or for none.

use super::Error;
use crate::db;
use crate::employees;
use crate::grants;
use crate::keys;
use crate::logins;
use crate::machines;
use crate::pools;

/// Why nothing was done. The transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum NothingDone<T> {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The faults, each with the index of its item.
    #[error("{}", .0.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("\n"))]
    Faulty(Vec<(usize, Error)>),
    /// It was a dry run. These would have been the results.
    #[error("nothing was done, because it was a dry run")]
    DryRun(Vec<T>),
}

/// Does `action` for each item, and collects every fault. An action must check everything before its first write, so
/// that the next one can go on to find further faults.
///
/// # Errors
/// [`NothingDone`], with every fault.
pub fn all_or_none<N, T, E: Into<Error>>(
    all: &[N],
    dry_run: bool,
    action: impl Fn(&N) -> Result<T, E>,
) -> Result<Vec<T>, NothingDone<T>> {
    let (mut done, mut faults) = (Vec::new(), Vec::new());
    for (at, item) in all.iter().enumerate() {
        match action(item).map_err(|error| of_database(error.into())) {
            Ok(result) => done.push(result),
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(fault)) => faults.push((at, fault)),
        }
    }
    match (faults.is_empty(), dry_run) {
        (false, _) => Err(NothingDone::Faulty(faults)),
        (true, true) => Err(NothingDone::DryRun(done)),
        (true, false) => Ok(done),
    }
}

/// The database's error, if that is why the action failed: it is no fault of the item.
fn of_database(error: Error) -> Result<db::Error, Error> {
    match error {
        Error::Db(error)
        | Error::Machine(machines::Error::Db(error))
        | Error::Pool(pools::Error::Db(error) | pools::Error::Machine(machines::Error::Db(error)))
        | Error::Employee(employees::Error::Db(error))
        | Error::Key(keys::Error::Db(error) | keys::Error::Employee(employees::Error::Db(error)))
        | Error::Login(logins::Error::Db(error) | logins::Error::Machine(machines::Error::Db(error)))
        | Error::Grant(
            grants::Error::Db(error)
            | grants::Error::Machine(machines::Error::Db(error))
            | grants::Error::Employee(employees::Error::Db(error))
            | grants::Error::Pool(pools::Error::Db(error) | pools::Error::Machine(machines::Error::Db(error))),
        ) => Ok(error),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(items: &[i32], dry_run: bool) -> Result<Vec<i32>, NothingDone<i32>> {
        all_or_none(items, dry_run, |item| match item {
            0 => Err(Error::from(db::Error::ReadOnly)),
            1..=9 => Ok(item * 10),
            _ => Err(employees::Error::NothingNew(item.to_string()).into()),
        })
    }

    #[test]
    fn every_fault_is_found_with_its_place_and_nothing_is_done() {
        assert_eq!(act(&[1, 2], false).unwrap(), [10, 20]);
        assert!(matches!(act(&[1, 2], true), Err(NothingDone::DryRun(would)) if would == [10, 20]));
        for dry_run in [true, false] {
            let Err(NothingDone::Faulty(faults)) = act(&[10, 1, 11], dry_run) else { panic!() };
            assert_eq!(faults.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
        }
    }

    #[test]
    fn a_failing_database_is_no_fault_of_a_line_however_deep_it_is() {
        assert!(matches!(act(&[10, 0], false), Err(NothingDone::Db(_))));
        let deep = pools::Error::Machine(machines::Error::Db(db::Error::ReadOnly));
        assert!(of_database(grants::Error::Pool(deep).into()).is_ok());
    }
}
