//! The rule for offered clusters: those that an apply may lease now. Stated once for a row and once in SQL; a test
//! compares the two over every combination of what they read.

use crate::entity::cluster::Model as ClusterRow;
use chainpool_api::{ClusterState, HealthState, Timestamp};
use chainpool_health::millis;
use sea_orm::sea_query::{Expr, ExprTrait, SimpleExpr};
use std::time::Duration;

/// The rule in SQL. Its parameter is `fresh_since`.
pub(crate) const OFFERED: &str = "state = 'ready' AND health = 'healthy' AND NOT leased AND schedulable \
     AND ledger_fault IS NULL AND operation_id IS NULL AND deleted_at IS NULL AND checked_at >= ?";

/// Time of the oldest evidence that counts.
pub(crate) fn fresh_since(now: Timestamp, evidence_max_age: Duration) -> Timestamp {
    Timestamp(now.0 - millis(evidence_max_age))
}

/// A filter by what an apply may lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferFilter {
    /// List the offered clusters; `false`: the others.
    pub offered: bool,
    /// Time of the oldest evidence that counts.
    pub fresh_since: Timestamp,
}

impl OfferFilter {
    /// The rule as a condition of a query.
    pub(crate) fn condition(self) -> SimpleExpr {
        let offered = Expr::cust_with_values(OFFERED, [self.fresh_since.0]);
        if self.offered { offered } else { offered.not() }
    }
}

impl ClusterRow {
    /// Returns `true` if an apply may lease the cluster. The last assessment must not be older than
    /// `fresh_since`.
    #[must_use]
    pub fn is_offered(&self, fresh_since: Timestamp) -> bool {
        self.is_offered_while_fresh() && self.checked_at.0 >= fresh_since
    }

    /// Returns `true` if an apply may lease the cluster as long as its evidence counts.
    #[must_use]
    pub fn is_offered_while_fresh(&self) -> bool {
        self.state.0 == ClusterState::Ready
            && self.health.0 == HealthState::Healthy
            && !self.leased
            && self.schedulable
            && self.ledger_fault.is_none()
            && self.operation_id.is_none()
            && self.deleted_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterQuery, EnumColumn, Store, testing};
    use std::collections::BTreeSet;
    use tempfile::TempDir;
    use uuid::Uuid;

    const HOUR_MS: i64 = 3_600_000;

    /// A row for each combination of what the rule reads.
    fn combinations(now: Timestamp) -> Vec<ClusterRow> {
        let host = testing::host(now);
        let mut rows = Vec::new();
        for state in ClusterState::ALL {
            for health in HealthState::ALL {
                for bits in 0..64_u8 {
                    let bit = |at: u8| bits & (1 << at) != 0;
                    let checked_at = Timestamp(now.0 + if bit(0) { HOUR_MS } else { -HOUR_MS });
                    rows.push(ClusterRow {
                        state: EnumColumn(*state),
                        health: EnumColumn(*health),
                        checked_at: checked_at.into(),
                        leased: bit(1),
                        schedulable: bit(2),
                        ledger_fault: bit(3).then(|| "its blocks differ".to_owned()),
                        operation_id: bit(4).then(Uuid::now_v7),
                        deleted_at: bit(5).then(|| now.into()),
                        ..testing::free(&host, &format!("c{}", rows.len()), now)
                    });
                }
            }
        }
        rows
    }

    #[tokio::test]
    async fn a_row_and_the_database_offer_the_same_clusters() {
        let (folder, now) = (TempDir::new().unwrap(), Timestamp::now());
        let store = Store::open(folder.path(), None).await.unwrap();
        let rows = combinations(now);
        let mut tx = store.begin().await.unwrap();
        tx.host_insert(testing::host(now)).await.unwrap();
        for row in &rows {
            tx.cluster_insert(row.clone(), Vec::new()).await.unwrap();
        }
        tx.commit("test").await.unwrap();
        let fresh_since = store.fresh_since(now);
        let by_rule = |offered: bool| -> BTreeSet<Uuid> {
            let existing = rows.iter().filter(|row| row.deleted_at.is_none());
            existing
                .filter(|row| row.is_offered(fresh_since) == offered)
                .map(|row| row.id)
                .collect()
        };
        for offered in [true, false] {
            let mut query = ClusterQuery {
                offered: Some(store.offer_filter(offered)),
                limit: Some(500),
                ..ClusterQuery::default()
            };
            let mut by_query = BTreeSet::new();
            loop {
                let page = store.read().cluster_page(&query).await.unwrap();
                query.after = page.last().map(|row| row.id);
                by_query.extend(page.iter().map(|row| row.id));
                if page.len() <= 500 {
                    break;
                }
            }
            assert_eq!(by_query, by_rule(offered), "offered: {offered}");
        }
        assert_eq!(by_rule(true).len(), 1);
        store.close().await.unwrap();
    }

    #[test]
    fn evidence_is_fresh_up_to_its_maximum_age() {
        let (now, max_age) = (Timestamp::now(), Duration::from_mins(1));
        let row = testing::free(&testing::host(now), "c", now);
        assert!(row.is_offered(fresh_since(now.plus_seconds(60), max_age)));
        assert!(!row.is_offered(fresh_since(Timestamp(now.0 + 60_001), max_age)));
    }
}
