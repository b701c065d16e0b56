//! Apply, the hot path: one writer task, and waiting applies share one set-based transaction.
//!
//! A batch costs one look at existing leases, one guarded UPDATE for each distinct filter, and three inserts, whatever
//! its size; where the number of an account's leases is limited, they are counted first. The database's unique indexes (one active lease a cluster; one active single lease a holder and filter)
//! would refuse a double grant even if this code were wrong. A holder is one only together with the account that applies
//! for it: two accounts that name the same holder mean two.

use crate::{
    Error, Json, LeaseRow, Moment, OperationRow, Result, Store, Word,
    datastore::Labels,
    entity::{audit, idempotency, lease, operation},
    write::{WriteTransaction, Writer},
};
use chainpool_api::{Event, LeaseState, Noun, OperationKind, OperationState, Timestamp};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, Statement, Value};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::{broadcast, mpsc, oneshot};
use uuid::Uuid;

/// How many applies share a transaction at most.
const BATCH: usize = 256;
/// How old evidence may be for a cluster to be offered.
const FRESH_MS: i64 = 60_000;

/// What somebody applies for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ApplyOrder {
    /// Who shall hold it.
    pub holder: String,
    /// The name under which the same holder's leases were stored before holders had their account's name in front.
    pub former_holder: Option<String>,
    /// The account that asks, which the lease belongs to.
    pub author: String,
    /// Of this network type.
    pub network_type: Option<String>,
    /// Made from this preset.
    pub preset: Option<String>,
    /// Of this version line.
    pub version: Option<String>,
    /// With this many nodes.
    pub size: Option<u32>,
    /// Whose nodes agree in this way.
    pub consensus: Option<String>,
    /// On this host.
    pub host: Option<Uuid>,
    /// With all these labels.
    pub labels: BTreeMap<String, String>,
    /// Made with these parameters: names of `a-z`, `0-9` and `_`, values as JSON texts.
    pub parameters: BTreeMap<String, String>,
    /// The holder may have one of this filter only.
    pub single: bool,
    /// Seconds until it expires; `None`: never.
    pub ttl_seconds: Option<i64>,
    /// How many active leases the account may hold itself, this one included; `None`: any number.
    pub lease_limit: Option<u32>,
    /// What ties a repeated request to this one: account, route, key, SHA-256 of the body.
    pub key: Option<(Uuid, String, String, [u8; 32])>,
}

/// What an apply got.
#[derive(Debug, Clone)]
pub struct ApplyOutcome {
    /// The lease.
    pub lease: LeaseRow,
    /// Whether it was made now.
    pub made: bool,
    /// The names around a lease that was made now.
    pub names: Option<LeaseNames>,
}

/// What people call the things around a lease. Read by the statement that takes the cluster, so that an answer needs no
/// look-up of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseNames {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's network type.
    pub network_type: String,
    /// The name of the cluster's host.
    pub host: String,
}

type Reply = oneshot::Sender<Result<Option<ApplyOutcome>>>;

/// The one task that grants leases.
pub(crate) struct Grants(mpsc::Sender<(ApplyOrder, Reply)>);

impl Store {
    /// Takes a free cluster; `None` when nothing free matches. Asking again returns the same lease.
    pub async fn apply(&self, order: ApplyOrder) -> Result<Option<ApplyOutcome>> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::Database(sea_orm::DbErr::Custom("the apply writer has ended".to_owned()));
        self.grants().0.send((order, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl ApplyOrder {
    /// The filter in one canonical text: equal texts are equal filters.
    fn filter(&self) -> String {
        let Self {
            network_type,
            preset,
            version,
            size,
            consensus,
            host,
            labels,
            parameters,
            holder: _,
            former_holder: _,
            author: _,
            single: _,
            ttl_seconds: _,
            lease_limit: _,
            key: _,
        } = self;
        // Leases from before there were parameters in a filter keep theirs.
        let filter = serde_json::json!([network_type, preset, version, size, consensus, host, labels]);
        if parameters.is_empty() {
            filter.to_string()
        } else {
            serde_json::json!([filter, parameters]).to_string()
        }
    }

    fn conditions(&self) -> (String, Vec<Value>) {
        let mut sql = String::new();
        let mut values: Vec<Value> = Vec::new();
        let and = |sql: &mut String, values: &mut Vec<Value>, condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        for (column, text) in [
            ("network_type", &self.network_type),
            ("preset", &self.preset),
            ("version", &self.version),
            ("consensus", &self.consensus),
        ] {
            if let Some(text) = text {
                and(
                    &mut sql,
                    &mut values,
                    &format!("{column} = ?"),
                    text.clone().into(),
                );
            }
        }
        if let Some(size) = self.size {
            and(&mut sql, &mut values, "size = ?", i64::from(size).into());
        }
        if let Some(host) = self.host {
            and(&mut sql, &mut values, "host_id = ?", host.into());
        }
        for needle in Labels(self.labels.clone()).needles() {
            and(&mut sql, &mut values, "instr(labels, ?) > 0", needle.into());
        }
        for (name, value) in &self.parameters {
            and(
                &mut sql,
                &mut values,
                "parameters -> ?",
                format!("$.{name}").into(),
            );
            sql.push_str(" = json(?)");
            values.push(value.clone().into());
        }
        (sql, values)
    }
}

impl Grants {
    pub(crate) fn start(writer: Writer, events: broadcast::Sender<Event>) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(ApplyOrder, Reply)>(4 * BATCH);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let (orders, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
                for (outcome, reply) in settle(&writer, &events, &orders).await.into_iter().zip(replies) {
                    // A caller that has gone asks again and gets the same lease.
                    drop(reply.send(outcome));
                }
            }
        });
        Self(sender)
    }
}

/// Grants a batch; when that fails, each alone, so that one bad member does not fail the others.
async fn settle(
    writer: &Writer,
    events: &broadcast::Sender<Event>,
    orders: &[ApplyOrder],
) -> Vec<Result<Option<ApplyOutcome>>> {
    match grant(writer, events, orders).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(error) if orders.len() == 1 => vec![Err(error)],
        // It is nobody's fault, and none of them would fare better alone.
        Err(Error::StorageFull) => orders.iter().map(|_| Err(Error::StorageFull)).collect(),
        Err(error) => {
            tracing::warn!(%error, applies = orders.len(), "a batch of applies failed; each is tried alone");
            let mut outcomes = Vec::with_capacity(orders.len());
            for order in orders {
                outcomes.push(
                    grant(writer, events, std::slice::from_ref(order))
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
    events: &broadcast::Sender<Event>,
    orders: &[ApplyOrder],
) -> Result<Vec<Option<ApplyOutcome>>> {
    let transaction = writer.begin().await?;
    let now = Timestamp::now();
    let filters: Vec<String> = orders.iter().map(ApplyOrder::filter).collect();
    let mut held = held(&transaction, orders).await?;
    let mut active = ActiveLeases::of(&transaction, orders).await?;

    // One place in the queue for each lease that must be made; repeated single applies share one.
    let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut first_of: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (place, order) in orders.iter().enumerate() {
        let key = (
            order.author.as_str(),
            order.holder.as_str(),
            filters[place].as_str(),
        );
        if order.single && (had(&held, order, &filters[place]).is_some() || first_of.contains_key(&key)) {
            continue;
        }
        if order.single {
            first_of.insert(key, place);
        }
        wanted.entry(&filters[place]).or_default().push(place);
    }

    let mut made: HashMap<usize, LeaseRow> = HashMap::new();
    let mut names: HashMap<usize, LeaseNames> = HashMap::new();
    let mut operations = Vec::new();
    let mut answers = Vec::new();
    for (filter, mut places) in wanted {
        places.retain(|place| active.admits(&orders[*place]));
        let Some(first) = places.first() else { continue };
        let taken = take(&transaction, &orders[*first], places.len(), now).await?;
        for place in places.iter().skip(taken.len()) {
            active.gives_back(&orders[*place]);
        }
        for (taken, place) in taken.into_iter().zip(places) {
            let (lease, operation) = rows(&orders[place], filter, &taken, now);
            answers.extend(answer(&orders[place], &lease));
            made.insert(place, lease);
            names.insert(place, taken.names);
            operations.push(operation);
        }
    }
    if !made.is_empty() {
        insert(&transaction, made.values(), operations).await?;
    }
    if !answers.is_empty() {
        idempotency::Entity::insert_many(answers)
            .exec_without_returning(&transaction)
            .await?;
    }
    transaction.commit().await?;

    for lease in made.values() {
        for (noun, id) in [(Noun::Lease, lease.id), (Noun::Cluster, lease.cluster_id)] {
            // Nobody listening is no failure: events are wake-ups, the rows are the truth.
            drop(events.send(Event { noun, id }));
        }
    }
    let single_made: Vec<LeaseRow> = made.values().filter(|lease| lease.single).cloned().collect();
    for lease in single_made {
        held.insert(
            (
                lease.applied_by.clone(),
                lease.holder.clone(),
                lease.filter.clone(),
            ),
            lease,
        );
    }
    let outcomes = orders
        .iter()
        .zip(filters)
        .enumerate()
        .map(|(place, (order, filter))| match made.remove(&place) {
            Some(lease) => Some(ApplyOutcome {
                lease,
                made: true,
                names: names.remove(&place),
            }),
            None if order.single => had(&held, order, &filter).map(|lease| ApplyOutcome {
                lease: lease.clone(),
                made: false,
                names: None,
            }),
            None => None,
        });
    Ok(outcomes.collect())
}

/// Active single leases by account, holder and filter.
type Held = HashMap<(String, String, String), LeaseRow>;

/// The lease that the holder of an order has already.
fn had<'a>(held: &'a Held, order: &ApplyOrder, filter: &str) -> Option<&'a LeaseRow> {
    let mut names = [Some(&order.holder), order.former_holder.as_ref()]
        .into_iter()
        .flatten();
    names.find_map(|holder| held.get(&(order.author.clone(), holder.clone(), filter.to_owned())))
}

/// The active single leases that these holders have.
async fn held(transaction: &WriteTransaction, orders: &[ApplyOrder]) -> Result<Held> {
    let names = |order: &ApplyOrder| {
        [Some(order.holder.clone()), order.former_holder.clone()]
            .into_iter()
            .flatten()
    };
    let holders: std::collections::BTreeSet<String> =
        orders.iter().filter(|o| o.single).flat_map(names).collect();
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

/// How many active leases of their own the accounts have whose number is limited.
struct ActiveLeases<'a>(HashMap<&'a str, u32>);

impl<'a> ActiveLeases<'a> {
    async fn of(transaction: &WriteTransaction, orders: &'a [ApplyOrder]) -> Result<Self> {
        let limited = orders
            .iter()
            .filter_map(|order| Some((order.author.as_str(), order.lease_limit?)));
        let mut active = HashMap::new();
        for (author, limit) in limited {
            if !active.contains_key(author) {
                active.insert(author, own_leases(transaction, author, limit).await?);
            }
        }
        Ok(Self(active))
    }

    /// Whether an order may have one more, which is counted.
    fn admits(&mut self, order: &'a ApplyOrder) -> bool {
        let Some(limit) = order.lease_limit else {
            return true;
        };
        let active = self.0.entry(&order.author).or_default();
        let admits = *active < limit;
        *active += u32::from(admits);
        admits
    }

    /// An order that was admitted got nothing.
    fn gives_back(&mut self, order: &'a ApplyOrder) {
        if order.lease_limit.is_some() {
            *self.0.entry(&order.author).or_default() -= 1;
        }
    }
}

/// How many active leases an account holds itself, counted up to `most`.
pub(crate) async fn own_leases(connection: &impl ConnectionTrait, account: &str, most: u32) -> Result<u32> {
    // The state as a word of the statement: by that the index of active leases is found.
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

/// A cluster that was just taken.
struct Taken {
    cluster: Uuid,
    host: Uuid,
    generation: i64,
    names: LeaseNames,
}

/// ONE guarded UPDATE takes up to `count` free, healthy clusters that match, longest ready first.
async fn take(
    transaction: &WriteTransaction,
    order: &ApplyOrder,
    count: usize,
    now: Timestamp,
) -> Result<Vec<Taken>> {
    let (conditions, filter_values) = order.conditions();
    let sql = format!(
        "UPDATE cluster SET leased = TRUE WHERE id IN (\
           SELECT id FROM cluster WHERE state = 'ready' AND health = 'healthy' AND NOT leased AND schedulable \
           AND ledger_fault IS NULL AND operation_id IS NULL AND gone_at IS NULL AND checked_at >= ?{conditions} ORDER BY ready_at LIMIT ?) \
         RETURNING id, host_id, generation, name, network_type, (SELECT host.name FROM host WHERE host.id = host_id)"
    );
    let mut values: Vec<Value> = vec![(now.0 - FRESH_MS).into()];
    values.extend(filter_values);
    values.push(i64::try_from(count).expect("a batch is small").into());
    let rows = transaction
        .query_all_raw(Statement::from_sql_and_values(
            transaction.get_database_backend(),
            sql,
            values,
        ))
        .await?;
    let read = |row: sea_orm::QueryResult| -> Result<Taken, sea_orm::DbErr> {
        let names = LeaseNames {
            cluster: row.try_get_by_index(3)?,
            network_type: row.try_get_by_index(4)?,
            host: row.try_get_by_index(5)?,
        };
        Ok(Taken {
            cluster: row.try_get_by_index(0)?,
            host: row.try_get_by_index(1)?,
            generation: row.try_get_by_index(2)?,
            names,
        })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn rows(order: &ApplyOrder, filter: &str, taken: &Taken, now: Timestamp) -> (LeaseRow, OperationRow) {
    let lease = LeaseRow {
        id: Uuid::now_v7(),
        cluster_id: taken.cluster,
        holder: order.holder.clone(),
        applied_by: order.author.clone(),
        filter: filter.to_owned(),
        single: order.single,
        state: Word(LeaseState::Active),
        created_at: Moment(now),
        expires_at: order.ttl_seconds.map(|ttl| Moment(now.plus_seconds(ttl))),
        ended_at: None,
        operation_id: None,
    };
    let operation = OperationRow {
        id: Uuid::now_v7(),
        kind: Word(OperationKind::LeaseApply),
        state: Word(OperationState::Succeeded),
        host_id: taken.host,
        cluster_id: Some(taken.cluster),
        generation: taken.generation,
        parent_id: None,
        author: order.author.clone(),
        reason: format!("{} applied", order.holder),
        arguments: Json(serde_json::Value::Null),
        result: Some(Json(serde_json::json!({ "lease": lease.id }))),
        error: None,
        epoch: 0,
        deadline_at: None,
        created_at: Moment(now),
        started_at: Some(Moment(now)),
        ended_at: Some(Moment(now)),
    };
    (lease, operation)
}

fn answer(order: &ApplyOrder, lease: &LeaseRow) -> Option<idempotency::ActiveModel> {
    let (account_id, route, name, body) = order.key.clone()?;
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
