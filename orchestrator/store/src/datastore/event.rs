//! The outbox: what changed, in the order of the commits. A change and its events are one commit, so a subscriber
//! in any process that knows the last sequence it has seen can read what followed.

use crate::{Conn, Result, entity::event, outbox::SequencedEvent};
use chainpool_api::Event;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

impl<C: ConnectionTrait> Conn<C> {
    /// Returns the sequence of the latest event; 0 before the first.
    pub async fn event_latest(&self) -> Result<i64> {
        let latest = event::Entity::find().order_by_desc(event::Column::Sequence);
        Ok(latest.one(&self.0).await?.map_or(0, |row| row.sequence))
    }

    /// Lists the events after a sequence, oldest first, at most `limit`. `None`: some of them are no longer kept,
    /// so the caller reads everything again. A restore of a backup returns to the sequences of the backup.
    pub async fn events_after(&self, sequence: i64, limit: u64) -> Result<Option<Vec<SequencedEvent>>> {
        let rows = event::Entity::find()
            .filter(event::Column::Sequence.gt(sequence))
            .order_by_asc(event::Column::Sequence)
            .limit(limit)
            .all(&self.0)
            .await?;
        if rows.first().is_some_and(|first| first.sequence > sequence + 1) {
            return Ok(None);
        }
        let read = |row: event::Model| SequencedEvent {
            sequence: row.sequence,
            event: Event {
                noun: row.noun.0,
                id: row.id,
            },
        };
        Ok(Some(rows.into_iter().map(read).collect()))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ApplyRequest, Store,
        outbox::{KEPT, record},
        testing,
    };
    use chainpool_api::Noun;
    use tempfile::TempDir;
    use uuid::Uuid;

    #[tokio::test]
    async fn every_commit_writes_its_changes_to_the_outbox_and_listeners_get_the_same_rows() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        let mut listener = store.events();
        let clusters = testing::free_clusters(&store, &["c1", "c2"]).await;
        let request = ApplyRequest {
            holder: "ann".into(),
            author: "ann".into(),
            ..ApplyRequest::default()
        };
        let lease = store.apply(request).await.unwrap().unwrap().lease;
        let mut tx = store.begin().await.unwrap();
        tx.changed(Noun::Operation, lease.id);
        drop(tx);

        let events = store.read().events_after(0, 100).await.unwrap().unwrap();
        for expected in &events {
            assert_eq!(listener.recv().await.unwrap(), *expected);
        }
        assert!(
            listener.is_empty(),
            "a transaction that was rolled back changes nothing"
        );
        let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5]);
        let changed = |noun: Noun| {
            events
                .iter()
                .filter(move |e| e.event.noun == noun)
                .map(|e| e.event.id)
        };
        assert_eq!(changed(Noun::Host).collect::<Vec<_>>(), [clusters[0].host_id]);
        assert_eq!(changed(Noun::Lease).collect::<Vec<_>>(), [lease.id]);
        assert_eq!(
            events[4].event.id, lease.cluster_id,
            "the lease of a cluster is part of the cluster"
        );

        store.close().await.unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        assert_eq!(store.read().event_latest().await.unwrap(), 5);
        let later = store.read().events_after(3, 100).await.unwrap();
        assert_eq!(later, Some(events[3..].to_vec()), "another process resumes");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn old_events_are_deleted_and_a_reader_that_missed_them_learns_of_it() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        let ids: Vec<Uuid> = (0..10_000).map(Uuid::from_u128).collect();
        let rounds = usize::try_from(KEPT).unwrap() / ids.len() + 1;
        for _ in 0..rounds {
            let tx = store.begin().await.unwrap();
            let written = record(&tx.0, ids.iter().map(|id| (Noun::Cluster, *id)))
                .await
                .unwrap();
            assert!(
                written
                    .windows(2)
                    .all(|pair| pair[0].sequence + 1 == pair[1].sequence)
            );
            assert_eq!(tx.event_latest().await.unwrap(), written.last().unwrap().sequence);
            tx.commit("test").await.unwrap();
        }
        let read = store.read();
        let latest = read.event_latest().await.unwrap();
        assert_eq!(read.events_after(0, 1).await.unwrap(), None);
        let oldest = latest - KEPT;
        assert_eq!(read.events_after(oldest - 1, 1).await.unwrap(), None);
        assert_eq!(
            read.events_after(oldest, 1).await.unwrap().unwrap()[0].sequence,
            oldest + 1
        );
        assert_eq!(read.events_after(latest, 1).await.unwrap(), Some(Vec::new()));
        store.close().await.unwrap();
    }
}
