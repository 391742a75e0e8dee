//! Guarantees of the database that every caller relies on.

use super::*;

fn insert(name: &'static str) -> impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static {
    move |tx| {
        tx.execute("INSERT INTO pool (id, name, created_at) VALUES (?1, ?1, 0)", &[name.into()])?;
        Ok(())
    }
}

fn pools(db: &Db) -> Vec<String> {
    db.read_blocking(|tx| tx.query("SELECT name FROM pool ORDER BY name", &[], |row| row.text("name")))
        .unwrap()
}

#[test]
fn failed_work_leaves_nothing_behind_and_does_not_affect_other_work() {
    let fixture = testing::fixture();
    fixture.db.write_blocking("good", insert("good")).unwrap();
    let failed = fixture.db.write_blocking("bad", |tx| {
        insert("bad")(tx)?;
        Err::<(), _>(Error::BadValue("on purpose".into()))
    });
    assert!(matches!(failed, Err(Error::BadValue(_))));
    assert_eq!(pools(&fixture.db), ["good"]);
}

#[test]
fn many_writers_share_commits_and_each_gets_its_own_answer() {
    let fixture = testing::fixture();
    testing::block_on(async {
        let writes: Vec<_> = (0..200_i64)
            .map(|n| {
                let db = fixture.db.clone();
                tokio::spawn(async move {
                    db.write("row", move |tx| {
                        let name = format!("p{n}");
                        tx.execute(
                            "INSERT INTO pool (id, name, created_at) VALUES (?1, ?1, 0)",
                            &[name.into()],
                        )?;
                        Ok::<_, Error>(n)
                    })
                    .await
                })
            })
            .collect();
        for (n, write) in (0..).zip(writes) {
            assert_eq!(write.await.unwrap().unwrap(), n);
        }
        let (jobs, commits) = fixture.db.counters();
        assert_eq!(jobs, 200);
        assert!(commits < jobs, "{commits} commits for {jobs} jobs");
    });
}

/// Work that notes its name, and queues more work at its end.
fn noted(
    db: &Db,
    done: &Done,
    priority: Priority,
    name: &'static str,
    then: impl FnOnce(&Db) + Send + 'static,
) {
    let (done, its_db) = (Arc::clone(done), db.clone());
    let work = move |_: &Tx<'_>| {
        done.with(|done| done.push(name));
        then(&its_db);
        Ok::<_, Error>(())
    };
    drop(db.writer.submit(name, (priority, When::Writable), work).unwrap());
}

type Done = Arc<Shared<Vec<&'static str>>>;

#[test]
fn urgent_work_passes_bulk_work_that_waits_and_neither_starves() {
    let fixture = testing::fixture();
    let (db, done) = (&fixture.db, Done::default());
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    noted(db, &done, Priority::Urgent, "first", move |_| {
        begin.send(()).unwrap();
        opened.recv().unwrap();
    });
    begun.recv().unwrap();
    for name in ["b1", "b2", "b3", "b4"] {
        noted(db, &done, Priority::Bulk, name, |_| ());
    }
    // Urgent work that arrives again and again while other urgent work is done.
    let more = Arc::clone(&done);
    noted(db, &done, Priority::Urgent, "u1", move |db| {
        let again = Arc::clone(&more);
        noted(db, &more, Priority::Urgent, "u2", move |db| {
            noted(db, &again, Priority::Urgent, "u3", |_| ());
        });
    });
    open.send(()).unwrap();
    db.write_blocking("last", |_| Ok::<_, Error>(())).unwrap();
    while done.with(|done| done.len()) < 8 {
        db.write_blocking("last", |_| Ok::<_, Error>(())).unwrap();
    }
    assert_eq!(done.get(), ["first", "u1", "b1", "u2", "b2", "u3", "b3", "b4"]);
}

#[test]
fn a_commit_by_anybody_changes_the_version() {
    let fixture = testing::fixture();
    let changes = fixture.db.watch().unwrap();
    // On PostgreSQL the commits of other tests change it, too, because they share the database.
    let is_steady = (0..1_000).any(|_| changes.version().unwrap() == changes.version().unwrap());
    assert!(is_steady, "it changes without a commit");
    let before = changes.version().unwrap();
    fixture.db.write_blocking("row", insert("x")).unwrap();
    assert_ne!(changes.version().unwrap(), before);
}

#[test]
fn nothing_is_written_while_the_database_is_read_only() {
    let fixture = testing::fixture();
    let halt = |tx: &Tx<'_>| meta::set(tx, meta::READ_ONLY, "{}");
    fixture.db.write_blocking("halt", halt).unwrap();
    assert!(matches!(fixture.db.write_blocking("row", insert("x")), Err(Error::ReadOnly)));
    let other = fixture.reopen();
    assert!(matches!(other.write_blocking("row", insert("x")), Err(Error::ReadOnly)));
    assert!(pools(&fixture.db).is_empty());
    fixture.db.even_read_only().write_blocking("go on", |tx| meta::remove(tx, meta::READ_ONLY)).unwrap();
    fixture.db.write_blocking("row", insert("x")).unwrap();
    assert_eq!(pools(&fixture.db), ["x"]);
}

#[test]
fn two_connections_write_without_losing_a_row() {
    let fixture = testing::fixture();
    let other = fixture.reopen();
    std::thread::scope(|scope| {
        for (db, names) in [(&fixture.db, ["a", "b"]), (&other, ["c", "d"])] {
            scope.spawn(move || names.map(|name| db.write_blocking("row", insert(name)).unwrap()));
        }
    });
    assert_eq!(pools(&fixture.db), ["a", "b", "c", "d"]);
}
