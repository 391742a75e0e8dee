//! The loop that maintains the server's certificate: renews it in time, loads a changed certificate from
//! disk, and raises an alarm before one expires.

use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::ca::due::{Validity, validity};
use crate::ca::service::{self, Names};
use crate::ca::{self, Dates, owed};
use crate::clock::Time;
use crate::db::{self, Db, Tx};
use crate::http::{Certificate, Settings, tls};
use crate::progress::Progress;
use crate::secret::SecretHash;
use crate::usecases::ca as usecase;

/// Interval of the check. It limits how long this server uses the old certificate after `ca rotate --switch`,
/// or after another server on this state has renewed it.
const INTERVAL: Duration = Duration::from_secs(5);

/// Interval of log lines about a certificate that cannot be replaced, or that expires soon.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(86_400);

/// Maintains the certificate, and raises alarms.
pub(super) struct Keeper {
    db: Db,
    settings: watch::Receiver<Settings>,
    certificate: watch::Sender<Arc<ServerConfig>>,
    dates: watch::Sender<Dates>,
    print: SecretHash,
    complained_at: Option<Time>,
}

/// What the rest of the server receives: the certificate in force and its dates.
pub(super) struct InForce {
    pub(super) certificate: watch::Receiver<Arc<ServerConfig>>,
    pub(super) dates: watch::Receiver<Dates>,
}

impl Keeper {
    /// Replaces the certificate if it is due, and loads it.
    ///
    /// # Errors
    /// If there is no usable one.
    pub(super) async fn begin(
        db: Db,
        settings: watch::Receiver<Settings>,
    ) -> Result<(Self, InForce), tls::Error> {
        let now = settings.borrow().clone();
        if let Err(error) = renew(&db, &now, Occasion::Told).await {
            log::error!("{error}");
        }
        let loaded = tls::load(&now)?;
        let (certificate, certificate_in_force) = watch::channel(loaded.config);
        let (dates, dates_in_force) = watch::channel(loaded.dates);
        let keeper = Self { db, settings, certificate, dates, print: loaded.print, complained_at: None };
        Ok((keeper, InForce { certificate: certificate_in_force, dates: dates_in_force }))
    }

    /// Runs until the settings' sender is dropped.
    pub(super) async fn run(mut self, progress: Progress) {
        let mut occasion = Occasion::Passing;
        loop {
            progress.round().await;
            let settings = self.settings.borrow_and_update().clone();
            let renewed = renew(&self.db, &settings, occasion).await;
            self.put_in_force(&settings, occasion);
            if occasion == Occasion::Told {
                self.complained_at = None;
            }
            self.complain(renewed.err()).await;
            occasion = tokio::select! {
                changed = self.settings.changed() => match changed {
                    Ok(()) => Occasion::Told,
                    Err(_) => return,
                },
                () = tokio::time::sleep(INTERVAL) => Occasion::Passing,
            };
        }
    }

    /// Loads the certificate if it has changed. The operator's own files are loaded only at a start or
    /// reload, because at other times they may be partly written.
    fn put_in_force(&mut self, settings: &Settings, occasion: Occasion) {
        let ours = matches!(settings.certificate, Certificate::Ours(_));
        let Some(print) = tls::print(settings) else { return };
        if occasion == Occasion::Passing && (!ours || print == self.print) {
            return;
        }
        // Remembered even if the certificate cannot be used, so that this is reported once, and tried again
        // only when the files change.
        self.print = print;
        match tls::load(settings) {
            Ok(loaded) => {
                log::info!("the certificate in force expires on {}", loaded.dates.server);
                self.certificate.send_replace(loaded.config);
                self.dates.send_replace(loaded.dates);
                self.print = loaded.print;
            }
            Err(error) => log::error!(
                "the new certificate cannot be used, so the old one stays in force: \
                                       {error}"
            ),
        }
    }

    /// Logs failures, and certificates that expire soon, at most once a day.
    async fn complain(&mut self, failed: Option<ca::Error>) {
        let Ok(now) = self.db.read(|tx| Ok::<_, db::Error>(tx.now)).await else { return };
        let dates = *self.dates.borrow();
        let ending: Vec<_> = dates.each().filter(|(_, end)| validity(*end, now) != Validity::Valid).collect();
        let lately = self.complained_at.is_some_and(|at| now.since(at) < COMPLAINT_INTERVAL);
        if lately || (ending.is_empty() && failed.is_none()) {
            return;
        }
        self.complained_at = Some(now);
        if let Some(error) = failed {
            log::error!("the server's certificate cannot be renewed: {error}");
        }
        for (which, end) in ending {
            log::error!("ALARM: the {which} certificate expires on {end}; after that every login is refused");
            let noted = self.db.write("certificate.alarm", move |tx| usecase::alarm(tx, which, end));
            if let Err(error) = noted.await {
                log::error!("the alarm could not be written to the audit log: {error}");
            }
        }
    }
}

/// Why the certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The start, or a reload.
    Told,
    /// The interval has passed.
    Passing,
}

/// Replaces our own certificate, if it is due.
async fn renew(db: &Db, settings: &Settings, occasion: Occasion) -> Result<(), ca::Error> {
    let Certificate::Ours(files) = &settings.certificate else { return Ok(()) };
    let (files, names) = (files.clone(), settings.names.clone());
    let names = match occasion {
        Occasion::Told => Names::Demanded(names),
        Occasion::Passing => Names::Kept(names),
    };
    // The first check only reads. If a renewal is due it is checked again inside the write transaction, so
    // that only one of two servers renews it.
    let (looking, given) = (files.clone(), names.clone());
    let due = db.read(move |tx| service::due(&looking, &given, tx.now)).await?;
    record_owed(db).await?;
    if due.is_none() {
        return Ok(());
    }
    let db = db.clone();
    let renew = move |tx: &Tx<'_>| usecase::renew(tx, &files, &names);
    // Allowed while the database is read-only, because without a certificate a restored server could not
    // answer at all.
    let renewed = spawn_blocking(move || db.even_read_only().write_blocking("certificate.renew", renew));
    if let Some(why) = renewed.await.map_err(|_| db::Error::Closed)?? {
        log::info!("the server has a new certificate: {why}");
    }
    Ok(())
}

/// Writes the audit events of what was done while the database was read-only, once it is writable.
async fn record_owed(db: &Db) -> Result<(), db::Error> {
    if !db.read(owed::is_any).await? {
        return Ok(());
    }
    match db.write("certificate.owed", usecase::record_owed).await {
        Err(db::Error::ReadOnly) => Ok(()),
        recorded => recorded,
    }
}
