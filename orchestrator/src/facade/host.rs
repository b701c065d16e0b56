//! Hosts.

mod address;
mod delete;
#[cfg(test)]
pub(crate) mod fixture;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
mod verbs;

use crate::{
    Caller, Error, Orchestrator, Result,
    facade::{presenter::page, validation::check_search},
    permissions,
    placement::room::offers,
    runtime::probe::{info, platform_of},
};
use chainpool_agent::{Probe, Scope, SwarmRole};
use chainpool_api::{self as api, HostState, Timestamp, host_text::PublicAddress};
use chainpool_store::{Audit, EnumColumn, HostRow, HostSecrets, Json, RowVersion};
use secrets::secrets;
use std::collections::BTreeMap;
use uuid::Uuid;
pub use verbs::HostPreview;

/// How often an update is tried again because the host changed meanwhile, for example because it was assessed.
const UPDATE_ATTEMPTS: u32 = 5;

impl Orchestrator {
    /// Probes a host and registers it.
    #[expect(clippy::too_many_lines, reason = "one assignment per field of a host")]
    pub async fn host_create(&self, caller: &Caller, new: api::HostCreate) -> Result<api::Host> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.host_show(caller, &id.to_string()).await;
        }
        let mut settings = settings::of_new_host(&new)?;
        let secrets = secrets(
            new.tls.clone(),
            new.registry.clone(),
            new.kubeconfig.clone(),
            settings.mirror.as_deref(),
        )?;
        if let Some(wanted) = &new.platform {
            self.runtime.agents.find(wanted)?;
        }
        // The form of the address selects the agent that probes first; the probe determines the platform.
        let guessed = self.runtime.agents.guess(&new.address, new.platform.as_ref())?;
        let supported = self.runtime.agents.find(&guessed)?.settings();
        settings::check_platform(
            &guessed,
            supported,
            new.kubeconfig.is_some(),
            new.storage_class.as_deref(),
        )?;
        let connection = self
            .runtime
            .agents
            .connection(&new.address, &settings, secrets.clone());
        let mut agent = self.runtime.agents.connect(&guessed, &connection)?;
        settings.ports = new.ports.unwrap_or(agent.capabilities().ports);
        self.check_settings(&settings, None)?;
        let mut probe = agent.probe().await.map_err(|e| unreachable(&new.address, &e))?;
        let platform = self.check_probe(new.platform.as_ref(), &probe)?;
        if platform != guessed {
            agent = self.runtime.agents.connect(&platform, &connection)?;
            settings.ports = new.ports.unwrap_or(agent.capabilities().ports);
            probe = agent.probe().await.map_err(|e| unreachable(&new.address, &e))?;
        }
        let in_use = agent
            .observe(Scope::Host)
            .await
            .map_err(|e| unreachable(&new.address, &e))?
            .resources_in_use;
        // Machine data of a platform is untrusted; only a valid address goes into bundles.
        let first = probe
            .machines
            .first()
            .filter(|machine| machine.address.parse::<PublicAddress>().is_ok());
        if let (None, false, Some(machine)) = (&new.public_address, settings.bind.is_loopback(), first) {
            settings.public_address.clone_from(&machine.address);
        }
        let id = Uuid::now_v7();
        let now = Timestamp::now();
        let sealed = (secrets.tls.is_some() || secrets.registry.is_some() || secrets.kubeconfig.is_some())
            .then(|| secrets.seal(self.store().master(), id))
            .transpose()?;
        let row = HostRow {
            id,
            name: new.name,
            platform: EnumColumn(platform),
            address: new.address,
            engine_id: probe.engine_id.clone(),
            state: EnumColumn(HostState::Active),
            reason: String::new(),
            since: now.into(),
            settings: Json(settings),
            sealed,
            fill_state: Json(BTreeMap::new()),
            maintenance_until: None,
            info: Some(Json(info(&probe, now))),
            created_at: now.into(),
            row_version: RowVersion::default(),
        };
        let mut tx = self.store().begin().await?;
        if tx.host_named(&row.name).await?.is_some() {
            return Err(Error::conflict(
                "host_exists",
                format!("host {:?} already exists; choose another name", row.name),
            ));
        }
        if let Some(same) = tx.host_of_engine(&row.engine_id).await? {
            return Err(Error::conflict(
                "engine_exists",
                format!(
                    "this engine is already registered as host {:?} ({}). If it is a different machine (its name is {:?}), it was cloned with the engine id: stop Docker there, remove /var/lib/docker/engine-id and /etc/docker/key.json if they exist, start Docker, and register it again",
                    same.name, same.address, probe.name
                ),
            ));
        }
        let detail = format!("{} {}", row.platform.0, row.address);
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "host_create",
                subject: &id.to_string(),
                detail,
            },
            now,
        )
        .await?;
        tx.host_insert(row.clone()).await?;
        self.idempotency.remember(&mut tx, caller, id).await?;
        tx.commit("host created").await?;
        self.placement.reservations.put(id, in_use);
        self.present_host(row).await
    }

    fn check_probe(&self, wanted: Option<&api::Platform>, probe: &Probe) -> Result<api::Platform> {
        if probe.swarm == SwarmRole::Worker {
            return Err(Error::field(
                "address",
                "this engine is a swarm worker; use the address of a manager, or remove the engine from the swarm",
            ));
        }
        let found = platform_of(probe.kind);
        if let Some(wanted) = wanted
            && *wanted != found
        {
            return Err(Error::field(
                "type",
                format!(
                    "the platform at this address is {found}, not {wanted}; omit type or correct the address"
                ),
            ));
        }
        if self.runtime.agents.find(&found).is_err() {
            return Err(Error::field(
                "type",
                format!(
                    "no agent for {found}, the platform at this address, is available; available: {}",
                    self.runtime.agents.known()
                ),
            ));
        }
        if let Some(skew) = probe.skew_ms.filter(|s| s.abs() > 60_000) {
            return Err(Error::field(
                "address",
                format!(
                    "the host's clock differs from the server's by {} s, more than 60 s; synchronise the clocks (NTP) first",
                    skew / 1000
                ),
            ));
        }
        Ok(found)
    }

    /// Lists hosts.
    pub async fn host_list(&self, caller: &Caller, filter: &api::HostFilter) -> Result<api::Page<api::Host>> {
        permissions::must_operate(caller)?;
        check_search(filter.search.as_deref())?;
        if let Some(platform) = &filter.platform {
            self.runtime.agents.find(platform)?;
        }
        let rows = page(
            self.store().read().host_page(filter).await?,
            filter.limit,
            |row| row.id,
        );
        Ok(api::Page {
            items: self.present_hosts(rows.items).await?,
            next: rows.next,
        })
    }

    /// Lists the platforms that a host may have.
    pub fn platforms(&self, caller: &Caller) -> Result<Vec<api::Platform>> {
        permissions::must_operate(caller)?;
        Ok(self.runtime.agents.platforms().collect())
    }

    /// Shows a host by name or id.
    pub async fn host_show(&self, caller: &Caller, host: &str) -> Result<api::Host> {
        permissions::must_operate(caller)?;
        self.present_host(self.host_row(host).await?).await
    }

    /// Updates a host.
    pub async fn host_update(
        &self,
        caller: &Caller,
        host: &str,
        change: api::HostUpdate,
    ) -> Result<api::Host> {
        permissions::must_operate(caller)?;
        for _ in 0..UPDATE_ATTEMPTS {
            let before = self.host_row(host).await?;
            if let Some(updated) = self.host_change(caller, before, &change).await? {
                return self.present_host(updated).await;
            }
        }
        Err(chainpool_store::Error::Overtaken("host").into())
    }

    /// Changes a host that was read before; `None` if it was changed or deleted meanwhile.
    async fn host_change(
        &self,
        caller: &Caller,
        before: HostRow,
        change: &api::HostUpdate,
    ) -> Result<Option<HostRow>> {
        let after = self.changed(&before, change)?;
        // The host may be paused because another engine responded; ending the pause does not mean that the
        // right one is back.
        let connection_changed = change.address.is_some()
            || change.tls.is_some()
            || change.kubeconfig.is_some()
            || change.insecure.is_some();
        if connection_changed || change.paused == Some(false) {
            let secrets = HostSecrets::open(self.store().master(), &after)?;
            let connection = self
                .runtime
                .agents
                .connection(&after.address, &after.settings.0, secrets);
            let probe = self
                .runtime
                .agents
                .connect(&after.platform.0, &connection)?
                .probe()
                .await
                .map_err(|e| unreachable(&after.address, &e))?;
            if probe.engine_id != before.engine_id {
                return Err(Error::field(
                    "address",
                    format!(
                        "another engine responds at this address ({}); the engine of a host cannot change: create another host",
                        probe.name
                    ),
                ));
            }
        }
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let existing = i64::try_from(tx.clusters_of(before.id).await?.len()).map_err(Error::internal)?;
        let fixed_fields = [
            ("public_address", change.public_address.is_some()),
            ("bind", change.bind.is_some()),
            ("ports", change.ports.is_some()),
            ("subnets", change.subnets.is_some()),
        ];
        if let Some((field, _)) = fixed_fields.iter().find(|(_, changed)| *changed && existing > 0) {
            let why = format!(
                "it cannot change while the host has clusters ({existing}): run chainpool host clean {} to delete the free \
                 clusters, wait until the leased ones are released and deleted, then change it and fill the host again",
                before.name
            );
            return Err(Error::field(field, why));
        }
        if after.name != before.name && tx.host_named(&after.name).await?.is_some() {
            return Err(Error::conflict(
                "host_exists",
                format!("host {:?} already exists; choose another name", after.name),
            ));
        }
        tx.clusters_schedulable(after.id, offers(&after)).await?;
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "host_update",
                subject: &after.id.to_string(),
                detail: after.name.clone(),
            },
            now,
        )
        .await?;
        match tx.host_save(after).await {
            Err(chainpool_store::Error::Overtaken(_)) => Ok(None),
            saved => {
                let updated = saved?;
                tx.commit("host updated").await?;
                Ok(Some(updated))
            }
        }
    }
}

fn unreachable(address: &str, error: &chainpool_agent::Error) -> Error {
    Error::Unavailable(format!(
        "cannot reach the platform at {address}: {error}. Check that it runs, that the address is correct, and that the server can reach it"
    ))
}
