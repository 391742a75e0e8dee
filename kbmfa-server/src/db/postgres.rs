//! PostgreSQL behind the trait of an engine. For unit tests only: they run every store on both engines.

use ::postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, NoTls, Statement};
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use super::engine::{self, Access, Columns, Dialect, ReadRow};
use super::error::EngineError;
use super::{Error, SCHEMA_VERSION, Value};
use crate::clock::{Clock, Time};

/// All schema steps, oldest first.
const STEPS: &[&str] = &[
    include_str!("../../migrations/postgres/0013_schema.sql"),
    include_str!("../../migrations/postgres/0014_console_asks.sql"),
    include_str!("../../migrations/postgres/0015_session_typed.sql"),
    include_str!("../../migrations/postgres/0016_roster.sql"),
    include_str!("../../migrations/postgres/0017_enrolment.sql"),
    include_str!("../../migrations/postgres/0018_host_keys.sql"),
    include_str!("../../migrations/postgres/0019_deliveries.sql"),
    include_str!("../../migrations/postgres/0020_gone_keys.sql"),
    include_str!("../../migrations/postgres/0021_adoption.sql"),
    include_str!("../../migrations/postgres/0022_own_login.sql"),
];

/// One schema of a PostgreSQL database, and the clock of its transactions.
pub(super) struct Postgres {
    url: String,
    schema: String,
    clock: Arc<dyn Clock>,
}

impl Postgres {
    pub(super) fn new(url: &str, schema: &str, clock: Arc<dyn Clock>) -> Self {
        Self { url: url.to_owned(), schema: schema.to_owned(), clock }
    }

    pub(super) fn open(&self) -> Result<Connection, Error> {
        let mut client = Client::connect(&self.url, NoTls)?;
        client.batch_execute(&format!("SET search_path TO {}", self.schema))?;
        Ok(Connection {
            client: RefCell::new(client),
            prepared: RefCell::default(),
            is_open: RefCell::new(false),
            clock: Arc::clone(&self.clock),
        })
    }
}

impl engine::Engine for Postgres {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn connect(&self, access: Access) -> Result<Box<dyn engine::Connection>, Error> {
        let connection = self.open()?;
        if access == Access::Read {
            connection.client.borrow_mut().batch_execute("SET default_transaction_read_only TO on")?;
        }
        Ok(Box::new(connection))
    }

    fn changes(&self) -> Result<Box<dyn engine::Changes>, Error> {
        Ok(Box::new(Changes(RefCell::new(Client::connect(&self.url, NoTls)?))))
    }

    fn migrate(&self) -> Result<(), Error> {
        let connection = self.open()?;
        let mut client = connection.client.borrow_mut();
        client.batch_execute(&format!("CREATE SCHEMA {}", self.schema))?;
        Ok(client.batch_execute(&STEPS.concat())?)
    }

    fn expect_current_schema(&self) -> Result<(), Error> {
        let connection = self.open()?;
        let row = connection.client.borrow_mut().query_one("SELECT version FROM schema_version", &[])?;
        match row.get(0) {
            SCHEMA_VERSION => Ok(()),
            found => Err(Error::WrongVersion { path: self.schema.clone(), found }),
        }
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn backup(&self, _: &Path) -> Result<Box<dyn engine::Connection>, Error> {
        Err(Error::BadValue("PostgreSQL has backups of its own".into()))
    }
}

pub(super) struct Connection {
    client: RefCell<Client>,
    prepared: RefCell<HashMap<String, Statement>>,
    is_open: RefCell<bool>,
    clock: Arc<dyn Clock>,
}

impl Connection {
    fn run(&self, statement: &str) -> Result<(), Error> {
        Ok(self.client.borrow_mut().batch_execute(statement)?)
    }

    /// Prepares a statement, once for each text.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(found) = self.prepared.borrow().get(sql) {
            return Ok(found.clone());
        }
        let statement = self.client.borrow_mut().prepare(&numbered(sql))?;
        self.prepared.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Replaces each `?1` by `$1`, except inside quotes.
fn numbered(sql: &str) -> String {
    let mut quoted = false;
    let replaced = sql.chars().map(|c| {
        quoted ^= c == '\'';
        if c == '?' && !quoted { '$' } else { c }
    });
    replaced.collect()
}

impl engine::Connection for Connection {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn begin_write(&self) -> Result<(), Error> {
        self.run("BEGIN; LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE")?;
        self.is_open.replace(true);
        Ok(())
    }

    fn begin_read(&self) -> Result<(), Error> {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        self.is_open.replace(true);
        Ok(())
    }

    fn is_in_transaction(&self) -> bool {
        *self.is_open.borrow()
    }

    fn commit(&self) -> Result<(), Error> {
        self.is_open.replace(false);
        self.run("COMMIT")
    }

    fn roll_back(&self) {
        self.is_open.replace(false);
        let _ = self.run("ROLLBACK");
    }

    fn savepoint(&self) -> Result<(), Error> {
        self.run("SAVEPOINT work")
    }

    fn release_savepoint(&self) -> Result<(), Error> {
        self.run("RELEASE work")
    }

    fn roll_back_to_savepoint(&self) -> Result<(), Error> {
        self.run("ROLLBACK TO work; RELEASE work")
    }

    fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, Error> {
        let statement = self.prepare(sql)?;
        let values: Vec<_> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let changed = self.client.borrow_mut().execute(&statement, &values)?;
        Ok(usize::try_from(changed).unwrap())
    }

    fn query(&self, sql: &str, values: &[Value], read: &mut ReadRow<'_>) -> Result<(), Error> {
        let statement = self.prepare(sql)?;
        let values: Vec<_> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = self.client.borrow_mut().query(&statement, &values)?;
        for row in &rows {
            if !read(&Row(row))? {
                break;
            }
        }
        Ok(())
    }
}

struct Row<'a>(&'a ::postgres::Row);

impl Row<'_> {
    fn get<'a, T: FromSql<'a>>(&'a self, column: &str) -> Result<Option<T>, Error> {
        Ok(self.0.try_get(column)?)
    }
}

impl Columns for Row<'_> {
    fn integer(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.get::<Whole>(column)?.map(|whole| whole.0))
    }

    fn text(&self, column: &str) -> Result<Option<String>, Error> {
        self.get(column)
    }

    fn blob(&self, column: &str) -> Result<Option<Vec<u8>>, Error> {
        self.get(column)
    }
}

/// A whole number of any of PostgreSQL's types: a literal `1` is an `int4`, and a comparison is a `bool`.
struct Whole(i64);

impl<'a> FromSql<'a> for Whole {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT8 => i64::from_sql(kind, raw)?,
            Type::INT4 => i32::from_sql(kind, raw)?.into(),
            _ => bool::from_sql(kind, raw)?.into(),
        }))
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::BOOL].contains(kind)
    }
}

struct Changes(RefCell<Client>);

impl engine::Changes for Changes {
    fn version(&self) -> Result<i64, Error> {
        let sql = "SELECT hashtextextended(pg_current_snapshot()::text, 0)";
        Ok(self.0.borrow_mut().query_one(sql, &[])?.get(0))
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
            Self::Blob(bytes) => bytes.to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl From<::postgres::Error> for Error {
    fn from(error: ::postgres::Error) -> Self {
        Self::Engine(EngineError::new(error, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::statements;
    use crate::db::testing::{postgres_url, sqlite_fixture};
    use std::collections::BTreeSet;

    /// Runs `work` with a connection to a fresh schema, if there is a PostgreSQL server. `make unit` starts
    /// one.
    fn on_postgres(work: impl FnOnce(&Connection)) {
        let Some(url) = postgres_url() else {
            eprintln!(
                "not tried: KBMFA_TEST_POSTGRES does not say where a server is; `make unit` starts one"
            );
            return;
        };
        let fixture = crate::db::testing::postgres_fixture(url);
        let name = fixture.schema_name();
        work(
            &Postgres::new(&postgres_url().unwrap(), &name, Arc::new(fixture.clock.clone())).open().unwrap(),
        );
    }

    #[test]
    fn every_statement_is_understood() {
        on_postgres(|connection| {
            let all = statements::all(Dialect::Postgres);
            let faults = all.iter().filter_map(|(file, sql)| {
                connection.prepare(sql).err().map(|error| format!("{file}: {error:?}\n    {sql}"))
            });
            let faults: Vec<_> = faults.collect();
            assert!(faults.is_empty(), "\n{}", faults.join("\n"));
        });
    }

    #[test]
    fn both_engines_have_the_same_tables_and_columns() {
        on_postgres(|connection| {
            let mut of_postgres = BTreeSet::new();
            let sql = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
                       WHERE table_schema = current_schema() AND table_name <> 'event_words'";
            for row in connection.client.borrow_mut().query(sql, &[]).unwrap() {
                let get = |n| row.get::<_, String>(n);
                let kind = match get(2).as_str() {
                    "bigint" => "INTEGER",
                    "bytea" => "BLOB",
                    "text" => "TEXT",
                    other => panic!("{}.{} is {other}", get(0), get(1)),
                };
                of_postgres.insert((get(0), get(1), kind.to_owned(), get(3) == "NO"));
            }
            let of_sqlite = sqlite_fixture()
                .db
                .read_blocking(|tx| {
                    let sql = "SELECT t.name AS tab, c.name AS col, c.type AS kind, c.\"notnull\" OR c.pk AS filled
                               FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'";
                    tx.query(sql, &[], |row| {
                        let filled = row.integer("filled")? != 0;
                        Ok((row.text("tab")?, row.text("col")?, row.text("kind")?, filled))
                    })
                })
                .unwrap();
            let is_common = |table: &str| !table.starts_with("event_words") || table == "event_words_state";
            let of_sqlite: BTreeSet<_> =
                of_sqlite.into_iter().filter(|(table, ..)| is_common(table)).collect();
            of_postgres.retain(|(table, ..)| is_common(table) && table != "schema_version");
            assert_eq!(of_sqlite, of_postgres);
        });
    }
}
