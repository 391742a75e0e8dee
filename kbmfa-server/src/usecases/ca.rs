//! Actions on the certificate authority. Each function also changes files, before its transaction commits.

pub use crate::ca::owed::record_all as record_owed;
pub use crate::ca::service::{alarm, renew, retire, rotate, start_over, switch};
