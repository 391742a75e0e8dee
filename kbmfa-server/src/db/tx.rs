//! The thin transaction that stores speak to: statements, values, rows, and one `now` for all of it.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};
use std::str::FromStr;

use super::Error;
use crate::clock::Time;

/// A value for a statement's `?1`, `?2` ..
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Integer(time.micros())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One transaction.
pub struct Tx<'a> {
    connection: &'a Connection,
    /// The moment of this transaction: everything in it happens at once.
    pub now: Time,
}

impl<'a> Tx<'a> {
    pub(super) fn new(connection: &'a Connection, now: Time) -> Self {
        Self { connection, now }
    }

    /// Runs one statement; returns how many rows it changed.
    ///
    /// # Errors
    /// What the database says.
    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let changed = statement.execute(rusqlite::params_from_iter(values))?;
        count_steps(&statement);
        Ok(changed)
    }

    /// All rows of a query.
    ///
    /// # Errors
    /// What the database or `read` says.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[Value],
        mut read: impl FnMut(&Row<'_, '_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(&Row(row))?);
        }
        drop(rows);
        count_steps(&statement);
        Ok(all)
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// What the database or `read` says.
    pub fn query_one<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnOnce(&Row<'_, '_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let first = rows.next()?.map(|row| read(&Row(row))).transpose();
        drop(rows);
        count_steps(&statement);
        first
    }
}

#[cfg(not(test))]
fn count_steps(_: &Statement<'_>) {}

#[cfg(test)]
fn count_steps(statement: &Statement<'_>) {
    steps::add(statement);
}

/// One row, read by the names of its columns.
pub struct Row<'a, 'b>(&'a rusqlite::Row<'b>);

impl Row<'_, '_> {
    /// A whole number.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is not one.
    pub fn integer(&self, column: &str) -> Result<i64, Error> {
        Ok(self.0.get(column)?)
    }

    /// A whole number, or NULL.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is neither.
    pub fn integer_or_null(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.0.get(column)?)
    }

    /// A text.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is not one.
    pub fn text(&self, column: &str) -> Result<String, Error> {
        Ok(self.0.get(column)?)
    }

    /// A text, or NULL.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is neither.
    pub fn text_or_null(&self, column: &str) -> Result<Option<String>, Error> {
        Ok(self.0.get(column)?)
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is not of bytes.
    pub fn blob(&self, column: &str) -> Result<Vec<u8>, Error> {
        Ok(self.0.get(column)?)
    }

    /// Bytes, or NULL.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is neither.
    pub fn blob_or_null(&self, column: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(column)?)
    }

    /// A moment.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is not a whole number.
    pub fn time(&self, column: &str) -> Result<Time, Error> {
        self.integer(column).map(Time::from_micros)
    }

    /// A moment, or NULL.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the column is neither.
    pub fn time_or_null(&self, column: &str) -> Result<Option<Time>, Error> {
        let micros: Option<i64> = self.0.get(column)?;
        Ok(micros.map(Time::from_micros))
    }

    /// A text that stands for something else: a name, a state.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it does not.
    pub fn parsed<T: FromStr>(&self, column: &str) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Error::BadValue(format!("{column} is {text:?}")))
    }

    /// [`Self::parsed`], or NULL.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it does not.
    pub fn parsed_or_null<T: FromStr>(&self, column: &str) -> Result<Option<T>, Error> {
        match self.text_or_null(column)? {
            Some(text) => {
                text.parse().map(Some).map_err(|_| Error::BadValue(format!("{column} is {text:?}")))
            }
            None => Ok(None),
        }
    }
}

/// How much work statements were, in steps of SQLite's virtual machine: the same on every computer.
#[cfg(test)]
pub(crate) mod steps {
    use rusqlite::{Statement, StatementStatus};
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<i64> = const { Cell::new(0) });

    pub(super) fn add(statement: &Statement<'_>) {
        let taken = i64::from(statement.reset_status(StatementStatus::VmStep));
        STEPS.set(STEPS.get() + taken);
    }

    /// Steps that `work` takes on this thread.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, i64) {
        let before = STEPS.get();
        let done = work();
        (done, STEPS.get() - before)
    }
}
