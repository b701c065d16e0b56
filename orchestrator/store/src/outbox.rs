//! Writing of the outbox: what a transaction changed, in the same transaction, and its listeners in this process.

use crate::{Result, entity::event};
use chainpool_api::{Event, Noun};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement, Value};
use tokio::sync::broadcast;
use uuid::Uuid;

/// The number of events that are kept at least.
pub(crate) const KEPT: i64 = 100_000;
/// How many events are written between two deletions of older ones, so that each deletion is short.
const PRUNE_INTERVAL: i64 = 1_000;
/// The number of events in one statement.
const CHUNK: usize = 500;

/// A committed change and its place among all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencedEvent {
    /// Later commits have higher sequences. There are no gaps between the events that are kept.
    pub sequence: i64,
    /// The change.
    pub event: Event,
}

/// The sequences of `SQLite` are positive numbers of 63 bits.
fn row_id(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes events in the transaction of their change.
pub(crate) async fn record(
    connection: &impl ConnectionTrait,
    changed: impl IntoIterator<Item = (Noun, Uuid)>,
) -> Result<Vec<SequencedEvent>> {
    let changed: Vec<(Noun, Uuid)> = changed.into_iter().collect();
    let mut written: Vec<SequencedEvent> = Vec::with_capacity(changed.len());
    for part in changed.chunks(CHUNK) {
        let rows = vec!["(?, ?)"; part.len()].join(", ");
        let values = part
            .iter()
            .flat_map(|(noun, id)| [Value::from(noun.as_str()), Value::from(*id)]);
        let insert = Statement::from_sql_and_values(
            connection.get_database_backend(),
            format!("INSERT INTO event (noun, id) VALUES {rows}"),
            values,
        );
        let last = connection.execute_raw(insert).await?.last_insert_id();
        // The rows of one statement have consecutive sequences: there is one writer.
        let first = row_id(last) + 1 - row_id(u64::try_from(part.len()).unwrap_or_default());
        written.extend((first..).zip(part).map(|(sequence, (noun, id))| SequencedEvent {
            sequence,
            event: Event { noun: *noun, id: *id },
        }));
    }
    if let (Some(first), Some(last)) = (written.first(), written.last())
        && (first.sequence - 1) / PRUNE_INTERVAL != last.sequence / PRUNE_INTERVAL
    {
        event::Entity::delete_many()
            .filter(event::Column::Sequence.lte(last.sequence - KEPT))
            .exec(connection)
            .await?;
    }
    Ok(written)
}

/// Notifies the listeners of this process of committed events.
pub(crate) fn notify(listeners: &broadcast::Sender<SequencedEvent>, events: Vec<SequencedEvent>) {
    for event in events {
        // Having no listeners is no error: events are only hints, the rows are authoritative.
        drop(listeners.send(event));
    }
}
