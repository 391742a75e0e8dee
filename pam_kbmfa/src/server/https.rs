//! Calls one address over HTTPS. It never retries, and passes answers on as they are.

use kbmfa_proto::client::{Client, Error, Method, Target, Watch};
use kbmfa_proto::login::LoginReply;
use kbmfa_proto::session::Taken;
use std::rc::Rc;
use std::time::Duration;

use super::{Address, Call, Post, ReportBatch};
use crate::config::access::Access;

/// An address, called over HTTPS.
pub(crate) struct Https {
    target: Target,
    access: Rc<Access>,
    client: Client,
}

impl Https {
    pub(crate) fn new(target: Target, access: Rc<Access>, watch: Option<Watch>) -> Result<Self, Error> {
        let client = Client::new(&target, &access.trust, Some(&access.authorization()), watch)?;
        Ok(Self { target, access, client })
    }
}

impl Address for Https {
    fn call(&self, path: &str, call: Call<'_>, time: Duration) -> Result<LoginReply, Error> {
        let nothing: Option<&()> = None;
        match call {
            Call::Open(login) => self.client.call(Method::PUT, path, Some(login), time),
            Call::Wait { hold_s } => {
                self.client.call(Method::GET, &format!("{path}?wait={hold_s}"), nothing, time)
            }
            // The ssh client may have left. That must not end the cancellation.
            Call::Cancel => {
                let Access { trust, .. } = &*self.access;
                let client = Client::new(&self.target, trust, Some(&self.access.authorization()), None)?;
                client.call(Method::DELETE, path, nothing, time)
            }
        }
    }
}

impl Post for Https {
    fn post(&self, handover: ReportBatch<'_>, time: Duration) -> Result<Taken, Error> {
        match handover {
            ReportBatch::One(report) => self.client.call(Method::POST, "/v1/sessions", Some(report), time),
            ReportBatch::Kept(reports) => self.client.call(Method::POST, "/v1/reports", Some(reports), time),
        }
    }
}
