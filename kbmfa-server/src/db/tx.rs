//! The transaction, as stores use it: statements, values, rows, and one `now` for all of it.

use std::cell::RefCell;
use std::str::FromStr;

use super::Error;
use super::engine::{Columns, Connection, Dialect};
use crate::clock::Time;

/// A value for a placeholder such as `?1`.
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

/// Statements that run before a commit, after all work that shares it.
pub(super) type Deferred = RefCell<Vec<(&'static str, Vec<Value>)>>;

/// One transaction.
pub struct Tx<'a> {
    connection: &'a dyn Connection,
    /// The time of this transaction, the same for everything in it.
    pub now: Time,
    /// `None` if no other work shares this transaction's commit.
    deferred: Option<&'a Deferred>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(connection: &'a dyn Connection, now: Time) -> Self {
        Self { connection, now, deferred: None }
    }

    pub(super) fn in_group(connection: &'a dyn Connection, now: Time, deferred: &'a Deferred) -> Self {
        Self { connection, now, deferred: Some(deferred) }
    }

    /// For the few statements that have no common form.
    pub fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    /// Runs one statement; returns how many rows it changed.
    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, Error> {
        self.connection.execute(sql, values)
    }

    /// Runs one statement right before the commit, together with the deferred ones of all work that shares
    /// the commit. Nothing in this transaction may read what it writes. If it fails, all that work fails.
    pub fn execute_before_commit(&self, sql: &'static str, values: Vec<Value>) -> Result<(), Error> {
        match self.deferred {
            Some(deferred) => deferred.borrow_mut().push((sql, values)),
            None => drop(self.execute(sql, &values)?),
        }
        Ok(())
    }

    /// Runs the deferred statements now.
    pub fn execute_deferred(&self) -> Result<(), Error> {
        let deferred = self.deferred.map(RefCell::take).unwrap_or_default();
        for (sql, values) in deferred {
            self.execute(sql, &values)?;
        }
        Ok(())
    }

    /// All rows of a query.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[Value],
        mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        self.connection.query(sql, values, &mut |row| {
            all.push(read(&Row(row))?);
            Ok(true)
        })?;
        Ok(all)
    }

    /// The first row of a query, if there is one.
    pub fn query_one<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let (mut read, mut first) = (Some(read), None);
        self.connection.query(sql, values, &mut |row| {
            first = read.take().map(|read| read(&Row(row))).transpose()?;
            Ok(false)
        })?;
        Ok(first)
    }
}

/// One row, read by the names of its columns.
pub struct Row<'a>(&'a dyn Columns);

impl Row<'_> {
    /// A whole number.
    pub fn integer(&self, column: &str) -> Result<i64, Error> {
        self.integer_or_null(column)?.ok_or_else(|| is_null(column))
    }

    /// A whole number, or NULL.
    pub fn integer_or_null(&self, column: &str) -> Result<Option<i64>, Error> {
        self.0.integer(column)
    }

    /// A text.
    pub fn text(&self, column: &str) -> Result<String, Error> {
        self.text_or_null(column)?.ok_or_else(|| is_null(column))
    }

    /// A text, or NULL.
    pub fn text_or_null(&self, column: &str) -> Result<Option<String>, Error> {
        self.0.text(column)
    }

    /// Bytes.
    pub fn blob(&self, column: &str) -> Result<Vec<u8>, Error> {
        self.blob_or_null(column)?.ok_or_else(|| is_null(column))
    }

    /// Bytes, or NULL.
    pub fn blob_or_null(&self, column: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.blob(column)
    }

    /// A moment.
    pub fn time(&self, column: &str) -> Result<Time, Error> {
        self.integer(column).map(Time::from_micros)
    }

    /// A moment, or NULL.
    pub fn time_or_null(&self, column: &str) -> Result<Option<Time>, Error> {
        Ok(self.integer_or_null(column)?.map(Time::from_micros))
    }

    /// A text, parsed as a name, a state or the like.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it cannot be parsed.
    pub fn parsed<T: FromStr>(&self, column: &str) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Error::BadValue(format!("{column} is {text:?}")))
    }

    /// [`Self::parsed`], or NULL.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it cannot be parsed.
    pub fn parsed_or_null<T: FromStr>(&self, column: &str) -> Result<Option<T>, Error> {
        match self.text_or_null(column)? {
            Some(text) => {
                text.parse().map(Some).map_err(|_| Error::BadValue(format!("{column} is {text:?}")))
            }
            None => Ok(None),
        }
    }
}

fn is_null(column: &str) -> Error {
    Error::BadValue(format!("{column} is NULL"))
}
