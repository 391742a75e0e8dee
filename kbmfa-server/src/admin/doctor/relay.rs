//! Checks the connection to Keybase, through the running server's service or through one of its own.

use kbmfa_finding::Finding;
use std::time::Duration;

use super::super::Failure;
use crate::channels::keybase;
use crate::config::Config;
use crate::db::{Db, lease};
use crate::outbox;
use crate::policy::{Approvers, Channel, Says};

/// Interval at which the lease is renewed.
const RENEW: Duration = Duration::from_secs(3);

/// Checks every step to Keybase, up to a message in the bot's own conversation. A service is started only
/// while this process holds the relay lease. So it never disturbs a running server, and a server that starts
/// meanwhile waits.
pub(super) fn check(config: &Config, db: Option<&Db>, runs: bool) -> Result<Vec<Finding>, Failure> {
    let Some(settings) = &config.chat else { return Ok(Vec::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let destinations = destinations(config);
    Ok(runtime.block_on(async {
        let holder = lease::Holder::this_process();
        let may_start = match db {
            Some(db) if !runs => hold(db, &holder).await,
            _ => false,
        };
        let examined = keybase::diagnose(settings, &destinations, may_start);
        match db {
            Some(db) if may_start => tokio::select! {
                findings = examined => findings,
                () = keep(db, &holder) => vec![Finding::weak("keybase", "a server has started; run doctor again")],
            },
            _ => examined.await,
        }
    }))
}

/// The destinations of asks, each with the approvers whom its rules name.
fn destinations(config: &Config) -> Vec<keybase::Destination> {
    let ruled = config.policy.rules.iter().filter_map(|rule| match &rule.says {
        Says::Ask(terms) => Some(terms),
        Says::Exempt => None,
    });
    let terms: Vec<_> = ruled.chain([&config.policy.default]).collect();
    let named = |place: &str| {
        let here = terms.iter().filter(|terms| terms.destination == place);
        let people = here.flat_map(|terms| match &terms.approvers {
            Approvers::List(people) => people.as_slice(),
            Approvers::Anyone | Approvers::NotSelf => &[],
        });
        people
            .filter(|person| person.is_in(Channel::Keybase))
            .map(|person| person.name().to_owned())
            .collect()
    };
    let places = config.destinations().into_iter();
    places.map(|place| keybase::Destination { approvers: named(&place), place }).collect()
}

async fn hold(db: &Db, holder: &lease::Holder) -> bool {
    let holder = holder.clone();
    let held = db.write("doctor.lease", move |tx| lease::hold(tx, outbox::LEASE, &holder));
    held.await.unwrap_or(false)
}

/// Renews the lease at intervals; returns when it is lost.
async fn keep(db: &Db, holder: &lease::Holder) {
    while hold(db, holder).await {
        tokio::time::sleep(RENEW).await;
    }
}
