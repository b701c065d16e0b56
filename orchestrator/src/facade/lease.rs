//! Leases.

mod bundle;
mod refusal;

use crate::{
    Caller, Error, Orchestrator, Result,
    facade::{
        presenter::{lease_named, page},
        validation::check_labels,
    },
    operations::cause::Cause,
    permissions::{self, VisibleLeases},
};
use chainpool_api::{self as api, LeaseState, Timestamp};
use chainpool_store::{ApplyRequest, Audit, EnumColumn, LeaseQuery, LeaseRow, Priority};
use std::collections::BTreeMap;
use uuid::Uuid;

const DAY: u64 = 24 * 60 * 60;

/// The result of an apply.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The lease.
    pub lease: api::Lease,
    /// Set if this request created the lease; otherwise the holder already had it.
    pub created: bool,
}

impl Orchestrator {
    /// Leases a free cluster to the holder. Repeating the request returns the same lease. A holder named by a
    /// token is stored with the token's account as a prefix.
    pub async fn lease_apply(&self, caller: &Caller, apply: api::Apply) -> Result<Applied> {
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return Ok(Applied {
                lease: self.lease_show(caller, id).await?,
                created: false,
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
        let holder = permissions::holder(caller, holder)?;
        check_labels(&labels)?;
        if let Some(name) = &network_type {
            self.runtime
                .registry
                .get(name)
                .map_err(|e| Error::field("type", e.to_string()))?;
        }
        let host = match host {
            Some(name) => match self.store().read().host_named(&name).await? {
                Some(found) => Some(found.id),
                // Users must not learn host names: treat an unknown host as one without clusters.
                None if !permissions::operates(caller) => Some(Uuid::nil()),
                None => return Err(Error::field("host", format!("host {name:?} does not exist"))),
            },
            None => None,
        };
        let preset = match &network_type {
            Some(network_type) => preset.map(|preset| self.runtime.registry.preset(network_type, &preset)),
            None => preset,
        };
        let request = ApplyRequest {
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
            lease_limit: permissions::lease_limit(caller, self.leases_per_account),
            key: caller
                .key
                .clone()
                .map(|k| (caller.account_id, k.route, k.key, k.body)),
        };
        if self.runtime.is_paused() {
            let message = "a backup was restored and free clusters may have been used since; wait until an administrator resumes the installation";
            return Err(Error::conflict("paused", message));
        }
        match self.store().apply(request.clone()).await? {
            Some(outcome) => {
                if !outcome.created {
                    self.idempotency.remember_known(caller, outcome.lease.id).await?;
                }
                let lease = match outcome.names {
                    Some(names) => lease_named(outcome.lease, names),
                    None => self.present_lease(outcome.lease).await?,
                };
                Ok(Applied {
                    lease,
                    created: outcome.created,
                })
            }
            None => Err(self.refusal(&request).await?),
        }
    }

    /// Validates the parameter filter of an apply.
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
                    "a filter may have at most {LIMIT} parameters, not {}",
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
                    "no network type has this parameter; see chainpool network-type show",
                ));
            }
            filter.insert(name.clone(), value.to_string());
        }
        Ok(filter)
    }

    /// Lists leases: a user's own; for a token with `lease_any`, those that its account applied for.
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
        let VisibleLeases { holders, applied_by } = permissions::visible_leases(caller, holder.as_deref());
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
        let clusters = rows.items.iter().map(|row| row.cluster_id);
        let names = self.store().read().lease_names(clusters).await?;
        let present = |row: LeaseRow| {
            let names = names.get(&row.cluster_id).cloned().unwrap_or_default();
            lease_named(row, names)
        };
        Ok(api::Page {
            items: rows.items.into_iter().map(present).collect(),
            next: rows.next,
        })
    }

    /// Shows a lease.
    pub async fn lease_show(&self, caller: &Caller, lease: Uuid) -> Result<api::Lease> {
        self.present_lease(self.lease_for(caller, lease).await?).await
    }

    /// Renews a lease from now.
    pub async fn lease_renew(&self, caller: &Caller, lease: Uuid, renew: api::Renew) -> Result<api::Lease> {
        let ttl = ttl(caller, renew.ttl_seconds)?;
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let mut row = usable(caller, lease, tx.lease(lease).await?)?;
        must_be_active(&row)?;
        row.expires_at = ttl.map(|ttl| now.plus_seconds(ttl).into());
        let detail = format!(
            "expires: {}",
            row.expires_at
                .map_or_else(|| "no expiry".to_owned(), |at| at.0.to_string())
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
        let row = tx.lease_save(row).await?;
        tx.commit("lease renewed").await?;
        self.present_lease(row).await
    }

    /// Releases a lease; the cluster is reset with new keys.
    pub async fn lease_release(&self, caller: &Caller, lease: Uuid) -> Result<api::Lease> {
        let (_turn, known) = self.idempotency.remembered(caller).await?;
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
        self.present_lease(row).await
    }

    /// Ends an active lease and accepts the reset of its cluster in the same transaction, even while its host
    /// is unreachable.
    pub(crate) async fn end_lease(
        &self,
        lease: Uuid,
        state: LeaseState,
        cause: &Cause,
        caller: Option<&Caller>,
    ) -> Result<Option<LeaseRow>> {
        let priority = match state {
            LeaseState::Expired => Priority::Background,
            _ => Priority::Request,
        };
        let mut tx = self.store().begin_as(priority).await?;
        let now = Timestamp::now();
        let Some(mut row) = tx
            .lease(lease)
            .await?
            .filter(|row| row.state.0 == LeaseState::Active)
        else {
            return Ok(None);
        };
        if state == LeaseState::Expired && row.expires_at.is_none_or(|at| at.0 > now) {
            // The lease was renewed meanwhile.
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
        if state == LeaseState::Expired && !tx.leads(host.id).await? {
            // Only the leader of a host expires its leases.
            return Ok(None);
        }
        cluster.leased = false;
        let (operation, superseded) = if self.operations.deleted_on_release(&tx, &host, &cluster).await? {
            self.operations.accept_delete(&mut tx, cluster, cause).await?
        } else {
            self.operations
                .accept_reset(&mut tx, &host, cluster, cause)
                .await?
        };
        row.state = EnumColumn(state);
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
        let row = tx.lease_save(row).await?;
        if let Some(caller) = caller {
            self.idempotency.remember(&mut tx, caller, lease).await?;
        }
        self.operations.accepted(tx, superseded.as_slice()).await?;
        Ok(Some(row))
    }

    /// Ends the expired leases of the hosts that this process leads. Does nothing while the installation is
    /// paused after a restore, because a lease may have been renewed since the backup. Takes no input and may
    /// run at any time.
    pub async fn expire_leases(&self) -> Result<()> {
        if !self.store().clock().may_expire() || self.runtime.is_paused() {
            return Ok(());
        }
        for row in self.store().read().leases_due(Timestamp::now()).await? {
            let cause = Cause::watchdog(format!("the lease of {} expired", row.holder));
            // A failure is retried by the next run and does not delay the others.
            if let Err(error) = self.end_lease(row.id, LeaseState::Expired, &cause, None).await {
                tracing::warn!(lease = %row.id, %error, cause = ?error, "an expired lease could not be ended; retrying");
            }
        }
        Ok(())
    }

    /// Reads a lease that the caller may use; other leases are not found.
    async fn lease_for(&self, caller: &Caller, lease: Uuid) -> Result<LeaseRow> {
        usable(caller, lease, self.store().read().lease(lease).await?)
    }
}

/// Returns the lease if the caller may use it.
fn usable(caller: &Caller, lease: Uuid, row: Option<LeaseRow>) -> Result<LeaseRow> {
    row.filter(|row| permissions::may_use_lease(caller, row))
        .ok_or_else(|| Error::not_found("lease", lease.to_string()))
}

fn must_be_active(row: &LeaseRow) -> Result<()> {
    if row.state.0 == LeaseState::Active {
        Ok(())
    } else {
        Err(Error::conflict(
            "lease_over",
            format!("the lease has ended ({}); lease another cluster", row.state.0),
        ))
    }
}

/// The duration of a lease: one day by default, at most 30 days, no expiry for operators only.
fn ttl(caller: &Caller, seconds: Option<u64>) -> Result<Option<i64>> {
    match seconds.unwrap_or(DAY) {
        0 if permissions::may_lease_without_expiry(caller) => Ok(None),
        0 => Err(Error::field(
            "ttl_seconds",
            "a lease without expiry requires the role operator; use 1 to 2592000 seconds (30 days)",
        )),
        ttl if ttl > 30 * DAY => Err(Error::field(
            "ttl_seconds",
            format!("{ttl} is above 2592000 seconds (30 days); use less and renew the lease"),
        )),
        ttl => Ok(Some(i64::try_from(ttl).map_err(Error::internal)?)),
    }
}
