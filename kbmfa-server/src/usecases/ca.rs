//! Actions on the certificate authority. Each function also changes files, before its transaction ends.

pub use crate::ca::owed::settle as settle_owed;
pub use crate::ca::service::{alarm, renew, retire, rotate, start_over, switch};
