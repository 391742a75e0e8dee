//! Reads the configuration again, on SIGHUP and for `kbmfa-server reload`, which waits for the outcome.

use std::path::PathBuf;
use tokio::sync::watch;

use super::{Error, read};
use crate::admin_socket::ReloadOutcome;
use crate::clock::Time;
use crate::config::Config;
use crate::http::{self, tls};
use crate::long_poll::Logins;
use crate::provision::provisioner::Provisioner;

/// Everything that a reload renews.
pub(super) struct Reloadable {
    pub(super) config_path: PathBuf,
    pub(super) settings: watch::Sender<http::Settings>,
    pub(super) logins: Logins,
    pub(super) provisioner: Provisioner,
    pub(super) opened: watch::Receiver<Option<Time>>,
    pub(super) config: Config,
}

impl Reloadable {
    /// Reads everything again, and logs the outcome. Returns a note for the caller. A configuration with
    /// faults changes nothing.
    pub(super) fn reload(&mut self) -> ReloadOutcome {
        let outcome = self.try_reload();
        match &outcome {
            Ok(None) => log::info!("configuration and certificate read again"),
            Ok(Some(note)) => log::warn!("configuration and certificate read again; {note}"),
            Err(error) => log::error!("nothing was reloaded: {error}"),
        }
        outcome.map(|note| note.map(str::to_owned)).map_err(|error| error.to_string())
    }

    fn try_reload(&mut self) -> Result<Option<&'static str>, Error> {
        let config = read(&self.config_path)?;
        tls::load(&config.http)?;
        let (now, then) = (&config, &self.config);
        if now.chat != then.chat {
            return Err(Error::Restart("[relay] and min_role"));
        }
        let fixed = |config: &Config| {
            let Config { http, state_dir, admin, .. } = config;
            (http.listen, http.status_listen, http.limits, state_dir.clone(), admin.clone())
        };
        let is_fixed = fixed(now) == fixed(then);
        self.logins.set_rules(config.rules(*self.opened.borrow()));
        self.provisioner.set_settings(config.provision);
        self.settings.send_replace(config.http);
        Ok((!is_fixed).then_some("listeners, limits, state_dir and [admin] change only with a restart"))
    }
}
