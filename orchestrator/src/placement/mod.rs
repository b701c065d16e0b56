//! Where a cluster goes, and which clusters a host should have. Decides; changes nothing.

pub(crate) mod allocation;
pub(crate) mod choose;
pub(crate) mod fill_key;
pub(crate) mod fill_policy;
pub(crate) mod host_choice;
pub(crate) mod new_cluster;
pub(crate) mod reservations;
pub(crate) mod room;
