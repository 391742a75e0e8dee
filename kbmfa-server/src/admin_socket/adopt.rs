//! The verb by which a machine's accounts are surveyed: the server has the key to the machines.

use kbmfa_proto::names::MachineName;

use super::Refusal;
use super::provision::refusal;
use crate::adoption::survey::Survey;
use crate::provision::provisioner::Provisioner;

pub(super) async fn survey(provisioner: &Provisioner, machine: &MachineName) -> Result<Survey, Refusal> {
    provisioner.survey(machine).await.map_err(refusal)
}
