//! Validation of a host's settings with what they depend on: its platform, the network types, its clusters.

use super::address::{check_address, public_address_of};
use crate::{
    Error, Orchestrator, Result,
    facade::validation::{check_name, maintenance_until},
    placement::new_cluster::NewCluster,
};
use chainpool_api::{self as api, HostSettings, HostState, Timestamp};
use chainpool_store::{EnumColumn, HostRow};
use std::collections::BTreeSet;

impl Orchestrator {
    /// Validates the settings of a new host, or those resulting from a change of `before`.
    pub(super) fn check_settings(
        &self,
        settings: &HostSettings,
        before: Option<&HostSettings>,
    ) -> Result<()> {
        let roles: BTreeSet<String> = self
            .runtime
            .registry
            .describe()
            .into_iter()
            .flat_map(|network| network.images.into_keys())
            .collect();
        settings.validate(before, &roles).map_err(Error::fields)?;
        // An unchanged fill policy stored by a previous version is accepted too.
        if before.is_some_and(|before| before.fill == settings.fill && before.ports == settings.ports) {
            return Ok(());
        }
        let (first, last) = settings.ports;
        for (place, entry) in settings.fill.iter().enumerate() {
            let new = NewCluster::of_entry(&self.runtime.registry, entry, place)?;
            let needed = new.network.requirements(&new.parameters).ports.len();
            if usize::from(last - first) + 1 < needed {
                return Err(Error::field(
                    "ports",
                    format!(
                        "{first}-{last} has fewer than the {needed} ports required by one {} cluster of fill[{place}]",
                        entry.network_type
                    ),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn changed(&self, before: &HostRow, change: &api::HostUpdate) -> Result<HostRow> {
        let mut row = before.clone();
        let now = Timestamp::now();
        if let Some(name) = &change.name {
            check_name("name", name)?;
            row.name.clone_from(name);
        }
        if let Some(address) = &change.address {
            check_address(address)?;
            row.address.clone_from(address);
        }
        let settings = before
            .settings
            .0
            .apply(change.settings(), || public_address_of(&row.address))
            .map_err(Error::fields)?;
        row.settings.0 = settings;
        if change.fill.is_some() {
            row.fill_state.0.clear();
        }
        self.check_settings(&row.settings.0, Some(&before.settings.0))?;
        let platform = self.runtime.agents.find(&before.platform.0);
        let supported = platform.map_or(&[][..], |platform| platform.settings());
        check_platform(
            &before.platform.0,
            supported,
            change.kubeconfig.is_some(),
            change.storage_class.as_deref(),
        )?;
        self.change_secrets(before, &mut row, change)?;
        if let Some(seconds) = change.maintenance_seconds {
            row.maintenance_until = maintenance_until(seconds)?;
        }
        match change.paused {
            Some(true) => {
                (row.state, row.reason, row.since) = (
                    EnumColumn(HostState::Paused),
                    "paused by an operator".to_owned(),
                    now.into(),
                );
            }
            Some(false) if row.state.0 == HostState::Paused => {
                (row.state, row.reason, row.since) =
                    (EnumColumn(HostState::Active), String::new(), now.into());
            }
            _ => {}
        }
        Ok(row)
    }
}

/// Refuses settings that only some platforms support, unless `supported` names them.
pub(super) fn check_platform(
    platform: &api::Platform,
    supported: &[&str],
    kubeconfig: bool,
    storage_class: Option<&str>,
) -> Result<()> {
    let given = [
        ("kubeconfig", kubeconfig),
        (
            "storage_class",
            storage_class.is_some_and(|class| !class.is_empty()),
        ),
    ];
    match given
        .iter()
        .find(|(field, given)| *given && !supported.contains(field))
    {
        Some((field, _)) => Err(Error::field(
            field,
            format!("not supported on {platform} hosts; omit it"),
        )),
        None => Ok(()),
    }
}

/// The settings of a new host, with defaults for omitted ones.
pub(super) fn of_new_host(new: &api::HostCreate) -> Result<HostSettings> {
    check_name("name", &new.name)?;
    check_address(&new.address)?;
    let public_address = public_address_of(&new.address);
    HostSettings::new(
        chainpool_networks::Registry::default().default_type(),
        public_address.clone(),
    )
    .apply(new.settings(), || public_address)
    .map_err(Error::fields)
}

#[cfg(test)]
mod tests;
