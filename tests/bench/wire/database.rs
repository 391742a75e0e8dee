//! Measures the database alone: the transactions of a login from several tasks, without HTTP. Also measures
//! how fast the disk syncs the smallest write.

use kbmfa_proto::names::LoginId;
use kbmfa_server::channels::Answer;
use kbmfa_server::config::Config;
use kbmfa_server::db::Db;
use kbmfa_server::logins::{Error, decide, service};
use kbmfa_server::machines::service::authenticate_waiting;
use kbmfa_server::random;
use kbmfa_server::secret::SecretHash;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bed::{self, Bed};
use crate::client;
use crate::figures::cpu_ms;

/// Logins per second, commits per second that they shared, and milliseconds of CPU time for each login.
pub(crate) fn logins(bed: &Bed, tasks: usize, time: Duration) -> [f64; 3] {
    let cpu = cpu_ms(std::process::id());
    let config = Config::read(&bed.config).unwrap();
    let (db, rules) = (Db::open(&bed.state_dir).unwrap(), Arc::new(config.rules(None)));
    let (done, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..tasks)
            .map(|first| {
                let (db, rules, done) = (db.clone(), Arc::clone(&rules), Arc::clone(&done));
                tokio::spawn(async move {
                    for n in (first..).step_by(tasks).take_while(|_| Instant::now() < end) {
                        login(&db, &rules, n).await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let (seconds, done) = (time.as_secs_f64(), done.load(Ordering::Relaxed) as f64);
    [done / seconds, db.counters().1 as f64 / seconds, (cpu_ms(std::process::id()) - cpu) / done]
}

/// Opens, approves and collects a login, as [`crate::load`] does, but without the ask that the outbox posts
/// and closes.
async fn login(db: &Db, rules: &Arc<kbmfa_server::logins::Rules>, n: usize) -> Result<(), Error> {
    let id: LoginId = random::hex::<16>()?.parse().unwrap();
    let credential = SecretHash::of(&bed::credential(n));
    let person = "console:bench".parse().unwrap();
    let step = |act: Act| {
        let (rules, id, credential) = (Arc::clone(rules), id.clone(), credential.clone());
        db.write("bench", move |tx| {
            let caller = authenticate_waiting(tx, &credential)?.ok_or(Error::Unauthorized)?;
            act(tx, &rules, &caller, &id)
        })
    };
    step(Box::new(move |tx, rules, caller, id| {
        service::open(tx, rules, caller, id, &client::login(id, n)).map(drop)
    }))
    .await?;
    step(Box::new(move |tx, rules, _, id| {
        decide::answer(tx, rules, id, &person, Answer::Approve, None).map(drop)
    }))
    .await?;
    step(Box::new(|tx, rules, caller, id| service::poll(tx, rules, caller, id, Duration::ZERO).map(drop)))
        .await
}

type Act = Box<
    dyn FnOnce(
            &kbmfa_server::db::Tx<'_>,
            &kbmfa_server::logins::Rules,
            &kbmfa_server::machines::caller::Caller,
            &LoginId,
        ) -> Result<(), Error>
        + Send,
>;

/// Number of times per second that 4 KiB can be appended to a file and synced to disk.
pub(crate) fn syncs(bed: &Bed) -> f64 {
    let path = bed.state_dir.join("syncs");
    let mut file = File::create(&path).unwrap();
    let (begun, mut done) = (Instant::now(), 0_u32);
    while begun.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        done += 1;
    }
    std::fs::remove_file(path).unwrap();
    f64::from(done) / begun.elapsed().as_secs_f64()
}
