//! Hosts.

use crate::{
    Caller, Error, Orchestrator, Result,
    accept::{Cause, check_name, offers},
    agents::platform_of,
    plan::Arguments,
    view::page,
};
use chainpool_agent::{Probe, Secret, SwarmRole, Tls};
use chainpool_api::{self as api, HostState, LeaseState, OperationKind, Role, Timestamp};
use chainpool_store::{Audit, HostRow, HostSecrets, HostSettings, Json, Word};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};
use uuid::Uuid;

impl Caller {
    /// Refuses whoever may not do this.
    pub(crate) fn must_be(&self, least: Role) -> Result<()> {
        if self.role >= least {
            Ok(())
        } else {
            Err(Error::Forbidden(format!("this needs the role {least}; {} is {}", self.account, self.role)))
        }
    }
}

impl Orchestrator {
    /// Probes a host and registers it.
    pub async fn host_create(&self, caller: &Caller, new: api::HostCreate) -> Result<api::Host> {
        caller.must_be(Role::Operator)?;
        if let Some(id) = self.remembered(caller).await? {
            return self.host_show(&id.to_string()).await;
        }
        let settings = self.check_new(&new)?;
        let secrets = secrets(new.tls, new.registry);
        let wanted = new.platform.unwrap_or(api::Platform::Docker);
        if !self.inner.agents.has(wanted) {
            return Err(Error::field(
                "type",
                format!("this chainpool has no agent for {wanted}; it has one for: {}", self.inner.agents.known()),
            ));
        }
        let connection = self.inner.agents.connection(&new.address, &settings, secrets.clone());
        let agent = self.inner.agents.connect(wanted, &connection)?;
        let probe = agent.probe().await.map_err(|e| unreachable(&new.address, &e))?;
        let platform = self.check_probe(new.platform, &probe)?;
        let id = Uuid::now_v7();
        let now = Timestamp::now();
        let sealed = (secrets.tls.is_some() || secrets.registry.is_some()).then(|| secrets.seal(self.store().master(), id)).transpose()?;
        let row = HostRow {
            id,
            name: new.name,
            platform: Word(platform),
            address: new.address,
            engine_id: probe.engine_id.clone(),
            state: Word(HostState::Active),
            reason: String::new(),
            since: now.into(),
            schedulable: new.schedulable.unwrap_or(true),
            autofill: new.autofill.unwrap_or(false),
            capacity: i64::from(new.capacity.unwrap_or(3)),
            settings: Json(settings),
            sealed,
            fill_state: Json(BTreeMap::new()),
            maintenance_until: None,
            info: Some(Json(info(&probe, now))),
            created_at: now.into(),
        };
        let mut tx = self.store().begin().await?;
        if tx.host_named(&row.name).await?.is_some() {
            return Err(Error::conflict("host_exists", format!("there is a host {:?} already; choose another name", row.name)));
        }
        if let Some(same) = tx.host_of_engine(&row.engine_id).await? {
            return Err(Error::conflict(
                "engine_exists",
                format!("this engine is registered already, as host {:?} ({})", same.name, same.address),
            ));
        }
        let detail = format!("{} {}", row.platform.0, row.address);
        tx.audit_insert(Audit { author: &caller.account, verb: "host_create", subject: &id.to_string(), detail }, now).await?;
        tx.host_insert(row.clone()).await?;
        self.remember(&mut tx, caller, id).await?;
        tx.commit("host created").await?;
        self.inner.status.taken_put(id, probe.taken, probe.taken_ports);
        self.view_host(row).await
    }

    fn check_new(&self, new: &api::HostCreate) -> Result<HostSettings> {
        check_name("name", &new.name)?;
        let bind: IpAddr = match &new.bind {
            Some(bind) => {
                bind.parse().map_err(|_| Error::field("bind", format!("{bind:?} is no IP address; use 0.0.0.0 or one of the host's")))?
            }
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let subnets = new.subnets.as_deref().unwrap_or("10.213.0.0/16");
        let settings = HostSettings {
            memory_factor: new.memory_factor.unwrap_or(1.0),
            disk_floor: new.disk_floor.unwrap_or(10),
            fill: new.fill.clone().unwrap_or_else(|| {
                vec![api::Fill { network_type: "cometbft".into(), preset: "default".into(), share: 1, parameters: serde_json::Map::new() }]
            }),
            public_address: match (&new.public_address, bind.is_loopback()) {
                (_, true) => "127.0.0.1".to_owned(),
                (Some(address), false) => address.clone(),
                (None, false) => public_address(&new.address),
            },
            bind,
            ports: new.ports.unwrap_or((20_000, 29_999)),
            subnets: subnets
                .parse()
                .map_err(|_| Error::field("subnets", format!("{subnets:?} is no IPv4 network such as 10.213.0.0/16")))?,
            log: new.log.clone().unwrap_or_default(),
            mirror: new.mirror.clone().filter(|m| !m.is_empty()),
            images: new.images.clone().unwrap_or_default(),
            insecure: new.insecure,
        };
        self.check_settings(&settings, new.capacity.unwrap_or(3))?;
        Ok(settings)
    }

    /// Checks all that create and update have in common.
    fn check_settings(&self, settings: &HostSettings, capacity: u32) -> Result<()> {
        let HostSettings {
            memory_factor,
            disk_floor,
            fill,
            public_address,
            bind: _,
            ports,
            subnets,
            log,
            mirror: _,
            images: _,
            insecure: _,
        } = settings;
        let mut wrong = BTreeMap::new();
        let mut say = |field: &str, why: String| drop(wrong.insert(field.to_owned(), why));
        if !(0.1..=100.0).contains(memory_factor) {
            say("memory_factor", format!("{memory_factor} is not between 0.1 and 100"));
        }
        if *disk_floor > 90 {
            say("disk_floor", format!("{disk_floor} is not between 0 and 90 percent"));
        }
        if capacity > 10_000 {
            say("capacity", format!("{capacity} is above 10000"));
        }
        if public_address.is_empty() || public_address.contains(|c: char| c.is_whitespace() || c == '/' || c == '\'' || c == '"') {
            say("public_address", format!("{public_address:?} is no address; use a name or an IP address without port"));
        }
        let (first, last) = *ports;
        if first < 1024 || last < first {
            say("ports", format!("{first}-{last} is no range; use first ≥ 1024 and last ≥ first"));
        }
        if subnets.prefix_len() > 26 {
            say("subnets", format!("{subnets} holds no network of a cluster, which is a /26; use a larger one"));
        }
        if log.kind == api::LogType::Syslog && !log.server.as_deref().is_some_and(is_syslog_server) {
            say("log.server", "type syslog needs a server such as udp://10.0.0.9:514".to_owned());
        }
        if log.kind == api::LogType::Local && log.server.is_some() {
            say("log.server", "only type syslog has a server; leave it out".to_owned());
        }
        if fill.is_empty() || fill.iter().all(|f| f.share == 0) {
            say("fill", "at least one entry with a share above 0 is needed".to_owned());
        }
        if !wrong.is_empty() {
            return Err(Error::fields(wrong));
        }
        for (place, entry) in fill.iter().enumerate() {
            let new = self.new_of_entry(entry, place)?;
            let needed = new.network.layout(&new.parameters).ports.len();
            if usize::from(last - first) + 1 < needed {
                return Err(Error::field(
                    "ports",
                    format!(
                        "{first}-{last} has fewer than the {needed} ports that one {} cluster of fill[{place}] publishes",
                        entry.network_type
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_probe(&self, wanted: Option<api::Platform>, probe: &Probe) -> Result<api::Platform> {
        if probe.swarm == SwarmRole::Worker {
            return Err(Error::field(
                "address",
                "this engine is a worker of a swarm; give the address of a manager, or take it out of the swarm",
            ));
        }
        let found = platform_of(probe.kind);
        if let Some(wanted) = wanted
            && wanted != found
        {
            return Err(Error::field(
                "type",
                format!("the platform at this address is {found}, not {wanted}; leave type out, or give the right address"),
            ));
        }
        if !self.inner.agents.has(found) {
            return Err(Error::field(
                "type",
                format!("the platform at this address is {found}; this chainpool has an agent for: {}", self.inner.agents.known()),
            ));
        }
        if let Some(skew) = probe.skew_ms.filter(|s| s.abs() > 60_000) {
            return Err(Error::field(
                "address",
                format!("the host's clock differs from ours by {} s, more than 60 s; set it right (NTP) first", skew / 1000),
            ));
        }
        Ok(found)
    }

    /// Lists hosts.
    pub async fn host_list(&self, filter: &api::HostFilter) -> Result<api::Page<api::Host>> {
        let rows = page(self.store().read().host_page(filter).await?, filter.limit, |row| row.id);
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            items.push(self.view_host(row).await?);
        }
        Ok(api::Page { items, next: rows.next })
    }

    /// One host by name or id.
    pub async fn host_show(&self, host: &str) -> Result<api::Host> {
        self.view_host(self.host_row(host).await?).await
    }

    /// Changes a host.
    pub async fn host_update(&self, caller: &Caller, host: &str, change: api::HostUpdate) -> Result<api::Host> {
        caller.must_be(Role::Operator)?;
        let before = self.host_row(host).await?;
        let mut after = self.changed(&before, &change)?;
        // The pause may be there because another engine answered: its end is no word that this one is back.
        if change.address.is_some() || change.tls.is_some() || change.insecure.is_some() || change.paused == Some(false) {
            let secrets = HostSecrets::open(self.store().master(), &after)?;
            let connection = self.inner.agents.connection(&after.address, &after.settings.0, secrets);
            let probe =
                self.inner.agents.connect(after.platform.0, &connection)?.probe().await.map_err(|e| unreachable(&after.address, &e))?;
            if probe.engine_id != before.engine_id {
                return Err(Error::field(
                    "address",
                    format!("another engine answers there ({}); a host's engine cannot change: create another host", probe.name),
                ));
            }
        }
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let fresh = tx.host(before.id).await?.ok_or_else(|| Error::not_found("host", host))?;
        let exist = i64::try_from(tx.clusters_of(fresh.id).await?.len()).map_err(Error::internal)?;
        if after.capacity < exist {
            return Err(Error::field(
                "capacity",
                format!("{} is below the {exist} clusters that exist; delete some first", after.capacity),
            ));
        }
        let pinned = [
            ("public_address", change.public_address.is_some()),
            ("bind", change.bind.is_some()),
            ("ports", change.ports.is_some()),
            ("subnets", change.subnets.is_some()),
        ];
        if let Some((field, _)) = pinned.iter().find(|(_, changed)| *changed && exist > 0) {
            return Err(Error::field(field, format!("it cannot change while the host has clusters ({exist}); they are made for it")));
        }
        if after.name != fresh.name && tx.host_named(&after.name).await?.is_some() {
            return Err(Error::conflict("host_exists", format!("there is a host {:?} already; choose another name", after.name)));
        }
        // What the watchdog knows may be newer than what was read first.
        after.info = fresh.info;
        if change.paused.is_none() {
            (after.state, after.reason, after.since) = (fresh.state, fresh.reason, fresh.since);
        }
        tx.clusters_schedulable(after.id, offers(&after)).await?;
        tx.audit_insert(
            Audit { author: &caller.account, verb: "host_update", subject: &after.id.to_string(), detail: after.name.clone() },
            now,
        )
        .await?;
        tx.host_save(after.clone()).await?;
        tx.commit("host updated").await?;
        self.view_host(after).await
    }

    fn changed(&self, before: &HostRow, change: &api::HostUpdate) -> Result<HostRow> {
        let api::HostUpdate {
            name,
            address,
            tls,
            insecure,
            schedulable,
            autofill,
            capacity,
            memory_factor,
            disk_floor,
            fill,
            public_address,
            bind,
            ports,
            subnets,
            log,
            mirror,
            images,
            registry,
            maintenance_seconds,
            paused,
        } = change.clone();
        let mut row = before.clone();
        let now = Timestamp::now();
        if let Some(name) = name {
            check_name("name", &name)?;
            row.name = name;
        }
        row.address = address.unwrap_or(row.address);
        row.schedulable = schedulable.unwrap_or(row.schedulable);
        row.autofill = autofill.unwrap_or(row.autofill);
        row.capacity = capacity.map_or(row.capacity, i64::from);
        // A socket of this machine needs no certificates; what was stored for another way would be refused there.
        let to_socket = change.address.as_ref().is_some_and(|address| address.starts_with("unix://"));
        let settings = &mut row.settings.0;
        settings.insecure = insecure.unwrap_or(settings.insecure);
        settings.memory_factor = memory_factor.unwrap_or(settings.memory_factor);
        settings.disk_floor = disk_floor.unwrap_or(settings.disk_floor);
        if let Some(fill) = fill {
            settings.fill = fill;
            row.fill_state.0.clear();
        }
        if let Some(bind) = bind {
            settings.bind = bind.parse().map_err(|_| Error::field("bind", format!("{bind:?} is no IP address")))?;
        }
        settings.public_address = public_address.unwrap_or_else(|| settings.public_address.clone());
        if settings.bind.is_loopback() {
            "127.0.0.1".clone_into(&mut settings.public_address);
        }
        settings.ports = ports.unwrap_or(settings.ports);
        if let Some(subnets) = subnets {
            settings.subnets =
                subnets.parse().map_err(|_| Error::field("subnets", format!("{subnets:?} is no IPv4 network such as 10.213.0.0/16")))?;
        }
        settings.log = log.unwrap_or_else(|| settings.log.clone());
        if let Some(mirror) = mirror {
            settings.mirror = Some(mirror).filter(|m| !m.is_empty());
        }
        settings.images = images.unwrap_or_else(|| settings.images.clone());
        self.check_settings(settings, u32::try_from(row.capacity).map_err(Error::internal)?)?;
        if tls.is_some() || registry.is_some() || to_socket {
            let mut known = HostSecrets::open(self.store().master(), before)?;
            let given = secrets(tls, registry);
            known.tls = given.tls.or(known.tls.filter(|_| !to_socket));
            known.registry = given.registry.or(known.registry);
            row.sealed = Some(known.seal(self.store().master(), row.id)?);
        }
        if let Some(seconds) = maintenance_seconds {
            row.maintenance_until = (seconds > 0).then(|| now.plus_seconds(i64::from(seconds)).into());
        }
        match paused {
            Some(true) => (row.state, row.reason, row.since) = (Word(HostState::Paused), "paused by an operator".to_owned(), now.into()),
            Some(false) if row.state.0 == HostState::Paused => {
                (row.state, row.reason, row.since) = (Word(HostState::Active), String::new(), now.into());
            }
            _ => {}
        }
        Ok(row)
    }

    /// Removes a host that has no clusters; with its name typed again, forgets one that never returns.
    pub async fn host_delete(&self, caller: &Caller, host: &str, forget: Option<&str>) -> Result<()> {
        caller.must_be(Role::Operator)?;
        let row = self.host_row(host).await?;
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let row = tx.host(row.id).await?.ok_or_else(|| Error::not_found("host", host))?;
        let clusters = tx.clusters_of(row.id).await?;
        let mut superseded = Vec::new();
        if let Some(typed) = forget {
            if typed != row.name {
                return Err(Error::field("forget", format!("type the host's name, {:?}, to forget it", row.name)));
            }
            if row.state.0 != HostState::Unreachable {
                return Err(Error::conflict(
                    "host_reachable",
                    format!("host {} is {}; only an unreachable host can be forgotten: use reset and delete", row.name, row.state.0),
                ));
            }
            for live in tx.operations_live().await?.into_iter().filter(|o| o.host_id == row.id) {
                superseded.push(live.id);
                let mut live = live;
                live.state = Word(api::OperationState::Superseded);
                live.error = Some("the host was forgotten".to_owned());
                live.ended_at = Some(now.into());
                tx.operation_save(live).await?;
            }
            for cluster in clusters {
                if let Some(mut lease) = tx.lease_of(cluster.id).await? {
                    lease.state = Word(LeaseState::HostLost);
                    lease.ended_at = Some(now.into());
                    tx.lease_save(lease).await?;
                }
                let detail = format!("left behind on {}: cluster {} generation {}", row.address, cluster.name, cluster.generation);
                tx.audit_insert(Audit { author: &caller.account, verb: "host_forget", subject: &cluster.id.to_string(), detail }, now)
                    .await?;
                self.inner.live.forget(cluster.id);
                tx.cluster_bury(cluster, now).await?;
            }
        } else if !clusters.is_empty() {
            let message =
                format!("host {} still has {} clusters; reset it first (chainpool host reset {})", row.name, clusters.len(), row.name);
            return Err(Error::conflict("host_not_empty", message));
        } else if let Some(live) = tx.operation_of_host(row.id).await? {
            return Err(Error::conflict(
                "operation_running",
                format!("host {} has an operation under way ({}); wait for it", row.name, live.kind.0),
            ));
        }
        tx.audit_insert(
            Audit { author: &caller.account, verb: "host_delete", subject: &row.id.to_string(), detail: row.name.clone() },
            now,
        )
        .await?;
        tx.host_delete(row.id).await?;
        self.accepted(tx, &superseded).await?;
        self.inner.agents.forget(row.id);
        Ok(())
    }

    /// Makes what is missing up to the capacity.
    pub async fn host_fillup(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        caller.must_be(Role::Operator)?;
        if let Some(id) = self.remembered(caller).await? {
            return self.operation_show(id).await;
        }
        let row = self.host_row(host).await?;
        let operation = self.accept_fillup(row.id, &Cause::of(caller, "fillup was asked for"), false, Some(caller)).await?;
        let operation = operation.ok_or_else(|| Error::internal("a fillup by hand is always accepted"))?;
        self.view_operation(operation, true).await
    }

    /// Switches autofill off and deletes the free clusters.
    pub async fn host_clean(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        caller.must_be(Role::Operator)?;
        if let Some(id) = self.remembered(caller).await? {
            return self.operation_show(id).await;
        }
        let id = self.host_row(host).await?.id;
        let cause = Cause::of(caller, "clean was asked for");
        let mut tx = self.store().begin().await?;
        let mut row = tx.host(id).await?.ok_or_else(|| Error::not_found("host", host))?;
        let operation = self.accept_host(&mut tx, &row, OperationKind::HostClean, Arguments::default(), &cause).await?;
        row.autofill = false;
        tx.host_save(row).await?;
        let mut superseded = Vec::new();
        for cluster in tx.clusters_of(id).await?.into_iter().filter(|c| !c.leased && c.state.0 != api::ClusterState::Deleting) {
            superseded.extend(self.accept_delete(&mut tx, cluster, &cause.part_of(operation.id)).await?.1);
        }
        self.remember(&mut tx, caller, operation.id).await?;
        self.accepted(tx, &superseded).await?;
        self.view_operation(operation, true).await
    }

    /// Drops everything of this instance there; refused while clusters are applied.
    pub async fn host_reset(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        caller.must_be(Role::Operator)?;
        if let Some(id) = self.remembered(caller).await? {
            return self.operation_show(id).await;
        }
        let id = self.host_row(host).await?.id;
        let cause = Cause::of(caller, "reset of the host was asked for");
        let mut tx = self.store().begin().await?;
        let mut row = tx.host(id).await?.ok_or_else(|| Error::not_found("host", host))?;
        let clusters = tx.clusters_of(id).await?;
        let leased: Vec<&str> = clusters.iter().filter(|c| c.leased).map(|c| c.name.as_str()).collect();
        if !leased.is_empty() {
            return Err(Error::conflict(
                "host_in_use",
                format!("host {} has applied clusters ({}); release them first", row.name, leased.join(", ")),
            ));
        }
        let operation = self.accept_host(&mut tx, &row, OperationKind::HostReset, Arguments::default(), &cause).await?;
        row.autofill = false;
        tx.host_save(row).await?;
        let mut superseded = Vec::new();
        for cluster in clusters.into_iter().filter(|c| c.state.0 != api::ClusterState::Deleting) {
            superseded.extend(self.accept_delete(&mut tx, cluster, &cause.part_of(operation.id)).await?.1);
        }
        self.remember(&mut tx, caller, operation.id).await?;
        self.accepted(tx, &superseded).await?;
        self.view_operation(operation, true).await
    }

    /// Takes unclaimed objects over, in order to remove them.
    pub async fn host_adopt(&self, caller: &Caller, host: &str, adopt: api::HostAdopt) -> Result<api::Operation> {
        caller.must_be(Role::Operator)?;
        if let Some(id) = self.remembered(caller).await? {
            return self.operation_show(id).await;
        }
        let row = self.host_row(host).await?;
        let unclaimed: BTreeSet<Uuid> = self.unclaimed_now(&row).await?.into_iter().map(|u| u.cluster_id).collect();
        if adopt.clusters.is_empty() {
            return Err(Error::field("clusters", "name at least one unclaimed cluster id; chainpool status lists them"));
        }
        if let Some(unknown) = adopt.clusters.iter().find(|id| !unclaimed.contains(id)) {
            return Err(Error::field(
                "clusters",
                format!("{unknown} is not unclaimed on host {}; chainpool status lists what is", row.name),
            ));
        }
        let mut tx = self.store().begin().await?;
        let arguments = Arguments { adopt: adopt.clusters, ..Arguments::default() };
        let operation =
            self.accept_host(&mut tx, &row, OperationKind::HostAdopt, arguments, &Cause::of(caller, "adopt was asked for")).await?;
        self.remember(&mut tx, caller, operation.id).await?;
        self.accepted(tx, &[]).await?;
        self.view_operation(operation, true).await
    }
}

/// What the platform said of itself, as it is stored.
pub(crate) fn info(probe: &Probe, now: Timestamp) -> api::HostPlatform {
    api::HostPlatform {
        version: probe.version.clone(),
        api_version: probe.api_version.clone(),
        storage_driver: probe.storage_driver.clone(),
        architecture: probe.architecture.clone(),
        cpus: probe.cpus,
        memory_bytes: probe.memory_bytes,
        disk_free_bytes: probe.disk.map(|(free, _)| free),
        disk_total_bytes: probe.disk.map(|(_, total)| total),
        skew_ms: probe.skew_ms,
        checked_at: now,
    }
}

fn secrets(tls: Option<api::HostTls>, registry: Option<api::HostRegistry>) -> HostSecrets {
    HostSecrets {
        tls: tls.map(|api::HostTls { ca, cert, key }| Tls { ca, cert, key: Secret::new(key) }),
        registry: registry.map(|api::HostRegistry { user, password }| (user, Secret::new(password))),
    }
}

fn unreachable(address: &str, error: &chainpool_agent::Error) -> Error {
    Error::Unavailable(format!(
        "no engine was found at {address}: {error}. Check that it runs, that the address is right, and that this machine may reach it"
    ))
}

fn is_syslog_server(server: &str) -> bool {
    ["udp://", "tcp://", "tcp+tls://"].iter().any(|scheme| {
        server
            .strip_prefix(scheme)
            .is_some_and(|rest| rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()))
    })
}

/// The address at which users reach a host's clusters: the host part of a tcp address, or this machine's own.
fn public_address(address: &str) -> String {
    if let Some(rest) = address.strip_prefix("tcp://") {
        let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
        return host.trim_start_matches('[').trim_end_matches(']').to_owned();
    }
    own_address().unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// The address of the default route: the one that the system would send from. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}
