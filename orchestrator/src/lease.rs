//! Leases: who holds which cluster until when.

use crate::{
    Caller, Error, Orchestrator, Result,
    accept::Cause,
    cluster::check_labels,
    policy::{self, VisibleLeases},
    view::{lease_named, lease_with, number, page},
    words::counted,
};
use chainpool_api::{self as api, ClusterState, LeaseState, Timestamp};
use chainpool_store::{ApplyOrder, Audit, LeaseQuery, LeaseRow, Word};
use std::collections::BTreeMap;
use uuid::Uuid;

const DAY: u64 = 24 * 60 * 60;

/// The answer to an apply.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The lease.
    pub lease: api::Lease,
    /// Whether it was made now; otherwise the holder had it already.
    pub made: bool,
}

impl Orchestrator {
    /// Takes a free cluster for the holder. Asking again returns the same one. A holder that a token names is stored
    /// with the token's account in front.
    pub async fn lease_apply(&self, caller: &Caller, apply: api::Apply) -> Result<Applied> {
        let (_turn, known) = self.remembered(caller).await?;
        if let Some(id) = known {
            return Ok(Applied {
                lease: self.lease_show(caller, id).await?,
                made: false,
            });
        }
        let api::Apply {
            holder,
            network_type,
            preset,
            version,
            size,
            consensus,
            host,
            labels,
            parameters,
            ttl_seconds,
            allow_multiple,
        } = apply;
        let holder = policy::holder(caller, holder)?;
        check_labels(&labels)?;
        if let Some(name) = &network_type {
            self.inner
                .registry
                .get(name)
                .map_err(|e| Error::field("type", e.to_string()))?;
        }
        let host = match host {
            Some(name) => match self.store().read().host_named(&name).await? {
                Some(found) => Some(found.id),
                // The names of hosts are not for everybody: to users it is a host without clusters.
                None if !policy::operates(caller) => Some(Uuid::nil()),
                None => return Err(Error::field("host", format!("there is no host {name:?}"))),
            },
            None => None,
        };
        let preset = match &network_type {
            Some(network_type) => preset.map(|preset| self.inner.registry.preset(network_type, &preset)),
            None => preset,
        };
        let order = ApplyOrder {
            holder: holder.stored,
            former_holder: holder.former,
            author: caller.account.clone(),
            network_type,
            preset,
            version,
            size,
            consensus,
            host,
            labels,
            parameters: self.parameter_filter(caller, &parameters)?,
            single: !allow_multiple,
            ttl_seconds: ttl(caller, ttl_seconds)?,
            lease_limit: policy::lease_limit(caller, self.inner.leases_per_account),
            key: caller
                .key
                .clone()
                .map(|k| (caller.account_id, k.route, k.key, k.body)),
        };
        if self.is_paused() {
            let message = "a backup was restored and an administrator has not resumed yet; free clusters may have been used since: wait";
            return Err(Error::conflict("paused", message));
        }
        match self.store().apply(order.clone()).await? {
            Some(outcome) => {
                if !outcome.made {
                    self.remember_known(caller, outcome.lease.id).await?;
                }
                let lease = match outcome.names {
                    Some(names) => lease_named(outcome.lease, names),
                    None => self.view_lease(outcome.lease).await?,
                };
                Ok(Applied {
                    lease,
                    made: outcome.made,
                })
            }
            None => Err(self.not_granted(&order).await?),
        }
    }

    /// Checks the parameters that somebody applies for.
    fn parameter_filter(
        &self,
        caller: &Caller,
        parameters: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<BTreeMap<String, String>> {
        const LIMIT: usize = 32;
        if parameters.len() > LIMIT {
            return Err(Error::field(
                "parameters",
                format!(
                    "{} are more than the {LIMIT} that a filter may have",
                    parameters.len()
                ),
            ));
        }
        let known: Vec<String> = self
            .network_types(caller)
            .into_iter()
            .flat_map(|network| network.parameters)
            .map(|parameter| parameter.name)
            .collect();
        let mut filter = BTreeMap::new();
        for (name, value) in parameters {
            if !known.contains(name) {
                return Err(Error::field(
                    &format!("parameters.{name}"),
                    "no network type has such a parameter; see chainpool network-type show",
                ));
            }
            filter.insert(name.clone(), value.to_string());
        }
        Ok(filter)
    }

    /// Why nothing was granted.
    async fn not_granted(&self, order: &ApplyOrder) -> Result<Error> {
        match order.lease_limit {
            Some(limit) if self.store().read().own_leases(&order.author, limit).await? >= limit => {
                let text = format!(
                    "{} already has {}, the limit for an account (chainpool serve --leases-per-account): release one, or ask an admin",
                    order.author,
                    counted(limit, "active lease")
                );
                Ok(Error::conflict("too_many_leases", text))
            }
            _ => self.nothing_free(order).await,
        }
    }

    /// Says what there is that would match, and why it cannot be had now.
    async fn nothing_free(&self, order: &ApplyOrder) -> Result<Error> {
        let rows = self.store().read().clusters().await?;
        let fits = |row: &&chainpool_store::ClusterRow| {
            let same = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|w| w == has);
            let labels = chainpool_store::Labels::from_column(&row.labels).0;
            same(&order.network_type, &row.network_type)
                && same(&order.preset, &row.preset)
                && same(&order.version, &row.version)
                && same(&order.consensus, &row.consensus)
                && order.size.is_none_or(|size| size == number(row.size))
                && order.host.is_none_or(|host| host == row.host_id)
                && order
                    .labels
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
                && order
                    .parameters
                    .iter()
                    .all(|(name, value)| has_parameter(row, name, value))
        };
        let matching: Vec<_> = rows.iter().filter(fits).collect();
        if matching.is_empty() {
            let kinds: BTreeMap<String, usize> = rows.iter().fold(BTreeMap::new(), |mut kinds, row| {
                *kinds
                    .entry(format!(
                        "{} {} ({}, {}, {})",
                        row.network_type,
                        row.version,
                        counted(row.size, "node"),
                        row.preset,
                        row.consensus
                    ))
                    .or_default() += 1;
                kinds
            });
            let there = if kinds.is_empty() {
                "the pool is empty".to_owned()
            } else {
                format!("the pool has {}", list(&kinds))
            };
            return Ok(Error::conflict(
                "nothing_matches",
                format!("no cluster matches the filter; {there}"),
            ));
        }
        let mut why: BTreeMap<String, usize> = BTreeMap::new();
        for row in &matching {
            let reason = match row.state.0 {
                _ if row.leased => "applied".to_owned(),
                ClusterState::Ready if !row.schedulable => {
                    "on a host that is not active or not schedulable".to_owned()
                }
                ClusterState::Ready if row.operation_id.is_some() => "being worked on".to_owned(),
                ClusterState::Ready => row.health.0.to_string(),
                state => state.to_string(),
            };
            *why.entry(reason).or_default() += 1;
        }
        let count = matching.len();
        Ok(Error::conflict(
            "nothing_free",
            format!(
                "none of the clusters that match ({count}) is free: {}; try again later, or ask an operator for more capacity",
                list(&why)
            ),
        ))
    }

    /// Lists leases; a user sees its own, a token for other holders those that its account applied for.
    pub async fn lease_list(
        &self,
        caller: &Caller,
        filter: &api::LeaseFilter,
    ) -> Result<api::Page<api::Lease>> {
        let api::LeaseFilter {
            state,
            holder,
            cluster,
            after,
            limit,
        } = filter.clone();
        let VisibleLeases { holders, applied_by } = policy::visible_leases(caller, holder.as_deref());
        let cluster = match cluster {
            Some(name) => match self.store().read().cluster_named(&name).await? {
                Some(row) => Some(row.id),
                None => {
                    return Ok(api::Page {
                        items: Vec::new(),
                        next: None,
                    });
                }
            },
            None => None,
        };
        let query = LeaseQuery {
            state,
            holders,
            applied_by,
            cluster,
            after: after.and_then(|a| a.parse().ok()),
            limit,
        };
        let rows = page(self.store().read().lease_page(&query).await?, limit, |row| row.id);
        let hosts = self.hosts_by_id().await?;
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            let cluster = self.store().read().cluster(row.cluster_id).await?;
            let host = cluster.as_ref().and_then(|c| hosts.get(&c.host_id));
            items.push(lease_with(row, cluster.as_ref(), host));
        }
        Ok(api::Page {
            items,
            next: rows.next,
        })
    }

    /// One lease.
    pub async fn lease_show(&self, caller: &Caller, lease: Uuid) -> Result<api::Lease> {
        self.view_lease(self.lease_for(caller, lease).await?).await
    }

    /// Counts its time anew from now.
    pub async fn lease_renew(&self, caller: &Caller, lease: Uuid, renew: api::Renew) -> Result<api::Lease> {
        let ttl = ttl(caller, renew.ttl_seconds)?;
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let mut row = usable(caller, lease, tx.lease(lease).await?)?;
        must_be_active(&row)?;
        row.expires_at = ttl.map(|ttl| now.plus_seconds(ttl).into());
        let detail = format!(
            "until {}",
            row.expires_at
                .map_or_else(|| "further notice".to_owned(), |at| at.0.to_string())
        );
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "lease_renew",
                subject: &lease.to_string(),
                detail,
            },
            now,
        )
        .await?;
        tx.lease_save(row.clone()).await?;
        tx.commit("lease renewed").await?;
        self.view_lease(row).await
    }

    /// Ends it; the cluster is wiped and made again with new keys.
    pub async fn lease_release(&self, caller: &Caller, lease: Uuid) -> Result<api::Lease> {
        let (_turn, known) = self.remembered(caller).await?;
        if let Some(id) = known {
            return self.lease_show(caller, id).await;
        }
        must_be_active(&self.lease_for(caller, lease).await?)?;
        let row = self
            .end_lease(
                lease,
                LeaseState::Released,
                &Cause::of(caller, "the lease was released"),
                Some(caller),
            )
            .await?;
        let row = row.ok_or_else(|| Error::conflict("lease_over", "the lease has just ended"))?;
        self.view_lease(row).await
    }

    /// Ends an active lease and accepts the reset of its cluster in the same transaction, even when its host is away.
    pub(crate) async fn end_lease(
        &self,
        lease: Uuid,
        state: LeaseState,
        cause: &Cause,
        caller: Option<&Caller>,
    ) -> Result<Option<LeaseRow>> {
        let mut tx = self.store().begin().await?;
        let now = Timestamp::now();
        let Some(mut row) = tx
            .lease(lease)
            .await?
            .filter(|row| row.state.0 == LeaseState::Active)
        else {
            return Ok(None);
        };
        if state == LeaseState::Expired && row.expires_at.is_none_or(|at| at.0 > now) {
            // Renewed since it was found due.
            return Ok(None);
        }
        let mut cluster = tx
            .cluster(row.cluster_id)
            .await?
            .ok_or_else(|| Error::internal("a lease without a cluster"))?;
        let host = tx
            .host(cluster.host_id)
            .await?
            .ok_or_else(|| Error::internal("a cluster without a host"))?;
        cluster.leased = false;
        let (operation, superseded) = if self.goes_at_release(&tx, &host, &cluster).await? {
            self.accept_delete(&mut tx, cluster, cause).await?
        } else {
            self.accept_reset(&mut tx, &host, cluster, cause).await?
        };
        row.state = Word(state);
        row.ended_at = Some(now.into());
        row.operation_id = Some(operation.id);
        tx.audit_insert(
            Audit {
                author: &cause.author,
                verb: "lease_release",
                subject: &lease.to_string(),
                detail: format!("{state}, held by {}", row.holder),
            },
            now,
        )
        .await?;
        tx.lease_save(row.clone()).await?;
        if let Some(caller) = caller {
            self.remember(&mut tx, caller, lease).await?;
        }
        self.accepted(tx, superseded.as_slice()).await?;
        Ok(Some(row))
    }

    /// Ends the leases whose time has run out; none while the installation is paused after a restore, because a lease
    /// may have been renewed since the backup. Takes no input and may run at any time.
    pub async fn expire_leases(&self) -> Result<()> {
        if !self.store().clock().may_expire() || self.is_paused() {
            return Ok(());
        }
        for row in self.store().read().leases_due(Timestamp::now()).await? {
            let cause = Cause::watchdog(format!("the lease of {} expired", row.holder));
            // One that cannot end now is tried again; the others do not wait for it.
            if let Err(error) = self.end_lease(row.id, LeaseState::Expired, &cause, None).await {
                tracing::warn!(lease = %row.id, %error, cause = ?error, "an expired lease does not end yet");
            }
        }
        Ok(())
    }

    /// Everything that its holder needs to connect. Each read is noted in the audit, because there may be private keys.
    pub async fn lease_bundle(&self, caller: &Caller, lease: Uuid) -> Result<api::Bundle> {
        let (row, bundle) = self.bundle_of(caller, lease).await?;
        self.bundle_read(caller, &row).await?;
        Ok(bundle)
    }

    /// The same without the content of its files.
    pub async fn lease_bundle_outline(&self, caller: &Caller, lease: Uuid) -> Result<api::Bundle> {
        let (_, mut bundle) = self.bundle_of(caller, lease).await?;
        bundle.files.values_mut().for_each(String::clear);
        Ok(bundle)
    }

    async fn bundle_of(&self, caller: &Caller, lease: Uuid) -> Result<(LeaseRow, api::Bundle)> {
        let row = self.lease_for(caller, lease).await?;
        must_be_active(&row)?;
        let cluster = self
            .store()
            .read()
            .cluster(row.cluster_id)
            .await?
            .ok_or_else(|| Error::internal("a lease without a cluster"))?;
        let (parts, reach) = self.bundle_parts(&cluster).await?;
        let mut notes = Vec::new();
        if reach.loopback {
            notes.push(
                "The addresses work on the host's own machine only: its ports are bound to 127.0.0.1."
                    .to_owned(),
            );
        }
        if cluster.size == 1 {
            notes.push(
                "There is one node only: what is written and what is read come from the same one.".to_owned(),
            );
        }
        let bundle = api::Bundle {
            lease_id: row.id,
            cluster: cluster.name,
            network_type: cluster.network_type,
            chain_id: cluster.chain_id,
            nodes: parts.nodes,
            write: parts.write,
            read: parts.read,
            files: parts.files,
            notes,
        };
        Ok((row, bundle))
    }

    /// A lease that the caller may use; to all others it does not exist.
    async fn lease_for(&self, caller: &Caller, lease: Uuid) -> Result<LeaseRow> {
        usable(caller, lease, self.store().read().lease(lease).await?)
    }
}

/// Whether a cluster has this parameter; the value is a JSON text.
fn has_parameter(row: &chainpool_store::ClusterRow, name: &str, value: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(value)
        .is_ok_and(|wanted| row.parameters.0.get(name) == Some(&wanted))
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The lease, if there is one that the caller may use.
fn usable(caller: &Caller, lease: Uuid, row: Option<LeaseRow>) -> Result<LeaseRow> {
    row.filter(|row| policy::may_use_lease(caller, row))
        .ok_or_else(|| Error::not_found("lease", lease.to_string()))
}

fn must_be_active(row: &LeaseRow) -> Result<()> {
    if row.state.0 == LeaseState::Active {
        Ok(())
    } else {
        Err(Error::conflict(
            "lease_over",
            format!("the lease is over ({}); apply for another", row.state.0),
        ))
    }
}

/// How long a lease lives: a day when nobody says, 30 days at most, without end for operators only.
fn ttl(caller: &Caller, seconds: Option<u64>) -> Result<Option<i64>> {
    match seconds.unwrap_or(DAY) {
        0 if policy::may_hold_for_ever(caller) => Ok(None),
        0 => Err(Error::field(
            "ttl_seconds",
            "a lease without end needs an operator; use 1 to 2592000 seconds (30 days)",
        )),
        ttl if ttl > 30 * DAY => Err(Error::field(
            "ttl_seconds",
            format!("{ttl} is above 2592000 seconds (30 days); a lease can be renewed"),
        )),
        ttl => Ok(Some(i64::try_from(ttl).map_err(Error::internal)?)),
    }
}
