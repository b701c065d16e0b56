//! Apply, the hot path: one writer task; concurrent applies share one set-based transaction.
//!
//! A batch costs one read of existing leases, one guarded UPDATE per distinct filter, and four inserts,
//! whatever its size. If an account has a lease limit, its leases are counted first. The unique indexes of
//! the database (one active lease per cluster; one active single lease per holder and filter) would refuse a
//! double grant even if this code were wrong. A holder is identified together with the account that applies
//! for it: two accounts that name the same holder mean two holders.

mod request;

pub use request::{ApplyOutcome, ApplyRequest, LeaseNames};

use crate::{
    EnumColumn, Error, Json, LeaseRow, Moment, OperationRow, Result, RowVersion,
    datastore::{OFFERED, fresh_since},
    entity::{audit, idempotency, lease, operation},
    outbox::{self, SequencedEvent, notify},
    write::{WriteTransaction, Writer},
};
use chainpool_agent::Generation;
use chainpool_api::{LeaseState, Noun, OperationKind, OperationState, Timestamp};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, Statement, Value};
use std::{collections::HashMap, time::Duration};
use tokio::sync::{broadcast, mpsc, oneshot};
use uuid::Uuid;

/// The largest number of applies in one transaction.
const BATCH: usize = 256;

type Reply = oneshot::Sender<Result<Option<ApplyOutcome>>>;

/// The task that grants all leases.
pub(crate) struct Grants(mpsc::Sender<(ApplyRequest, Reply)>);

impl Grants {
    pub(crate) fn start(
        writer: Writer,
        events: broadcast::Sender<SequencedEvent>,
        evidence_max_age: Duration,
    ) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(ApplyRequest, Reply)>(4 * BATCH);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let (requests, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
                for (outcome, reply) in grant_or_split(&writer, &events, evidence_max_age, &requests)
                    .await
                    .into_iter()
                    .zip(replies)
                {
                    // A caller that gave up repeats the request and gets the same lease.
                    drop(reply.send(outcome));
                }
            }
        });
        Self(sender)
    }

    /// Leases a free cluster; `None` if no free cluster matches.
    pub(crate) async fn apply(&self, request: ApplyRequest) -> Result<Option<ApplyOutcome>> {
        let (reply, response) = oneshot::channel();
        let stopped = || Error::Database(sea_orm::DbErr::Custom("the apply writer has stopped".to_owned()));
        self.0.send((request, reply)).await.map_err(|_| stopped())?;
        response.await.map_err(|_| stopped())?
    }
}

/// Grants a batch. If that fails, grants each apply alone, so that one bad request does not fail the others.
async fn grant_or_split(
    writer: &Writer,
    events: &broadcast::Sender<SequencedEvent>,
    evidence_max_age: Duration,
    requests: &[ApplyRequest],
) -> Vec<Result<Option<ApplyOutcome>>> {
    match grant(writer, events, evidence_max_age, requests).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(error) if requests.len() == 1 => vec![Err(error)],
        // No apply caused this, and none would succeed alone.
        Err(Error::StorageFull) => requests.iter().map(|_| Err(Error::StorageFull)).collect(),
        Err(error) => {
            tracing::warn!(%error, applies = requests.len(), "a batch of applies failed; retrying each alone");
            let mut outcomes = Vec::with_capacity(requests.len());
            for request in requests {
                outcomes.push(
                    grant(writer, events, evidence_max_age, std::slice::from_ref(request))
                        .await
                        .map(|mut one| one.pop().flatten()),
                );
            }
            outcomes
        }
    }
}

async fn grant(
    writer: &Writer,
    events: &broadcast::Sender<SequencedEvent>,
    evidence_max_age: Duration,
    requests: &[ApplyRequest],
) -> Result<Vec<Option<ApplyOutcome>>> {
    let transaction = writer.begin().await?;
    let now = Timestamp::now();
    let fresh_since = fresh_since(now, evidence_max_age);
    let filters: Vec<String> = requests.iter().map(ApplyRequest::filter).collect();
    let mut held = held(&transaction, requests).await?;
    let mut active = ActiveLeases::of(&transaction, requests).await?;

    // One entry for each lease to create; repeated single applies share one.
    let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut first_of: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (place, request) in requests.iter().enumerate() {
        let key = (
            request.author.as_str(),
            request.holder.as_str(),
            filters[place].as_str(),
        );
        if request.single
            && (existing_lease(&held, request, &filters[place]).is_some() || first_of.contains_key(&key))
        {
            continue;
        }
        if request.single {
            first_of.insert(key, place);
        }
        wanted.entry(&filters[place]).or_default().push(place);
    }

    let mut created: HashMap<usize, LeaseRow> = HashMap::new();
    let mut names: HashMap<usize, LeaseNames> = HashMap::new();
    let mut operations = Vec::new();
    let mut idempotency_rows = Vec::new();
    for (filter, mut places) in wanted {
        places.retain(|place| active.reserve(&requests[*place]));
        let Some(first) = places.first() else { continue };
        let taken = take(&transaction, &requests[*first], places.len(), fresh_since).await?;
        for place in places.iter().skip(taken.len()) {
            active.release(&requests[*place]);
        }
        for (taken, place) in taken.into_iter().zip(places) {
            let (lease, operation) = rows(&requests[place], filter, &taken, now);
            idempotency_rows.extend(idempotency_row(&requests[place], &lease));
            created.insert(place, lease);
            names.insert(place, taken.names);
            operations.push(operation);
        }
    }
    if !created.is_empty() {
        insert(&transaction, created.values(), operations).await?;
    }
    if !idempotency_rows.is_empty() {
        idempotency::Entity::insert_many(idempotency_rows)
            .exec_without_returning(&transaction)
            .await?;
    }
    let changed = created
        .values()
        .flat_map(|lease| [(Noun::Lease, lease.id), (Noun::Cluster, lease.cluster_id)]);
    let changed = outbox::record(&transaction, changed).await?;
    transaction.commit_then(|| notify(events, changed)).await?;
    let single_created: Vec<LeaseRow> = created.values().filter(|lease| lease.single).cloned().collect();
    for lease in single_created {
        held.insert(
            (
                lease.applied_by.clone(),
                lease.holder.clone(),
                lease.filter.clone(),
            ),
            lease,
        );
    }
    let outcomes = requests
        .iter()
        .zip(filters)
        .enumerate()
        .map(|(place, (request, filter))| match created.remove(&place) {
            Some(lease) => Some(ApplyOutcome {
                lease,
                created: true,
                names: names.remove(&place),
            }),
            None if request.single => existing_lease(&held, request, &filter).map(|lease| ApplyOutcome {
                lease: lease.clone(),
                created: false,
                names: None,
            }),
            None => None,
        });
    Ok(outcomes.collect())
}

/// Active single leases by account, holder and filter.
type Held = HashMap<(String, String, String), LeaseRow>;

/// Returns the lease that the holder already has.
fn existing_lease<'a>(held: &'a Held, request: &ApplyRequest, filter: &str) -> Option<&'a LeaseRow> {
    let mut names = [Some(&request.holder), request.former_holder.as_ref()]
        .into_iter()
        .flatten();
    names.find_map(|holder| held.get(&(request.author.clone(), holder.clone(), filter.to_owned())))
}

/// Reads the active single leases of these holders.
async fn held(transaction: &WriteTransaction, requests: &[ApplyRequest]) -> Result<Held> {
    let names = |request: &ApplyRequest| {
        [Some(request.holder.clone()), request.former_holder.clone()]
            .into_iter()
            .flatten()
    };
    let holders: std::collections::BTreeSet<String> =
        requests.iter().filter(|o| o.single).flat_map(names).collect();
    if holders.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = lease::Entity::find()
        .filter(lease::Column::State.eq(LeaseState::Active.as_str()))
        .filter(lease::Column::Single.eq(true))
        .filter(lease::Column::Holder.is_in(holders))
        .all(transaction)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                (row.applied_by.clone(), row.holder.clone(), row.filter.clone()),
                row,
            )
        })
        .collect())
}

/// The number of own active leases of each account with a limit.
struct ActiveLeases<'a>(HashMap<&'a str, u32>);

impl<'a> ActiveLeases<'a> {
    async fn of(transaction: &WriteTransaction, requests: &'a [ApplyRequest]) -> Result<Self> {
        let limited = requests
            .iter()
            .filter_map(|request| Some((request.author.as_str(), request.lease_limit?)));
        let mut active = HashMap::new();
        for (author, limit) in limited {
            if !active.contains_key(author) {
                active.insert(author, own_leases(transaction, author, limit).await?);
            }
        }
        Ok(Self(active))
    }

    /// Reserves one lease within the account's limit; `false`: the limit is reached.
    fn reserve(&mut self, request: &'a ApplyRequest) -> bool {
        let Some(limit) = request.lease_limit else {
            return true;
        };
        let active = self.0.entry(&request.author).or_default();
        let is_within_limit = *active < limit;
        *active += u32::from(is_within_limit);
        is_within_limit
    }

    /// Returns a reservation that led to no lease.
    fn release(&mut self, request: &'a ApplyRequest) {
        if request.lease_limit.is_some() {
            *self.0.entry(&request.author).or_default() -= 1;
        }
    }
}

/// Counts the active leases that an account holds itself, up to `most`.
pub(crate) async fn own_leases(connection: &impl ConnectionTrait, account: &str, most: u32) -> Result<u32> {
    // The state is a literal, so that SQLite uses the partial index of active leases.
    let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM lease WHERE state = 'active' AND applied_by = ? AND holder = ? LIMIT ?)";
    let values = [account.into(), account.into(), most.into()];
    let row = connection
        .query_one_raw(Statement::from_sql_and_values(
            connection.get_database_backend(),
            sql,
            values,
        ))
        .await?;
    let count: i64 = row
        .map(|row| row.try_get_by_index(0))
        .transpose()?
        .unwrap_or_default();
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A cluster taken by this apply.
struct TakenCluster {
    cluster: Uuid,
    host: Uuid,
    generation: Generation,
    names: LeaseNames,
}

/// Takes up to `count` free, healthy, matching clusters in ONE guarded UPDATE, longest ready first.
async fn take(
    transaction: &WriteTransaction,
    request: &ApplyRequest,
    count: usize,
    fresh_since: Timestamp,
) -> Result<Vec<TakenCluster>> {
    let (conditions, filter_values) = request.conditions();
    let sql = format!(
        "UPDATE cluster SET leased = TRUE, row_version = row_version + 1 WHERE id IN (\
           SELECT id FROM cluster WHERE {OFFERED}{conditions} ORDER BY ready_at LIMIT ?) \
         RETURNING id, host_id, generation, name, network_type, (SELECT host.name FROM host WHERE host.id = host_id)"
    );
    let mut values: Vec<Value> = vec![fresh_since.0.into()];
    values.extend(filter_values);
    values.push(i64::try_from(count).expect("a batch is small").into());
    let rows = transaction
        .query_all_raw(Statement::from_sql_and_values(
            transaction.get_database_backend(),
            sql,
            values,
        ))
        .await?;
    let read = |row: sea_orm::QueryResult| -> Result<TakenCluster, sea_orm::DbErr> {
        let names = LeaseNames {
            cluster: row.try_get_by_index(3)?,
            network_type: row.try_get_by_index(4)?,
            host: row.try_get_by_index(5)?,
        };
        Ok(TakenCluster {
            cluster: row.try_get_by_index(0)?,
            host: row.try_get_by_index(1)?,
            generation: row.try_get_by_index(2)?,
            names,
        })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn rows(
    request: &ApplyRequest,
    filter: &str,
    taken: &TakenCluster,
    now: Timestamp,
) -> (LeaseRow, OperationRow) {
    let lease = LeaseRow {
        id: Uuid::now_v7(),
        cluster_id: taken.cluster,
        holder: request.holder.clone(),
        applied_by: request.author.clone(),
        filter: filter.to_owned(),
        single: request.single,
        state: EnumColumn(LeaseState::Active),
        created_at: Moment(now),
        expires_at: request.ttl_seconds.map(|ttl| Moment(now.plus_seconds(ttl))),
        ended_at: None,
        operation_id: None,
        row_version: RowVersion::default(),
    };
    let operation = OperationRow {
        id: Uuid::now_v7(),
        kind: EnumColumn(OperationKind::LeaseApply),
        state: EnumColumn(OperationState::Succeeded),
        host_id: taken.host,
        cluster_id: Some(taken.cluster),
        generation: taken.generation,
        parent_id: None,
        author: request.author.clone(),
        reason: format!("{} applied", request.holder),
        arguments: Json(serde_json::Value::Null),
        result: Some(Json(serde_json::json!({ "lease": lease.id }))),
        error: None,
        epoch: 0,
        deadline_at: None,
        created_at: Moment(now),
        started_at: Some(Moment(now)),
        ended_at: Some(Moment(now)),
        row_version: RowVersion::default(),
    };
    (lease, operation)
}

fn idempotency_row(request: &ApplyRequest, lease: &LeaseRow) -> Option<idempotency::ActiveModel> {
    let (account_id, route, name, body) = request.key.clone()?;
    let answer = Json(serde_json::json!({ "id": lease.id }));
    let row = idempotency::Model {
        account_id,
        route,
        name,
        body: body.to_vec(),
        answer,
        created_at: lease.created_at,
    };
    Some(row.into_active_model())
}

async fn insert(
    transaction: &WriteTransaction,
    leases: impl Iterator<Item = &LeaseRow>,
    operations: Vec<OperationRow>,
) -> Result<()> {
    let leases: Vec<&LeaseRow> = leases.collect();
    let authors: HashMap<Option<Uuid>, &str> = operations
        .iter()
        .map(|o| (o.cluster_id, o.author.as_str()))
        .collect();
    let lines = leases.iter().map(|lease| audit::Model {
        id: Uuid::now_v7(),
        at: lease.created_at,
        author: authors
            .get(&Some(lease.cluster_id))
            .copied()
            .unwrap_or_default()
            .to_owned(),
        verb: "lease_apply".to_owned(),
        subject: lease.cluster_id.to_string(),
        detail: format!("lease {} for {}", lease.id, lease.holder),
    });
    let lines: Vec<_> = lines.map(IntoActiveModel::into_active_model).collect();
    lease::Entity::insert_many(
        leases
            .into_iter()
            .cloned()
            .map(IntoActiveModel::into_active_model),
    )
    .exec_without_returning(transaction)
    .await?;
    audit::Entity::insert_many(lines)
        .exec_without_returning(transaction)
        .await?;
    operation::Entity::insert_many(operations.into_iter().map(IntoActiveModel::into_active_model))
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
